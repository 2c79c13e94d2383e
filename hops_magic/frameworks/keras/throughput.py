"""How many rows a rank trains on, and in what time: of each epoch, and of all fits of the cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

_ROW_BY_ROW = ("_PrefetchDataset", "_OptionsDataset", "_MapDataset", "_ParallelMapDataset", "_CacheDataset")


class Passing(Protocol):
    """Batches whose rows are counted as they pass, where nothing tells their size beforehand."""

    def take(self, batches: int) -> int:
        """Return the rows of the next batches."""
        ...


class Throughput:
    """Counts rows and seconds of training; validation, and steps that were done before a restart, are left out.

    Parameters
    ----------
    world_size
        Ranks that share each batch.
    clock
        Seconds, from any beginning.
    """

    def __init__(self, world_size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._world_size, self._clock = world_size, clock
        self._batch: int | None = None
        self._rows: int | None = None
        self._passing: Passing | None = None
        self._taken = 0
        self._examples = self._seconds = 0.0
        self._began_at, self._first = 0.0, 0
        self._epoch_examples = self._epoch_s = 0.0

    def begin_fit(self, adapter: Any, passing: Passing | None = None) -> None:
        """Take how large the batches of a fit are from the adapter of its data, or count them as they pass."""
        self._close_epoch()
        self._batch, self._rows = batches_of(adapter)
        self._passing = passing

    def begin_epoch(self) -> None:
        """Start the clock of an epoch."""
        self._close_epoch()
        self._began_at, self._first, self._taken = self._clock(), 0, 0

    def skipped(self, steps: int) -> None:
        """Leave out the first steps of an epoch: an earlier attempt did them."""
        self._began_at, self._first = self._clock(), steps
        self._take(steps)

    def trained(self, steps: int) -> None:
        """Note that so many steps of the epoch are done."""
        self._epoch_s = self._clock() - self._began_at
        if self._passing is not None:
            self._epoch_examples += self._take(steps) / self._world_size
        else:
            self._epoch_examples = (self._through(steps) - self._through(self._first)) / self._world_size

    def _take(self, steps: int) -> int:
        """Return the rows of the steps since the last look."""
        new, self._taken = steps - self._taken, steps
        return 0 if self._passing is None else self._passing.take(new)

    def _through(self, steps: int) -> int:
        rows = steps * (self._batch or 0)
        return rows if self._rows is None else min(rows, self._rows)

    def _close_epoch(self) -> None:
        self._examples, self._seconds = self._examples + self._epoch_examples, self._seconds + self._epoch_s
        self._epoch_examples = self._epoch_s = 0.0

    @property
    def batch(self) -> int | None:
        """Rows of a batch of all ranks; None where the data do not tell."""
        return self._batch

    @property
    def examples_per_s(self) -> float | None:
        """Rows of this rank per second of training in this epoch so far; None before its first step."""
        return self._epoch_examples / self._epoch_s if self._is_known and self._epoch_s > 0 else None

    @property
    def examples(self) -> float | None:
        """Rows of this rank in all fits so far; None before there are any."""
        return self._examples + self._epoch_examples if self._is_known else None

    @property
    def _is_known(self) -> bool:
        return bool(self._batch or self._passing)

    @property
    def train_s(self) -> float:
        """Seconds of training in all fits so far."""
        return self._seconds + self._epoch_s


def batches_of(adapter: Any) -> tuple[int | None, int | None]:
    """Return how many rows a batch has, and an epoch, as far as Keras's adapter of the data tells."""
    batch = getattr(adapter, "batch_size", None)
    if batch:
        rows = getattr(adapter, "_num_samples", None)
        return int(batch), None if rows is None else int(rows)
    return _of_dataset(getattr(adapter, "_dataset", None))


def _of_dataset(dataset: Any) -> tuple[int | None, int | None]:
    """Look for the node that makes the batches, through those that change no number of rows."""
    import tensorflow as tf

    while dataset is not None and type(dataset).__name__ in _ROW_BY_ROW:
        inputs = dataset._inputs()
        dataset = inputs[0] if len(inputs) == 1 else None
    size = getattr(dataset, "_batch_size", None)
    batch = None if size is None else tf.get_static_value(size)
    if dataset is None or batch is None:
        return None, None
    rows = int(dataset._inputs()[0].cardinality())
    return int(batch), rows if rows >= 0 else None
