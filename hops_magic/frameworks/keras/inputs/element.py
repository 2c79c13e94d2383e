"""What an input hands to a step: a whole global batch, or this rank's part of one, marked as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A rank's part of a global batch, as a dataset yields it.

    ``total``, ``first`` and ``count`` are int32 scalars: rows of the global batch, the place of this rank's first row among
    them, and how many are this rank's. ``rows`` holds one borrowed row where ``count`` is 0. ``fingerprint`` is that of the
    global batch, float32 of shape (2,): the same on all ranks.
    """

    total: Any
    first: Any
    count: Any
    fingerprint: Any
    rows: Any


@dataclass(frozen=True)
class Fed:
    """What a step was fed: as in :class:`Part`."""

    total: Any
    first: Any
    count: Any
    fingerprint: Any
    rows: Any


def unpack(data: Any, rank: int, world_size: int) -> Fed:
    """Return a rank's part of what an input yields, a :class:`Part` or a whole global batch."""
    import tensorflow as tf

    from hops_magic.frameworks.keras.agreement import fingerprint
    from hops_magic.frameworks.keras.step import has_length, length_of, part_of

    if isinstance(data, Part):
        return Fed(*data)
    leaves = [leaf for leaf in tf.nest.flatten(data) if has_length(leaf)]
    total = length_of(leaves[0])
    count = total * (rank + 1) // world_size - total * rank // world_size
    first = tf.maximum(tf.minimum(total * rank // world_size, total - 1), 0)
    return Fed(total, first, count, fingerprint(leaves, total), part_of(data, total, rank, world_size))


def bounds(total: int, rank: int, world_size: int) -> tuple[int, int, int]:
    """Return where a rank's part begins and ends, the borrowed row of an empty one included, and its rows without that."""
    start, end = total * rank // world_size, total * (rank + 1) // world_size
    first = max(min(start, total - 1), 0)
    return first, max(end, first + 1), end - start
