"""Gradients: one packed all-reduce a step, before clipping, accumulation and the optimizer's own arithmetic."""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.step import TensorCollective, current_rows, loop_rows


def install(patches: Patches, collective: TensorCollective) -> None:
    """Make every optimizer apply the gradient of the global batch."""
    from keras.src.optimizers import base_optimizer, loss_scale_optimizer

    reducing: list[bool] = []

    def make(original: Any) -> Any:
        def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if reducing:  # the optimizer inside another one, such as LossScaleOptimizer: reduced already
                return original(self, grads, trainable_variables)
            reducing.append(True)
            try:
                return original(self, reduce_gradients(list(grads), collective), trainable_variables)
            finally:
                reducing.pop()

        return apply

    patches.wrap(base_optimizer.BaseOptimizer, "apply", make)
    # decides by the gradients whether to apply them at all: it must see those that all ranks see
    patches.wrap(loss_scale_optimizer.LossScaleOptimizer, "apply", make)


def reduce_gradients(gradients: list[Any], collective: TensorCollective) -> list[Any]:
    """Return the gradients of the global mean from those of local means.

    Inside a step a rank counts by its rows; in a loop of the user's own as :func:`loop_rows` says.
    """
    import tensorflow as tf

    present = [index for index, gradient in enumerate(gradients) if gradient is not None]
    rows = current_rows()
    weight = tf.convert_to_tensor((rows or loop_rows(collective.world_size)).weight, tf.float64)
    reduced = list(gradients)
    for index in present:
        if isinstance(gradients[index], tf.IndexedSlices):
            reduced[index] = _gather_slices(gradients[index], weight, collective)
    present = [index for index in present if reduced[index] is gradients[index]]
    dense = [tf.convert_to_tensor(gradients[index]) for index in present]
    wide = tf.float64 if any(gradient.dtype == tf.float64 for gradient in dense) else tf.float32
    # without dense gradients too: the votes travel here
    flat = tf.concat([tf.zeros([0], wide), *(tf.reshape(tf.cast(gradient, wide), [-1]) for gradient in dense)], 0)
    # what a rank without rows made of the one it borrowed counts as zero, be it NaN
    flat = tf.where(weight > 0, flat * tf.cast(weight, wide), tf.zeros_like(flat))
    summed = collective.all_reduce_voting(flat, None if rows is None else rows.fingerprint)
    if not dense:
        return reduced
    # not all shapes are known while the step is traced: of a dense layer on sequences in odd batches, for one
    parts = tf.split(summed, [tf.size(gradient) for gradient in dense], num=len(dense))
    for index, gradient, part in zip(present, dense, parts, strict=True):
        reduced[index] = tf.ensure_shape(tf.cast(tf.reshape(part, tf.shape(gradient)), gradient.dtype), gradient.shape)
    return reduced


def _gather_slices(slices: Any, weight: Any, collective: TensorCollective) -> Any:
    """Join the rows of an embedding that all ranks touched, in their order, as one process would have them.

    Added up to a dense gradient they would not do: Adam squares the contributions to a row one by one.
    """
    import tensorflow as tf

    # of the row that a rank without rows borrowed nothing is joined: even a zero would count as a visit
    kept = tf.where(weight > 0, tf.shape(slices.indices)[0], 0)
    values = slices.values[:kept] * tf.cast(weight, slices.values.dtype)
    indices, values = collective.concatenate(slices.indices[:kept], values)
    return tf.IndexedSlices(values, indices, slices.dense_shape)
