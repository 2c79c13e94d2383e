"""Specs of parts: those of batches, with any number of rows."""

from __future__ import annotations

from typing import Any


def part_spec(spec: Any) -> Any:
    """Return the spec of a part of batches of a spec."""
    import tensorflow as tf

    return tf.nest.map_structure(_of_any_rows, spec)


def can_travel(spec: Any) -> bool:
    """Whether parts of such batches can be told as arrays."""
    import tensorflow as tf

    return all(
        isinstance(leaf, tf.TensorSpec | tf.RaggedTensorSpec | tf.SparseTensorSpec)
        and (leaf.shape.rank is None or leaf.shape.rank > 0)
        and leaf.dtype not in (tf.variant, tf.resource)
        for leaf in tf.nest.flatten(spec)
    )


def _of_any_rows(leaf: Any) -> Any:
    import tensorflow as tf

    if not leaf.shape.rank:
        return leaf
    shape = [None, *leaf.shape[1:]]
    if isinstance(leaf, tf.RaggedTensorSpec):
        return tf.RaggedTensorSpec(shape, leaf.dtype, leaf.ragged_rank, leaf.row_splits_dtype, leaf.flat_values_spec)
    if isinstance(leaf, tf.SparseTensorSpec):
        return tf.SparseTensorSpec(shape, leaf.dtype)
    return tf.TensorSpec(shape, leaf.dtype)
