"""Trials per second: an empty objective, and one that imports Keras and trains a tiny epoch, beside other tuners."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import hops_magic as hops
from benchmarks.table import Table
from hops_magic.session import session

BENCH_PYTHON = Path(__file__).parent.parent / ".venv-bench" / "bin" / "python"
EMPTY = "(x - 0.3) ** 2"
KERAS = """
import keras
import numpy as np
rows = np.random.default_rng(0).normal(size=(256, 20)).astype("float32")
model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(10 ** (-4 * x - 1)), "mse")
model.fit(rows, rows[:, :1], epochs=1, batch_size=64, verbose=0)
"""
# name in benchmarks.rivals, what it is, trials of the empty and of the Keras objective: the slow ones get fewer
CONTESTANTS = (
    ("ray", "Ray Tune", 4, 2),
    ("ray-reused", "Ray Tune, `reuse_actors`", 20, 8),
    ("optuna-dask", "Optuna, `DaskStorage`", 200, 10),
    ("optuna-threads", "Optuna, threads of one process", 200, 0),
    ("hyperopt", "hyperopt `fmin`, one process, serial", 200, 10),
)


def ours(objective: str, slots: int, count: int) -> float:
    """Trials per second of ``%%tune`` with a process of its own for each trial, recorded in the registry, warm cluster."""
    options = {"space": {"x": hops.uniform(0, 1)}, "minimize": "loss", "stop": "none", "parallel": slots, "show": False}
    hops.tune(objective, **options, trials=slots, namespace={}, fail_fast=1)
    began = time.perf_counter()
    hops.tune(objective, **options, trials=count, namespace={}, fail_fast=1)
    return count / (time.perf_counter() - began)


def rival(name: str, objective: str, slots: int, count: int) -> float:
    """Trials per second of another tuner."""
    shared = sysconfig.get_paths()["purelib"]
    command = [str(BENCH_PYTHON), "-m", "benchmarks.rivals", name, objective, str(slots), str(count)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), shared])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2_000:]}")
    return float(done.stdout.rsplit("rate", 1)[1])


def table() -> Table:
    if not BENCH_PYTHON.exists():
        sys.exit("benchmarks.trials needs the rivals: make .venv-bench/.ready installs them")
    cluster = session().clusters.current()
    cluster.scale(max(2, len(cluster.status().workers)))
    result = Table(
        "Trials per second",
        "The empty objective with 1 and 2 slots, and one epoch of a tiny Keras model with 2. Ours runs each trial in a "
        "process of its own and records it. Aims: 10 x Ray Tune or more, ahead of every other distributed one.",
        ["", "empty, 1 slot", "empty, 2 slots", "Keras, 2 slots"],
    )
    keras = ours(KERAS, 2, 20)  # first: afterwards workers have imported all that they ever will
    rows: dict[str, list[float]] = {"`%%tune`": [ours(EMPTY, 1, 200), ours(EMPTY, 2, 200), keras]}
    for name, label, empty_count, keras_count in CONTESTANTS:
        print(label, flush=True)
        empty = [rival(name, "empty", slots, empty_count) for slots in (1, 2)]
        rows[label] = empty + ([rival(name, "keras", 2, keras_count)] if keras_count else [])
    result.rows = [[label, *rates, *[""] * (3 - len(rates))] for label, rates in rows.items()]
    mine, ray, reused = rows["`%%tune`"], rows["Ray Tune"], rows["Ray Tune, `reuse_actors`"]
    against = (f"{a / b:.0f} x" if b else "" for a, b in zip(mine, ray, strict=True))
    against_reused = (f"{a / b:.1f} x" for a, b in zip(mine, reused, strict=True))
    # no tuner can be faster than the objective itself, which fmin calls in one process, one time after the other
    most = 2 * rows["hyperopt `fmin`, one process, serial"][2]
    result.verdict = (
        f"Against Ray Tune: {', '.join(against)}; with reused actors: {', '.join(against_reused)}. Without any tuner, two "
        f"processes would do {most:.2f} of the Keras trials a second, {most / reused[2]:.1f} x Ray's reused actors: ours "
        f"does {mine[2] / most:.0%} of that."
    )
    return result


if __name__ == "__main__":
    print(table().markdown())
