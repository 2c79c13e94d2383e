"""How many rows batches have, where an input does not tell: they are counted as they pass."""

from __future__ import annotations

from collections import deque
from typing import Any

from hops_magic.frameworks.keras.inputs.element import Part
from hops_magic.frameworks.keras.inputs.feed import Feed
from hops_magic.frameworks.keras.throughput import batches_of


class PassingRows:
    """The rows of each batch that was drawn, first in, first out: pipelines draw ahead of what is trained on."""

    def __init__(self) -> None:
        self._batches: deque[int] = deque()

    def note(self, rows: int) -> None:
        """Take down how many rows the next batch has, those of all ranks."""
        self._batches.append(int(rows))

    def take(self, batches: int) -> int:
        """Forget the oldest batches, which have been trained on; return their rows."""
        return sum(self._batches.popleft() for _ in range(min(batches, len(self._batches))))

    def forget(self) -> None:
        """Forget what was drawn without being trained on."""
        self._batches.clear()


def passing_of(iterator: Any) -> PassingRows | None:
    """Let an iterator of Keras's, before it is read, note the rows of its batches; None where its data tell their size."""
    if batches_of(iterator.data_adapter)[0] is not None:
        return None
    rows = PassingRows()
    dataset = iterator._distributed_dataset
    if isinstance(dataset, Feed):
        dataset.note = rows.note
    else:
        iterator._distributed_dataset = _noting(dataset, rows)
    return rows


def _noting(dataset: Any, rows: PassingRows) -> Any:
    import tensorflow as tf

    spec = dataset.element_spec

    def passing(*parts: Any) -> Any:
        leaves = tf.nest.flatten(parts, expand_composites=True)
        element = tf.nest.pack_sequence_as(spec, leaves, expand_composites=True)
        tf.numpy_function(rows.note, [_rows_of(element)], [], stateful=True)
        return element

    return dataset.map(passing, num_parallel_calls=None)


def _rows_of(element: Any) -> Any:
    import tensorflow as tf

    from hops_magic.frameworks.keras.step import has_length, length_of, named_leaves

    if isinstance(element, Part):
        return element.total
    return next((length_of(leaf) for _, leaf in named_leaves(element) if has_length(leaf)), tf.constant(0))
