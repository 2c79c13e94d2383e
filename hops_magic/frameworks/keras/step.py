"""The step in progress: each rank takes its rows of the global batch.

An input yields whole global batches, of which the step takes the rank's contiguous part, or this part alone, with the
number of rows in all (see ``inputs``). So each rank knows without asking how many rows there are.

A rank whose part is empty computes on a row of another's, which counts for nothing: kernels of TensorFlow exist that abort
the process on a batch without rows (oneDNN's gradient of max pooling, for one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from hops_magic.frameworks.keras.inputs.element import Part, unpack
from hops_magic.frameworks.keras.rows import Rows, entered
from hops_magic.frameworks.keras.tensors import TensorCollective

_PARTS = ("x", "y", "sample_weight")
_SMALL_STATE = 4096


class Watched(Protocol):
    """The model whose step is traced."""

    def states(self) -> list[Any]:
        """Return the variables that count rows, such as those of metrics: a borrowed row leaves them as they were."""
        ...

    def traced(self) -> AbstractContextManager[Callable[[Any], None]]:
        """Surround the tracing of a step; what is yielded is called with the logs that the step returns."""
        ...


def sharded(step: Callable[[Any], Any], tensors: TensorCollective, model: Watched, *, trains: bool) -> Callable[[Any], Any]:
    """Make a step for this rank's rows out of one for whole batches."""
    import tensorflow as tf

    rank, world_size = tensors.rank, tensors.world_size

    def on_this_ranks_rows(data: Any) -> Any:
        fed = unpack(data, rank, world_size)
        if not isinstance(data, Part):  # whoever cut a batch into parts has looked
            lengths = {name: length_of(leaf) for name, leaf in named_leaves(data) if has_length(leaf)}
            tensors.refuse_other_lengths(list(lengths), list(lengths.values()))
        local = tf.nest.map_structure(_of_any_length, fed.rows)
        rows = Rows(
            tf.cast(fed.count, tf.float64),
            tf.cast(fed.total, tf.float64),
            fed.first,
            fed.fingerprint,
            graph=tf.compat.v1.get_default_graph(),
        )
        if not trains:  # a step that trains compares at once, with its gradients
            tensors.note_fed(rows)
        with (
            entered(rows),
            _unmoved(model.states, unless=fed.count > 0),
            model.traced() as note_logs,
        ):
            logs = step(local)
            note_logs(logs)
            return logs

    return on_this_ranks_rows


@contextmanager
def _unmoved(states: Callable[[], list[Any]], *, unless: Any) -> Iterator[None]:
    """Give variables back the values that they had, unless a condition holds that is known when the step runs.

    Small ones are written again in any case, which is cheaper than branches of the graph.
    """
    import tensorflow as tf

    before = {id(state): state for state in states()}
    values: dict[int, Any] = {key: tf.identity(state.value) for key, state in before.items() if _is_small(state)}
    large = {key: state for key, state in before.items() if key not in values}
    if large:
        held = tf.cond(
            unless,
            lambda: [tf.zeros([0], state.value.dtype) for state in large.values()],
            lambda: [tf.reshape(state.value, [-1]) for state in large.values()],
        )
        values |= dict(zip(large, held if isinstance(held, list) else [held], strict=True))
    yield

    def held_of(state: Any) -> Any:
        held = values.get(id(state))  # those made in the step itself begin at zero
        return tf.zeros_like(state.value) if held is None else tf.reshape(held, state.shape)

    def restore(after: list[Any]) -> Any:
        for state in after:
            state.assign(held_of(state))
        return tf.constant(0)

    after = list(states())
    for state in after:
        if _is_small(state):
            state.assign(tf.where(unless, state.value, held_of(state)))
    if rest := [state for state in after if not _is_small(state)]:
        tf.cond(unless, lambda: tf.constant(0), lambda: restore(rest))


def _is_small(state: Any) -> bool:
    size = state.value.shape.num_elements()
    return size is not None and size <= _SMALL_STATE


def _bounds(total: Any, rank: int, world_size: int) -> tuple[Any, Any]:
    return total * rank // world_size, total * (rank + 1) // world_size


def part_of(data: Any, total: Any, rank: int, world_size: int) -> Any:
    """Return a rank's contiguous rows of a batch of ``total``; a rank without any gets one of another's."""
    import tensorflow as tf

    start, end = _bounds(total, rank, world_size)
    first = tf.maximum(tf.minimum(start, total - 1), 0)
    last = tf.maximum(end, first + 1)
    return tf.nest.map_structure(lambda leaf: _part(leaf, first, last) if has_length(leaf) else leaf, data)


def first_rows(leaf: Any, most: int) -> Any:
    """Return the first rows of a part of a batch, all if there are no more."""
    import tensorflow as tf

    return _part(leaf, 0, tf.minimum(length_of(leaf), most)) if has_length(leaf) else leaf


def has_length(leaf: Any) -> bool:
    """Whether a part of a batch has rows; a number that comes with it has none, and is the same for all."""
    return leaf is not None and leaf.shape.rank != 0


def named_leaves(data: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a batch with what to call them: ``x``, ``y`` and ``sample_weight``, and their places in those."""
    if isinstance(data, tuple) and not name and len(data) <= len(_PARTS):
        for part, value in zip(_PARTS, data, strict=False):
            yield from named_leaves(value, part)
    elif isinstance(data, dict):
        for key in sorted(data, key=str):
            yield from named_leaves(data[key], f"{name}[{key!r}]" if name else str(key))
    elif isinstance(data, list | tuple):
        for place, value in enumerate(data):
            yield from named_leaves(value, f"{name or 'x'}[{place}]")
    elif data is not None:
        yield name or "x", data


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


def _of_any_length(leaf: Any) -> Any:
    """Hide how many rows a rank has where that is known: it tells rows from other axes while the step is traced."""
    import tensorflow as tf

    if isinstance(leaf, tf.RaggedTensor):
        splits = tf.compat.v1.placeholder_with_default(leaf.row_splits, [None])
        return tf.RaggedTensor.from_row_splits(leaf.values, splits, validate=False)
    if not isinstance(leaf, tf.Tensor) or not leaf.shape.rank or leaf.shape[0] is None:
        return leaf
    return tf.compat.v1.placeholder_with_default(leaf, [None, *leaf.shape[1:]])
