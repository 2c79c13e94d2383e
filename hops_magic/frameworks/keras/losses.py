"""Losses: local means whose sum, weighted by rows, is the global loss, whatever the reduction, weights and masks.

Where Keras divides by rows nothing need be done. A sum is brought to the scale of a mean over the rank's rows; denominators
that depend on the data (sample weights, masks) are added up over the ranks first.
"""

from __future__ import annotations

from typing import Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.step import TensorCollective, current_rows

_BY_ROWS = ("sum_over_batch_size", "mean")


def refuse_mixing_rows(name: str, shape: tuple[Any, ...]) -> None:
    """Refuse Keras's losses that compare the rows of a batch with each other: of its own part a rank makes another loss."""
    if name == "circle" or (name in ("dice", "tversky") and shape == ()):
        remedy = (
            "" if name == "circle" else f"give {name.capitalize()} an axis without the first, such as axis=(1, 2, 3), or "
        )
        raise UnsupportedError(
            f"the loss {name} mixes the rows of a batch, which several ranks hold in parts: {remedy}train with -n 1"
        )


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
                here = tf.reduce_sum(tf.cast(sample_weight, values.dtype)) * tf.cast(rows.are_any, values.dtype)
                divisor = collective.all_reduce(here)
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
            valid = collective.all_reduce(tf.reduce_sum(tf.cast(mask, weights.dtype)) * tf.cast(rows.are_any, weights.dtype))
            scale = tf.math.divide_no_nan(here, valid) * tf.cast(rows.inverse_weight, weights.dtype)
            return weights * scale

        return apply_mask

    def make_call(original: Any) -> Any:
        def call(self: Any, y_true: Any, y_pred: Any) -> Any:
            values = original(self, y_true, y_pred)
            if current_rows() is not None:
                refuse_mixing_rows(getattr(self.fn, "__name__", ""), tuple(values.shape))
            return values

        return call

    from keras.src.losses.losses import LossFunctionWrapper

    patches.wrap(LossFunctionWrapper, "call", make_call)
    patches.wrap(loss_module, "reduce_values", make_reduce)
    patches.wrap(loss_module, "apply_mask", make_mask)
