"""The rows of the step in progress, and what is known of the gradients that are being traced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Rows:
    """Rows of a step, and the fingerprint of its global batch, if there is one.

    They are scalar float64 tensors, so that shares are exact for models of that type too.
    """

    local: Any
    total: Any
    first: Any = 0
    """The place of this rank's first row in the global batch: int32, scalar."""
    fingerprint: Any = None
    exchanges: list[str] = field(default_factory=list)
    """What has carried votes in the step that is being traced."""
    graph: Any = None
    """The graph of the step."""
    places: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Numbers the exchanges in the step that is being traced."""

    @property
    def weight(self) -> Any:
        """This rank's share of the rows: with it, local means add up to the global mean."""
        return self.local / self.total

    @property
    def are_any(self) -> Any:
        """1.0, or 0.0 for a rank without rows: a factor for whatever is counted on the row that it borrows."""
        import tensorflow as tf

        return tf.cast(tf.greater(self.local, 0), tf.float32)

    @property
    def inverse_weight(self) -> Any:
        """1 / ``weight``, or 0 for a rank without rows."""
        import tensorflow as tf

        return tf.math.divide_no_nan(self.total, self.local)


_rows: ContextVar[Rows | None] = ContextVar("hops_rows", default=None)


def current_rows() -> Rows | None:
    """Rows of the step that is being traced, None outside one."""
    return _rows.get()


@contextmanager
def whole_batch() -> Iterator[None]:
    """Trace what is given the rows of all ranks: it need not be brought to any rank's scale."""
    with entered(None):
        yield


_replica: ContextVar[bool] = ContextVar("hops_replica", default=False)


def is_replica() -> bool:
    """Whether the code that is being traced runs as one of a strategy's replicas, whose gradients are added up."""
    return _replica.get()


class Seeking(Enum):
    """What the gradients that are being traced are gradients of: it decides how ranks' parts of them are joined."""

    MEAN = "mean"
    SUM = "sum"


_seeking: ContextVar[Seeking] = ContextVar("hops_seeking", default=Seeking.MEAN)


def sought() -> Seeking:
    """Return what the gradients that are being traced are gradients of."""
    return _seeking.get()


@contextmanager
def seeking(what: Seeking) -> Iterator[None]:
    """Trace gradients of a mean, or of a sum, over rows."""
    token = _seeking.set(what)
    try:
        yield
    finally:
        _seeking.reset(token)


@contextmanager
def as_replica() -> Iterator[None]:
    """Run code as one of a strategy's replicas."""
    token = _replica.set(True)
    try:
        yield
    finally:
        _replica.reset(token)


def loop_rows(world_size: int) -> Rows:
    """Return what stands for rows in a loop of the user's own, where they are not known.

    Replicas of a strategy divide their losses by the rows of the global batch, so that gradients are added up; elsewhere
    all ranks count alike.
    """
    return Rows(1.0, 1.0 if is_replica() else float(world_size))


@contextmanager
def entered(rows: Rows | None) -> Iterator[None]:
    """Trace a step for these rows."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)
