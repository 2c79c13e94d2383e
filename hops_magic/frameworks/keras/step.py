"""The step in progress: which rows of the global batch this rank has, and how ranks talk inside TensorFlow's graphs.

An input yields whole global batches, of which the step takes the rank's contiguous part, or this part alone, with the
number of rows in all (see ``inputs``). So each rank knows without asking how many rows there are.

A rank whose part is empty computes on a row of another's, which counts for nothing: kernels of TensorFlow exist that abort
the process on a batch without rows (oneDNN's gradient of max pooling, for one).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from hops_magic.errors import CollectiveError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.agreement import FINGERPRINT_SIZE, all_alike
from hops_magic.frameworks.keras.inputs.element import unpack


@dataclass(frozen=True)
class Rows:
    """Rows of a step, and the fingerprint of its global batch, if there is one.

    They are scalar float64 tensors, so that shares are exact for models of that type too.
    """

    local: Any
    total: Any
    fingerprint: Any = None

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


_replica: ContextVar[bool] = ContextVar("hops_replica", default=False)


def is_replica() -> bool:
    """Whether the code that is being traced runs as one of a strategy's replicas, whose gradients are added up."""
    return _replica.get()


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


class TensorCollective:
    """Collectives on tensors, inside graphs too, over a transport for arrays.

    Each all-reduce carries the ranks' votes along, so that they agree on a step at no cost of its own.
    """

    def __init__(self, collective: Collective, vote: Callable[[], tuple[float, ...]], votes: int) -> None:
        self._collective, self._vote = collective, vote
        self.votes = np.zeros(votes, np.float32)
        self.rows_are_alike = True
        self.fed = 0
        self.failure: CollectiveError | None = None

    @property
    def rank(self) -> int:
        """This rank's number."""
        return self._collective.rank

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return self._collective.world_size

    def all_reduce(self, tensor: Any) -> Any:
        """Sum a tensor over the ranks."""
        import tensorflow as tf

        reduced = tf.numpy_function(self._reduce, [tensor], tensor.dtype, stateful=True)
        reduced.set_shape(tensor.shape)
        return reduced

    def all_reduce_voting(self, flat: Any, fingerprint: Any = None) -> Any:
        """Sum a vector over the ranks.

        Afterwards :attr:`votes` holds the sums of their votes, and :attr:`rows_are_alike` whether their fingerprints agree.
        """
        import tensorflow as tf

        def reduce(array: Any, mine: Any) -> Any:
            ballot = np.concatenate([self._vote(), mine, mine**2]).astype(array.dtype)
            together = self._reduce(np.concatenate([array, ballot]))
            counted = together[array.size :].astype(np.float64)
            self.votes = counted[: self.votes.size].astype(np.float32)
            sums, squares = np.split(counted[self.votes.size :], 2)
            self.rows_are_alike = all_alike(sums, squares, self.world_size)
            return together[: array.size]

        mine = tf.zeros(FINGERPRINT_SIZE) if fingerprint is None else fingerprint
        reduced = tf.numpy_function(reduce, [flat, mine], flat.dtype, stateful=True)
        reduced.set_shape(flat.shape)
        return reduced

    def note_fed(self, mine: Any) -> None:
        """Fold a batch's fingerprint into :attr:`fed`, which ranks compare when they add up their metrics."""
        import tensorflow as tf

        def note(numbers: Any) -> None:
            self.fed = zlib.crc32(np.asarray(numbers).tobytes(), self.fed) % (1 << 20)

        tf.numpy_function(note, [mine], [], stateful=True)

    def _reduce(self, array: Any) -> Any:
        try:
            return self._collective.all_reduce(array)
        except CollectiveError as error:
            self.failure = error  # TensorFlow would turn it into an error of its own, and a long one
            raise

    def concatenate(self, *tensors: Any) -> list[Any]:
        """Join tensors of the ranks along their first axis, in the order of ranks; lengths may differ."""
        import tensorflow as tf

        def join(*arrays: Any) -> list[Any]:
            try:
                parts = self._collective.all_gather_objects(arrays)
            except CollectiveError as error:
                self.failure = error
                raise
            return [np.concatenate(column) for column in zip(*parts, strict=True)]

        joined = tf.numpy_function(join, tensors, [tensor.dtype for tensor in tensors], stateful=True)
        for result, tensor in zip(joined, tensors, strict=True):
            result.set_shape([None, *tensor.shape[1:]])
        return list(joined)

    def differentiable_sum(self, tensor: Any, rows: Rows) -> Any:
        """Sum a tensor over the ranks; gradients flow back to every rank that contributed.

        Ranks' gradients are weighted by their rows only later, so what comes from others is brought to this rank's scale.
        """
        import tensorflow as tf

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def summed(x: Any) -> Any:
            def backward(upstream: Any) -> Any:
                together = self.all_reduce(upstream * tf.cast(rows.weight, upstream.dtype))
                return together * tf.cast(rows.inverse_weight, upstream.dtype)

            return self.all_reduce(x), backward

        return summed(tensor)


