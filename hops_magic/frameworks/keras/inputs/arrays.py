"""Arrays: a rank gathers its own rows alone. The order is drawn as one process draws it, and cut before the gather."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hops_magic.frameworks.keras.agreement import fingerprint
from hops_magic.frameworks.keras.inputs.element import Part


def divided(get_tf_dataset: Callable[[], Any], rank: int, world_size: int) -> Any:
    """Call the ``get_tf_dataset`` of Keras's adapter for arrays so that it makes a dataset of this rank's parts."""
    with _parts_gathered(rank, world_size):
        return get_tf_dataset()


@contextmanager
def _parts_gathered(rank: int, world_size: int) -> Iterator[None]:
    """Let the adapter, which zips batches of indices with its arrays, gather the rows of a part."""
    import tensorflow as tf

    original = tf.data.Dataset.__dict__["zip"]
    tf.data.Dataset.zip = staticmethod(
        lambda *args, **kwargs: _Indexed(original.__func__(*args, **kwargs), rank, world_size)
    )
    try:
        yield
    finally:
        tf.data.Dataset.zip = original


@dataclass(frozen=True)
class _Indexed:
    """A dataset of indices and arrays; what it is mapped with sees a part of the indices."""

    dataset: Any
    rank: int
    world_size: int

    def map(self, gather: Callable[[Any, Any], Any], **options: Any) -> Any:
        import tensorflow as tf

        def part(indices: Any, arrays: Any) -> Part:
            total = tf.shape(indices)[0]
            start, end = total * self.rank // self.world_size, total * (self.rank + 1) // self.world_size
            first = tf.maximum(tf.minimum(start, total - 1), 0)
            last = tf.maximum(end, first + 1)
            edges = gather(tf.stack([indices[0], indices[-1]]), arrays)
            leaves = [indices, *(leaf for leaf in tf.nest.flatten(edges) if leaf is not None)]
            return Part(total, first, end - start, fingerprint(leaves, total), gather(indices[first:last], arrays))

        return self.dataset.map(part, **options)
