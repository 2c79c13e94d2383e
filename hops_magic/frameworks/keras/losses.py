"""Losses: local means whose sum, weighted by rows, is the global loss, whatever the reduction, weights and masks.

Where Keras divides by rows nothing need be done. A sum is brought to the scale of a mean over the rank's rows; denominators
that depend on the data (sample weights, masks) are added up over the ranks first.
"""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.step import TensorCollective, current_rows

_BY_ROWS = ("sum_over_batch_size", "mean")


def install(patches: Patches, collective: TensorCollective) -> None:
    """Replace the two functions in which Keras reduces losses."""
    from keras.src.losses import loss as loss_module

    def make_reduce(original: Any) -> Any:
        def reduce_values(values: Any, sample_weight: Any = None, reduction: str = "sum_over_batch_size") -> Any:
            import tensorflow as tf

            rows = current_rows()
            if rows is None or not tuple(values.shape):
                return original(values, sample_weight, reduction)
            scale = tf.cast(rows.inverse_weight, values.dtype)
            if reduction == "sum":
                return tf.reduce_sum(values) * scale
            if reduction == "mean_with_sample_weight" and sample_weight is not None:
                divisor = collective.all_reduce(tf.reduce_sum(tf.cast(sample_weight, values.dtype)))
                return tf.math.divide_no_nan(tf.reduce_sum(values), tf.stop_gradient(divisor)) * scale
            return original(values, sample_weight, reduction)

        return reduce_values

    def make_mask(original: Any) -> Any:
        def apply_mask(sample_weight: Any, mask: Any, dtype: Any, reduction: str) -> Any:
            import tensorflow as tf

            rows = current_rows()
            if rows is None or mask is None or reduction not in _BY_ROWS:
                return original(sample_weight, mask, dtype, reduction)
            weights = original(sample_weight, mask, dtype, "sum")
            here = tf.cast(tf.size(mask), weights.dtype)
            valid = collective.all_reduce(tf.reduce_sum(tf.cast(mask, weights.dtype)))
            scale = tf.math.divide_no_nan(here, valid) * tf.cast(rows.inverse_weight, weights.dtype)
            return weights * scale

        return apply_mask

    patches.wrap(loss_module, "reduce_values", make_reduce)
    patches.wrap(loss_module, "apply_mask", make_mask)
