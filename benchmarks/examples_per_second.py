"""The examples per second that views tell of each epoch, against a count that the cell's own callback makes."""

from __future__ import annotations

import time

import numpy as np

import hops_magic as hops
from benchmarks.table import Table
from hops_magic.widgets.words import epoch_speed

EPOCHS, ROWS, BATCH = 5, 1_280, 128
CELL = """
import time
import keras

class Count(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.began = self.ended = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.1)
        self.ended = time.monotonic()

    def on_test_batch_end(self, batch, logs=None):
        time.sleep(0.05)

    def on_epoch_end(self, epoch, logs=None):
        own.append(ROWS / (self.ended - self.began))

def drawn():
    while True:
        for first in range(0, ROWS, BATCH):
            yield x[first : first + BATCH], y[first : first + BATCH]

own = []
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
data = {"epochs": EPOCHS, "validation_data": (x, y), "callbacks": [Count()], "verbose": 0}
if KIND == "arrays":
    model.fit(x, y, batch_size=BATCH, **data)
else:
    model.fit(drawn(), steps_per_epoch=ROWS // BATCH, **data)
"""


def largest_error(kind: str, ranks: int) -> float:
    """Return by how much the figure of an epoch is off at most, as a share of the callback's."""
    x = np.random.default_rng(0).random((ROWS, 4), "float32")
    namespace: dict[str, object] = {"x": x, "y": x.sum(1), "KIND": kind, "EPOCHS": EPOCHS, "ROWS": ROWS, "BATCH": BATCH}
    run = hops.train(CELL, namespace=namespace, workers=ranks, show=False, out=("own",)).run  # type: ignore[union-attr]
    own: list[float] = namespace["own"]  # type: ignore[assignment]
    told = [epoch_speed(run, 1, epoch) or 0.0 for epoch in range(1, EPOCHS + 1)]
    return max(abs(said / counted - 1) for said, counted in zip(told, own, strict=True))


def table() -> Table:
    result = Table(
        "Examples per second",
        f"What the view tells at the end of each of {EPOCHS} epochs, against a callback's own count; training is slowed, "
        "validation is as long. Aim: within 5 % at every epoch.",
        ["input", "ranks", "largest difference at an epoch"],
    )
    errors = []
    for kind in ("arrays", "a generator"):
        for ranks in (1, 2):
            errors.append(largest_error(kind, ranks))
            result.rows.append([kind, ranks, f"{errors[-1]:.2%}"])
    result.verdict = f"At most {max(errors):.1%} off."
    return result


if __name__ == "__main__":
    began = time.perf_counter()
    print(table().markdown())
    print(f"({time.perf_counter() - began:.0f} s)")
