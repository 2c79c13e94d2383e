"""What distribution costs and gives: one rank against plain Python, two one-thread ranks against one."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import hops_magic as hops
from benchmarks.table import Table, interleaved

SETUP = """
import os, time
import hops_magic as hops
# TensorFlow needs a second thread to wait on; pinned, "one thread" means one core
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[hops.rank]})
import numpy as np
import keras
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(ROWS, 28, 28, 1)).astype("float32")
y = rng.integers(0, 10, ROWS)
model = keras.Sequential([
    keras.Input((28, 28, 1)),
    keras.layers.Conv2D(32, 3, activation="relu"),
    keras.layers.Conv2D(64, 3, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(10),
])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
model.fit(x[:256], y[:256], batch_size=128, epochs=1, verbose=0)
began = time.perf_counter()
model.fit(x, y, batch_size=128, epochs=EPOCHS, verbose=0)
seconds = time.perf_counter() - began
"""
PLAIN = """
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(2)
"""


def source(rows: int, epochs: int) -> str:
    return SETUP.replace("ROWS", str(rows)).replace("EPOCHS", str(epochs))


def plain_seconds(rows: int, epochs: int, threads: int) -> float:
    """Train in a plain Python process with the same number of threads, on one core."""
    code = PLAIN.replace("THREADS", str(threads)) + source(rows, epochs) + "\nprint('seconds', seconds)"
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split("seconds")[-1])


def run_seconds(rows: int, epochs: int, ranks: int, threads: int) -> float:
    """Train on the cluster; seconds of the second fit, in which nothing is compiled any more."""
    namespace: dict[str, object] = {}
    hops.train(
        source(rows, epochs), namespace=namespace, workers=ranks, threads_per_rank=threads, show=False, out=("seconds",)
    )
    return float(namespace["seconds"])  # type: ignore[arg-type]


def table(rows: int = 4096, times: int = 2) -> Table:
    probe = plain_seconds(rows, 1, 1)
    epochs = max(2, round(30 / probe))  # the claim is about runs of at least 30 s
    plain, one = interleaved(times, lambda: plain_seconds(rows, epochs, 1), lambda: run_seconds(rows, epochs, 1, 1))
    single, double = interleaved(times, lambda: run_seconds(rows, epochs, 1, 1), lambda: run_seconds(rows, epochs, 2, 1))
    images = rows * epochs
    result = Table(
        "Throughput",
        f"CNN on 28 x 28 images, {images:,} images a run; each process has one core. Aims: one rank at most 1.03 x plain "
        "Python; two ranks of one thread at least 1.7 x the images per second of one.",
        ["", "seconds (median)", "images/s", "ratio"],
    )
    result.rows = [
        ["plain Python, 1 thread", plain, images / plain, 1.0],
        ["`%%distributed -n 1`, 1 thread", one, images / one, one / plain],
        ["`%%distributed -n 1`, 1 thread (second pairing)", single, images / single, 1.0],
        ["`%%distributed -n 2`, 1 thread each", double, images / double, single / double],
    ]
    result.verdict = (
        f"One rank: {one / plain:.3f} x the time of plain Python. Two ranks: {single / double:.2f} x the images/s."
    )
    return result


if __name__ == "__main__":
    began = time.perf_counter()
    print(table().markdown())
    print(f"({time.perf_counter() - began:.0f} s)")
