"""Batch normalisation over the global batch, forwards and backwards."""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.keras.rows import Rows, current_rows, loop_rows
from hops_magic.frameworks.keras.tensors import TensorCollective
from hops_magic.frameworks.patches import Patches


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
    # of 32 bits at least: Keras widens them before it asks
    along = [1] * len(inputs.shape)
    along[layer.axis] = inputs.shape[layer.axis]
    if mask is not None:
        chosen = tf.cast(tf.broadcast_to(tf.expand_dims(mask, -1), tf.shape(inputs)), inputs.dtype)
        count = tf.reduce_sum(chosen, axes)
    else:
        chosen = tf.ones([], inputs.dtype)
        each = tf.cast(tf.reduce_prod([tf.shape(inputs)[axis] for axis in axes]), inputs.dtype)
        count = tf.fill([along[layer.axis]], each)
    center = tf.math.divide_no_nan(tf.reduce_sum(inputs * chosen, axes), count)
    spread = tf.reduce_sum(tf.square(inputs - tf.reshape(center, along)) * chosen, axes)
    # a difference of squares loses digits where the mean is large: between ranks, there are enough of them
    count, center, spread = (tf.cast(number, tf.float64) for number in (tf.stop_gradient(count), center, spread))
    own = tf.stack([count, count * center, spread + count * tf.square(center)])
    summed = collective.differentiable_sum(own * tf.cast(rows.are_any, tf.float64), rows)
    divisor = summed[0] + (layer_epsilon() if mask is not None else 0.0)
    mean = tf.math.divide_no_nan(summed[1], divisor)
    # Keras takes the mean for a constant here where there is no mask: gradients of gradients see it
    middle = mean if mask is not None else tf.stop_gradient(mean)
    # about the mean, which is not that of the values where the divisor is not their number
    about = summed[2] - 2 * middle * summed[1] + tf.square(middle) * summed[0]
    variance = tf.maximum(tf.math.divide_no_nan(about, divisor), 0.0)
    return tf.cast(mean, inputs.dtype), tf.cast(variance, inputs.dtype)


def layer_epsilon() -> float:
    """The fuzz factor that Keras adds to the number of unmasked values."""
    import keras

    return float(keras.config.epsilon())
