"""Arrays: a rank gathers its own rows alone. The order is drawn as one process draws it, and cut before the gather.

What TensorFlow does anew for each iterator grows with the graphs of a dataset's functions, and Keras makes two iterators an
epoch: so the graph here is as small as can be, and an iterator that was not read is used for the next epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hops_magic.frameworks.keras.agreement import batch_mark
from hops_magic.frameworks.keras.inputs.element import Part, bounds

_SAMPLED_ROWS, _SAMPLED_BYTES = 1024, 4 << 20


def divided(adapter: Any, get_tf_dataset: Callable[[], Any], rank: int, world_size: int) -> Any:
    """Call the ``get_tf_dataset`` of Keras's adapter for arrays so that it makes a dataset of this rank's parts."""
    rows, size = int(adapter._num_samples), int(adapter._batch_size)
    totals = [total for total in (size if rows >= size else 0, rows % size) if total]
    if not totals:  # without rows there is nothing to divide: what is wrong is for Keras to say
        return get_tf_dataset()
    with _parts_gathered(rows, totals, rank, world_size):
        return get_tf_dataset()


class ReadOnce:
    """A dataset of arrays whose iterator, while nothing was read from it, serves again: all of its iterators are alike.

    Parameters
    ----------
    dataset
        What is iterated over.
    epochs
        Keras's iterator over epochs, which asks for an iterator at the end of each, and for another at the next one's
        beginning.
    """

    def __init__(self, dataset: Any, epochs: Any) -> None:
        self._dataset, self._epochs = dataset, epochs
        self._made: Any = None

    def __iter__(self) -> Any:
        is_unread = self._made is not None and self._epochs._current_iterator is self._made
        if not is_unread or self._epochs._steps_seen:
            self._made = iter(self._dataset)
        return self._made


@contextmanager
def _parts_gathered(rows: int, totals: list[int], rank: int, world_size: int) -> Iterator[None]:
    """Let the adapter, which zips batches of indices with its arrays, gather the rows of a part."""
    import tensorflow as tf

    original = tf.data.Dataset.__dict__["zip"]

    def zipped(pair: Any, *args: Any, **kwargs: Any) -> _Indexed:
        arrays = next(iter(pair[1].take(1)))
        return _Indexed(original.__func__(pair, *args, **kwargs), arrays, rows, totals, rank, world_size)

    tf.data.Dataset.zip = staticmethod(zipped)
    try:
        yield
    finally:
        tf.data.Dataset.zip = original


@dataclass(frozen=True)
class _Indexed:
    """A dataset of indices and arrays; what it is mapped with sees a part of the indices.

    ``rows``: of the arrays; ``totals``: how many rows batches have, all but the last and the last, where these differ.
    """

    dataset: Any
    arrays: Any
    rows: int
    totals: list[int]
    rank: int
    world_size: int

    def map(self, gather: Callable[[Any, Any], Any], **options: Any) -> Any:
        import tensorflow as tf

        content = _content(gather, self.arrays, self.rows)

        def part(indices: Any, arrays: Any) -> Part:
            total, first, count, own = self._cut(indices)
            return Part(total, first, count, batch_mark(tf.io.serialize_tensor(indices), content), gather(own, arrays))

        return self.dataset.map(part, **options)

    def _cut(self, indices: Any) -> tuple[Any, Any, Any, Any]:
        """Return the rows of a batch, the first of this rank's, how many they are, and their indices."""
        import tensorflow as tf

        places = []
        for total in self.totals:
            first, last, count = bounds(total, self.rank, self.world_size)
            places.append([total, first, count, last - first])
        if len(places) == 1:
            total, first, count, taken = places[0]
            return tf.constant(total), tf.constant(first), tf.constant(count), indices[first : first + taken]
        is_last = tf.cast(tf.size(indices) != self.totals[0], tf.int32)
        total, first, count, taken = tf.split(tf.gather(tf.constant(places), is_last), 4)
        scalars = [tf.reshape(each, []) for each in (total, first, count)]
        return scalars[0], scalars[1], scalars[2], tf.slice(indices, first, taken)


def _content(gather: Callable[[Any, Any], Any], arrays: Any, rows: int) -> str:
    """Describe what arrays hold, by rows all over them: ranks whose arrays differ must not train."""
    import tensorflow as tf

    leaves = [leaf for leaf in tf.nest.flatten(arrays, expand_composites=True) if leaf is not None]
    bytes_ = sum(leaf.dtype.size * int(tf.size(leaf, tf.int64)) for leaf in leaves)
    most = min(_SAMPLED_ROWS, max(2, _SAMPLED_BYTES * rows // max(bytes_, 1)))
    with tf.device("CPU:0"):  # or the whole arrays would be copied to a GPU
        sampled = gather(tf.constant(np.unique(np.linspace(0, rows - 1, most).astype(np.int64))), arrays)
    found = hashlib.blake2b(digest_size=8)
    for leaf in tf.nest.flatten(sampled, expand_composites=True):
        if leaf is not None:
            array = np.ascontiguousarray(leaf)
            found.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return found.hexdigest()
