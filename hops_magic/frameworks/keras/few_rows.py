"""A few rows of a batch, on which the step of one process and that of the ranks are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.inputs.element import Part
from hops_magic.frameworks.keras.inputs.specs import part_spec
from hops_magic.frameworks.keras.step import first_rows, has_length, length_of

ROWS_PER_RANK = 4


def few_rows(batch: Any, collective: Collective) -> Any:
    """Return so few rows of a global batch that they cost little, and so many that ranks have uneven parts of them.

    Of a batch that ranks have in parts, each gives the first rows of its own.
    """
    import tensorflow as tf

    if not isinstance(batch, Part):
        batch = tf.nest.map_structure(_as_tensor, batch)
        most = min(ROWS_PER_RANK * collective.world_size + 1, rows_of(batch))
        most -= _divides(most, collective)
        return tf.nest.map_structure(lambda leaf: first_rows(leaf, most), batch)
    is_last = collective.rank == collective.world_size - 1
    most = min(int(batch.count), ROWS_PER_RANK + is_last)
    most -= is_last and int(batch.total) <= ROWS_PER_RANK * collective.world_size and _divides(int(batch.total), collective)
    mine = tf.nest.map_structure(lambda leaf: first_rows(leaf, most), batch.rows)
    arrays = [np.asarray(leaf) for leaf in tf.nest.flatten(mine, expand_composites=True)]
    # ranks give different numbers of rows, which sparse rows would have to have in common
    kind = part_spec(tf.nest.map_structure(tf.type_spec_from_value, mine))
    parts = [
        tf.nest.pack_sequence_as(kind, [tf.convert_to_tensor(array) for array in theirs], expand_composites=True)
        for count, theirs in collective.all_gather_objects((most, arrays))
        if count
    ]
    return tf.nest.map_structure(lambda *each: _joined(each), *parts)


def _divides(count: int, collective: Collective) -> bool:
    """Whether all ranks would have as many rows: means of what each has count alike then, whatever they should count."""
    return count > collective.world_size and count % collective.world_size == 0


def rows_of(batch: Any) -> int:
    """Return the number of rows of a global batch."""
    import tensorflow as tf

    if isinstance(batch, Part):
        return int(batch.total)
    leaves = map(_as_tensor, tf.nest.flatten(batch))
    return max((int(length_of(leaf)) for leaf in leaves if has_length(leaf)), default=0)


def _as_tensor(leaf: Any) -> Any:
    """Return what a step gets of a part of a batch: ``train_on_batch`` hands arrays on as they are."""
    import tensorflow as tf

    is_known = leaf is None or isinstance(leaf, tf.Tensor | tf.RaggedTensor | tf.SparseTensor)
    return leaf if is_known else tf.convert_to_tensor(leaf)


def _joined(parts: tuple[Any, ...]) -> Any:
    import tensorflow as tf

    if isinstance(parts[0], tf.SparseTensor):
        return tf.sparse.concat(0, list(parts))
    return tf.concat(parts, 0) if has_length(parts[0]) else parts[0]
