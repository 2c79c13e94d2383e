"""Other tuners on the same objective, each in a process of its own.

``python -m benchmarks.rivals NAME OBJECTIVE SLOTS TRIALS`` is run by :mod:`benchmarks.trials` with the environment of
``make .venv-bench/.ready``, which has them. Prints trials per second from a warm start: trials have been run before.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Objective = Callable[[float], float]
Run = Callable[[int], None]


def empty(x: float) -> float:
    """Nothing to compute: what is left is the tuner."""
    return (x - 0.3) ** 2


def keras(x: float) -> float:
    """One epoch of a tiny model, with its imports."""
    import keras
    import numpy as np

    keras.backend.clear_session()
    rows = np.random.default_rng(0).normal(size=(256, 20)).astype("float32")
    layers = [keras.Input((20,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(10 ** (-4 * x - 1)), "mse")
    return float(model.fit(rows, rows[:, :1], epochs=1, batch_size=64, verbose=0).history["loss"][0])


def ray_tune(objective: Objective, slots: int, *, reuse: bool) -> Run:
    """Ray Tune; with ``reuse`` an actor runs one trial after the other in the same process."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    ray.init(num_cpus=slots, include_dashboard=False, logging_level="ERROR", log_to_driver=False)

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": objective(config["x"])})

    def run(count: int) -> None:
        config = tune.TuneConfig(
            num_samples=count, metric="loss", mode="min", reuse_actors=reuse, max_concurrent_trials=slots
        )
        place = tune.RunConfig(verbose=0, storage_path=tempfile.mkdtemp())
        trainable = tune.with_resources(trial, {"cpu": 1})
        tune.Tuner(trainable, param_space={"x": tune.uniform(0, 1)}, tune_config=config, run_config=place).fit()

    return run


def optuna_dask(objective: Objective, slots: int) -> Run:
    """Optuna over Dask, as its documentation does it."""
    import optuna
    from distributed import Client, LocalCluster, wait
    from optuna_integration.dask import DaskStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    client = Client(LocalCluster(n_workers=slots, threads_per_worker=1, dashboard_address=None))
    study = optuna.create_study(storage=DaskStorage(), sampler=optuna.samplers.TPESampler(seed=0))

    def one(trial: Any) -> float:
        return objective(trial.suggest_float("x", 0, 1))

    def run(count: int) -> None:
        wait([client.submit(study.optimize, one, n_trials=1, pure=False) for _ in range(count)])

    return run


def optuna_threads(objective: Objective, slots: int) -> Run:
    """Optuna in one process: threads, no isolation, nothing kept."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    return lambda count: study.optimize(lambda t: objective(t.suggest_float("x", 0, 1)), n_trials=count, n_jobs=slots)


def hyperopt_fmin(objective: Objective, slots: int) -> Run:
    """Hyperopt in one process, one trial after the other."""
    del slots
    import numpy as np
    from hyperopt import fmin, hp, tpe

    def run(count: int) -> None:
        space, random = hp.uniform("x", 0, 1), np.random.default_rng(0)
        fmin(objective, space, algo=tpe.suggest, max_evals=count, rstate=random, show_progressbar=False, verbose=False)

    return run


RIVALS: dict[str, Callable[[Objective, int], Run]] = {
    "ray": lambda objective, slots: ray_tune(objective, slots, reuse=False),
    "ray-reused": lambda objective, slots: ray_tune(objective, slots, reuse=True),
    "optuna-dask": optuna_dask,
    "optuna-threads": optuna_threads,
    "hyperopt": hyperopt_fmin,
}


def main() -> None:
    name, objective, slots, count = sys.argv[1:5]
    run = RIVALS[name]({"empty": empty, "keras": keras}[objective], int(slots))
    run(int(slots))
    began = time.perf_counter()
    run(int(count))
    print(f"\nrate {int(count) / (time.perf_counter() - began)}", flush=True)
    if name.startswith("ray"):
        import ray

        ray.shutdown()  # it leaves processes behind otherwise


if __name__ == "__main__":
    main()
