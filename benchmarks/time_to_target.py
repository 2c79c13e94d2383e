"""Time to a validation accuracy with ``%%tune`` on two slots: our stopping rules against rounds of two trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import hops_magic as hops
from benchmarks.table import Table
from hops_magic.runs.states import TrialState
from hops_magic.session import session
from hops_magic.tuning.search import NotYet, Outcome, Point
from hops_magic.tuning.space import Space

SLOTS, SEEDS, EPOCHS, MOST = 2, 3, 27, 60
TARGET = 0.935
SPACE = {
    "lr": hops.loguniform(1e-4, 1.0),
    "units": hops.choice([16, 64, 256]),
    "layers": hops.randint(1, 4),
    "batch": hops.choice([32, 64, 256]),
    "dropout": hops.uniform(0.0, 0.8),
    "optimizer": hops.choice(["sgd", "adam", "rmsprop"]),
}
CELL = f"""
import keras
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True)
x, y = x.astype("float32") / 16, y.astype("int32")
class Enough(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["val_accuracy"] >= {TARGET}
hidden = [layer for _ in range(layers) for layer in (keras.layers.Dense(units, "relu"), keras.layers.Dropout(dropout))]
model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
made = keras.optimizers.get(optimizer)
made.learning_rate = lr
model.compile(made, "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    x[:1200], y[:1200], validation_data=(x[1200:], y[1200:]),
    epochs={EPOCHS}, batch_size=batch, verbose=0, callbacks=[Enough()],
)
"""


class Drawn:
    """Random points, the same for every contestant."""

    def __init__(self, seed: int) -> None:
        self._seed, self._space = seed, Space.of(SPACE)

    def ask(self, number: int) -> Point:
        return self._space.sample(np.random.default_rng([self._seed, number]))

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn nothing."""


class Rounds(Drawn):
    """The same points, with a barrier: no trial begins before all of the round before it are over."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._running: set[int] = set()

    def ask(self, number: int) -> Point:
        if number % SLOTS == 0 and self._running:
            raise NotYet
        self._running.add(number)
        return super().ask(number)

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Take note that a trial of the round is over."""
        del point, outcome
        self._running.discard(number)


ROUNDS = f"rounds of {SLOTS}"
CONTESTANTS: dict[str, tuple[Callable[[int], Any], Mapping[str, Any]]] = {
    ROUNDS: (Rounds, {"stop": "none"}),
    "`%%tune --stop median`": (Drawn, {"stop": "median"}),
    "`%%tune --stop asha`": (Drawn, {"stop": "asha", "max_steps": EPOCHS}),
}


def run(contestant: str, seed: int) -> tuple[float, int, int]:
    """Tune until a trial reaches the target; seconds, trials that began, and how many of them were stopped early."""
    make, options = CONTESTANTS[contestant]
    began = time.perf_counter()
    study = hops.tune(
        CELL,
        SPACE,
        maximize="val_accuracy",
        target=TARGET,
        search=make(seed),
        trials=MOST,
        parallel=SLOTS,
        seed=seed,
        show=False,
        namespace={},
        **options,
    )
    seconds = time.perf_counter() - began
    if study.best_value < TARGET:
        raise RuntimeError(f"{contestant}, seed {seed}: none of {MOST} trials reached {TARGET}")
    # those that the study's end cut short are not the rule's
    stopped = [
        t for t in study.summary.trials.values() if t.state is TrialState.STOPPED and t.reason.startswith(("asha", "median"))
    ]
    return seconds, len(study.summary.trials), len(stopped)


def table(seeds: int = SEEDS) -> Table:
    cluster = session().clusters.current()
    cluster.scale(max(SLOTS, len(cluster.status().workers)))
    hops.tune(CELL, SPACE, maximize="val_accuracy", trials=SLOTS, parallel=SLOTS, search=Drawn(99), show=False, namespace={})
    found = {name: [] for name in CONTESTANTS}
    for seed in range(seeds):
        for name in CONTESTANTS:
            found[name].append(run(name, seed))
    result = Table(
        "Time to target on the cluster",
        f"{SLOTS} slots, an MLP of Keras on digits, {EPOCHS} epochs, random search, until a trial has a val_accuracy of "
        f"{TARGET}; {seeds} seeds, each with the same trials in the same order for every contestant. The rounds "
        "are the same study with a barrier after each pair of trials. So few seeds show the order of magnitude, no more.",
        ["", "seconds by seed", "trials by seed", "stopped early by seed", "seconds in all", "saving"],
    )
    base = sum(seconds for seconds, _, _ in found[ROUNDS])
    for name, runs in found.items():
        total = sum(seconds for seconds, _, _ in runs)
        seconds, trials, stopped = (", ".join(f"{each:.0f}" for each in column) for column in zip(*runs, strict=True))
        result.rows.append([name, seconds, trials, stopped, total, f"{100 * (1 - total / base):.0f} %"])
    result.verdict = "; ".join(f"{row[0]}: {row[-1]} less time than rounds" for row in result.rows[1:]) + "."
    return result


if __name__ == "__main__":
    print(table().markdown())
