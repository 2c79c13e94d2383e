"""Whether ranks agree on what they must share: the rows they are fed, and the weights they hold.

Every rank is to draw the same global batches. Data that was split before, or drawn with another seed on each rank, would
train on other rows than asked for, and nothing would show it: so each step compares fingerprints of its batch.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.collective import Collective

# two small numbers rather than a large one: their squares, added up over hundreds of ranks, are exact in float32
FINGERPRINT_SIZE = 2
_BUCKETS = 251


def fingerprint(leaves: list[Any], total: Any) -> Any:
    """Hash a batch's number of rows, and its first and last row, into a float32 vector."""
    import tensorflow as tf

    said = [tf.io.serialize_tensor(total)]
    for leaf in leaves:
        if isinstance(leaf, tf.SparseTensor):
            edges = [leaf.values[:8], leaf.values[-8:]]
        elif isinstance(leaf, tf.RaggedTensor):
            edges = [leaf[:1].flat_values, leaf[-1:].flat_values]
        else:
            edges = [leaf[:1], leaf[-1:]]
        said += [tf.io.serialize_tensor(edge) for edge in edges]
    return batch_mark(tf.strings.join(said))


def batch_mark(said: Any, beside: str = "") -> Any:
    """Hash what is said of a batch, a scalar string, and what is known beside it, into a float32 vector."""
    import tensorflow as tf

    salted = tf.strings.join([said, tf.constant([f"{place}{beside}" for place in range(FINGERPRINT_SIZE)])])
    return tf.cast(tf.strings.to_hash_bucket_fast(salted, _BUCKETS), tf.float32)


def all_alike(sums: Any, squares: Any, world_size: int) -> bool:
    """Whether numbers of which only the sums, and the sums of squares, over ranks are known are the same on all."""
    return bool(np.array_equal(np.asarray(squares) * world_size, np.asarray(sums) ** 2))


def refuse_other_rows() -> None:
    """Raise the error for ranks that were fed different rows."""
    raise UnsupportedError(
        "the ranks feed different rows to the model: give every rank the same data, since each global batch is split over "
        "the ranks by itself, and seed what draws at random; or give fit what hops.shard gives, and each rank feeds its own"
    )


def array_digest(data: Any) -> str:
    """Describe arrays that are about to be fed, by their edges."""
    found = hashlib.blake2b(digest_size=16)
    for leaf in _arrays(data):
        found.update(repr((leaf.shape, str(leaf.dtype))).encode())
        if leaf.dtype != object and leaf.size:
            found.update(np.ascontiguousarray(leaf[:1]).tobytes() + np.ascontiguousarray(leaf[-1:]).tobytes())
    return found.hexdigest()


def _arrays(data: Any) -> list[Any]:
    if isinstance(data, np.ndarray):
        return [data]
    if isinstance(data, dict):
        data = [data[key] for key in sorted(data, key=str)]
    if isinstance(data, list | tuple):
        return [array for part in data for array in _arrays(part)]
    return []


def differing_variables(variables: list[Any], collective: Collective) -> list[str]:
    """Return the paths of variables that are not the same on all ranks, in order."""
    mine = [zlib.crc32(np.ascontiguousarray(variable.numpy()).tobytes()) for variable in variables]
    others = collective.all_gather_objects(mine)
    return [
        str(getattr(variable, "path", variable.name))
        for index, variable in enumerate(variables)
        if any(index >= len(theirs) or theirs[index] != mine[index] for theirs in others)
    ]