def sharded(
    step: Callable[[Any], Any], tensors: TensorCollective, states: Callable[[], list[Any]], *, trains: bool
) -> Callable[[Any], Any]:
    """Make a step for this rank's rows out of one for whole batches.

    Parameters
    ----------
    states : callable
        Returns the variables that count rows, such as those of metrics: a borrowed row leaves them as they were.
    """
    import tensorflow as tf

    rank, world_size = tensors.rank, tensors.world_size

    def on_this_ranks_rows(data: Any) -> Any:
        fed = unpack(data, rank, world_size)
        mine = fed.fingerprint
        if not trains:  # a step that trains compares at once, with its gradients
            tensors.note_fed(mine)
        with (
            _entered(Rows(tf.cast(fed.count, tf.float64), tf.cast(fed.total, tf.float64), mine)),
            _unmoved(states, unless=fed.count > 0),
        ):
            return step(fed.rows)

    return on_this_ranks_rows


@contextmanager
def _unmoved(states: Callable[[], list[Any]], *, unless: Any) -> Iterator[None]:
    """Give variables back the values that they had, unless a condition holds that is known when the step runs."""
    import tensorflow as tf

    before = {id(state): state for state in states()}
    held = tf.cond(
        unless,
        lambda: [tf.zeros([0], state.value.dtype) for state in before.values()],
        lambda: [tf.reshape(state.value, [-1]) for state in before.values()],
    )
    values = dict(zip(before, held if isinstance(held, list) else [held], strict=True))
    yield

    def restore() -> Any:
        for state in states():  # made in the step itself: they begin at zero
            held = values.get(id(state))
            state.assign(tf.zeros_like(state.value) if held is None else tf.reshape(held, state.shape))
        return tf.constant(0)

    tf.cond(unless, lambda: tf.constant(0), restore)


def _bounds(total: Any, rank: int, world_size: int) -> tuple[Any, Any]:
    return total * rank // world_size, total * (rank + 1) // world_size


def part_of(data: Any, total: Any, rank: int, world_size: int) -> Any:
    """Return a rank's contiguous rows of a batch of ``total``; a rank without any gets one of another's."""
    import tensorflow as tf

    start, end = _bounds(total, rank, world_size)
    first = tf.maximum(tf.minimum(start, total - 1), 0)
    last = tf.maximum(end, first + 1)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else _part(leaf, first, last), data)


def length_of(leaf: Any) -> Any:
    """Return the number of rows of a dense, ragged or sparse tensor: int32, scalar."""
    import tensorflow as tf

    if isinstance(leaf, tf.SparseTensor):
        return tf.cast(leaf.dense_shape[0], tf.int32)
    return tf.cast(leaf.nrows(), tf.int32) if isinstance(leaf, tf.RaggedTensor) else tf.shape(leaf)[0]


def _part(leaf: Any, start: Any, end: Any) -> Any:
    import tensorflow as tf

    if not isinstance(leaf, tf.SparseTensor):
        return leaf[start:end]
    others = leaf.dense_shape[1:]
    begin = tf.concat([tf.cast([start], tf.int64), tf.zeros_like(others)], 0)
    part = tf.sparse.slice(leaf, begin, tf.concat([tf.cast([end - start], tf.int64), others], 0))
    part.set_shape([None, *leaf.shape[1:]])
    return part


@contextmanager
def _entered(rows: Rows) -> Iterator[None]:
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)
