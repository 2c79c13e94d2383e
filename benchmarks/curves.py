"""Learning curves of a real model, recorded once: ``python -m benchmarks.curves`` makes ``data/curves.npz`` anew."""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "data" / "curves.npz"
CURVES, EPOCHS, TRAINED = 600, 27, 800


@dataclass(frozen=True)
class Curves:
    """What was recorded.

    Attributes
    ----------
    accuracy : float, shape (curves, epochs)
        On the 997 images that were not trained on, after each epoch.
    seconds : float, shape (curves, epochs)
        CPU time of each epoch: other work on the machine that recorded them does not show.
    """

    accuracy: np.ndarray
    seconds: np.ndarray


@functools.cache
def load() -> Curves:
    with np.load(PATH) as stored:
        return Curves(stored["right"] / stored["images"], stored["microseconds"] / 1e6)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order] / 16.0, y[order]


def record_one(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Train one configuration, drawn by its number; right answers and microseconds by epoch."""
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")
    x, y = _digits()
    random = np.random.default_rng([7, number])
    layers = int(random.integers(1, 4))
    units = int(np.exp(random.uniform(np.log(8), np.log(384))))
    model = MLPClassifier(
        hidden_layer_sizes=(units,) * layers,
        activation=str(random.choice(["relu", "tanh", "logistic"])),
        solver=str(random.choice(["sgd", "adam"])),
        learning_rate_init=float(np.exp(random.uniform(np.log(1e-4), np.log(0.3)))),
        alpha=float(np.exp(random.uniform(np.log(1e-6), np.log(1.0)))),
        momentum=float(random.uniform(0.0, 0.95)),
        batch_size=int(np.exp(random.uniform(np.log(16), np.log(256)))),
        random_state=number,
    )
    right, took = np.zeros(EPOCHS, np.uint16), np.zeros(EPOCHS, np.uint32)
    for epoch in range(EPOCHS):
        began = time.thread_time()
        model.partial_fit(x[:TRAINED], y[:TRAINED], classes=np.arange(10))
        took[epoch] = 1e6 * (time.thread_time() - began)
        weights = [each for layer in (model.coefs_, model.intercepts_) for each in layer]
        # what has diverged guesses: its scores are no numbers, which the model refuses to judge
        finite = all(np.isfinite(each).all() for each in weights)
        right[epoch] = (model.predict(x[TRAINED:]) == y[TRAINED:]).sum() if finite else (len(x) - TRAINED) // 10
    return right, took


def record() -> None:
    """Record all curves, one process for each core."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=spawn) as pool:
        right, took = map(np.stack, zip(*pool.map(record_one, range(CURVES), chunksize=4), strict=True))
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(PATH, right=right, microseconds=took, images=np.uint16(len(_digits()[0]) - TRAINED))


if __name__ == "__main__":
    record()
