"""Batch normalisation over the global batch, forwards and backwards."""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.step import Rows, TensorCollective, current_rows, loop_rows


def install(patches: Patches, collective: TensorCollective) -> None:
    """Make every BatchNormalization use the moments of the global batch while it trains."""
    from keras.layers import BatchNormalization

    def make(_original: Any) -> Any:
        def moments(self: Any, inputs: Any, mask: Any) -> Any:
            rows = current_rows() or loop_rows(collective.world_size)
            return _global_moments(self, inputs, mask, collective, rows)

        return moments

    patches.wrap(BatchNormalization, "_moments", make)


def _global_moments(layer: Any, inputs: Any, mask: Any, collective: TensorCollective, rows: Rows) -> tuple[Any, Any]:
    import tensorflow as tf

    axes = layer._reduction_axes
    values = tf.cast(inputs, tf.float32)
    # sums of squares lose digits when the mean is large: count from the moving mean, which all ranks share
    shape = [1] * len(values.shape)
    shape[layer.axis] = values.shape[layer.axis]
    origin = tf.reshape(tf.cast(tf.stop_gradient(layer.moving_mean.value), tf.float32), shape)
    shifted = values - origin
    if mask is not None:
        chosen = tf.cast(tf.broadcast_to(tf.expand_dims(tf.cast(mask, tf.float32), -1), tf.shape(values)), tf.float32)
        shifted = shifted * chosen
        count = tf.reduce_sum(chosen, axes)
    else:
        each = tf.cast(tf.reduce_prod([tf.shape(values)[axis] for axis in axes]), tf.float32)
        count = tf.fill([shape[layer.axis]], each)
    total = tf.reduce_sum(shifted, axes)
    squares = tf.reduce_sum(tf.square(shifted), axes)
    counted = tf.stack([total, squares, tf.stop_gradient(count)]) * rows.are_any
    summed = collective.differentiable_sum(counted, rows)
    divisor = summed[2] + (layer_epsilon() if mask is not None else 0.0)
    mean = tf.math.divide_no_nan(summed[0], divisor)
    variance = tf.maximum(tf.math.divide_no_nan(summed[1], divisor) - tf.square(mean), 0.0)
    mean = mean + tf.reshape(origin, [-1])
    return tf.cast(mean, inputs.dtype), tf.cast(variance, inputs.dtype)


def layer_epsilon() -> float:
    """The fuzz factor that Keras adds to the number of unmasked values."""
    import keras

    return float(keras.config.epsilon())
