"""Losses: local means whose sum, weighted by rows, is the global loss, whatever the reduction, weights and masks.

Where Keras divides by rows nothing need be done. A sum is brought to the scale of a mean over the rank's rows; denominators
that depend on the data (sample weights, masks) are added up over the ranks first. A loss that compares the rows of a batch
with each other, or that is no mean of theirs, is computed on the rows of all ranks, and its gradient flows back to each.
"""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.keras.metric_updates import has_rows
from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.rows import Rows, current_rows, whole_batch
from hops_magic.frameworks.keras.scaling import Scale, mark_mean, mixes_rows, scale_of
from hops_magic.frameworks.keras.tensors import TensorCollective

_BY_ROWS = ("sum_over_batch_size", "mean")


def install(patches: Patches, collective: TensorCollective) -> None:
    """Replace the functions in which Keras computes and reduces losses."""
    from keras.src.losses import loss as loss_module

    def make_reduce(original: Any) -> Any:
        def reduce_values(values: Any, sample_weight: Any = None, reduction: str = "sum_over_batch_size") -> Any:
            import tensorflow as tf

            rows = current_rows()
            if rows is None or not tuple(values.shape):
                return original(values, sample_weight, reduction)
            scale = tf.cast(rows.inverse_weight, values.dtype)
            if reduction == "sum":
                return mark_mean(tf.reduce_sum(values) * scale)
            if reduction == "mean_with_sample_weight" and sample_weight is not None:
                here = tf.reduce_sum(tf.cast(sample_weight, values.dtype)) * tf.cast(rows.are_any, values.dtype)
                divisor = collective.all_reduce(here)
                return mark_mean(tf.math.divide_no_nan(tf.reduce_sum(values), tf.stop_gradient(divisor)) * scale)
            reduced = original(values, sample_weight, reduction)
            return mark_mean(reduced) if reduction in (*_BY_ROWS, "mean_with_sample_weight") else reduced

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
        def call(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            rows = current_rows()
            if rows is None:
                return original(self, y_true, y_pred, sample_weight)
            compute = self.call
            weighted = sample_weight is not None
            self.call = lambda y, p: _of_batch(self, compute, (y, p), rows, collective, weighted=weighted)
            try:
                return original(self, y_true, y_pred, sample_weight)
            finally:
                del self.call

        return call

    patches.wrap(loss_module.Loss, "__call__", make_call)
    patches.wrap(loss_module, "reduce_values", make_reduce)
    patches.wrap(loss_module, "apply_mask", make_mask)
    _install_added(patches)


def _install_added(patches: Patches) -> None:
    """Replace the functions by which layers add losses of their own, and Keras adds those up."""
    import tensorflow as tf
    from keras import layers
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

    def make_add(original: Any) -> Any:
        def add_loss(self: Any, loss: Any) -> None:
            rows = current_rows()
            if rows is not None:
                loss = tf.nest.map_structure(lambda each: _as_mean(each, rows), loss)
            original(self, loss)

        return add_loss

    def make_aggregate(original: Any) -> Any:
        def aggregate(self: Any, loss: Any) -> Any:
            rows = current_rows()
            if rows is None or not has_rows(loss):
                return original(self, loss)
            # only Keras is known to add up the entries: a step of the user's may as well take their mean
            return mark_mean(original(self, _scaled(loss, rows)))

        return aggregate

    patches.wrap(layers.Layer, "add_loss", make_add)
    patches.wrap(TensorFlowTrainer, "_aggregate_additional_loss", make_aggregate)


def _of_batch(
    loss: Any, compute: Any, given: tuple[Any, Any], rows: Rows, collective: TensorCollective, *, weighted: bool
) -> Any:
    """Compute a loss on this rank's rows such that the weighted mean over ranks is that of the whole batch.

    One number for a batch that is weighted by rows is multiplied by their weights' mean: of a product of two means the
    ranks' parts tell nothing.
    """
    import tensorflow as tf

    values = compute(*given)
    bases = tuple(leaf for leaf in tf.nest.flatten(given) if tf.is_tensor(leaf))
    if not tf.is_tensor(values):
        return values
    if has_rows(values):
        if not _compares_rows(loss, values, bases):
            return values
    else:
        scale = scale_of(values, bases)
        if scale is Scale.ALIKE or (scale is Scale.MEAN and not weighted):
            return values
        if scale is Scale.SUM and not weighted:
            return values * tf.cast(rows.inverse_weight, values.dtype)
    if not all(isinstance(base, tf.Tensor) and base.shape.rank for base in bases):
        return values
    wholes = tf.nest.map_structure(lambda leaf: collective.gather_rows(leaf, rows), given)
    with whole_batch():
        whole = compute(*wholes)
    return whole[rows.first : rows.first + tf.shape(values)[0]] if has_rows(values) else whole


def _as_mean(added: Any, rows: Rows) -> Any:
    """Bring a sum over rows that a layer adds as a loss to the scale of a mean over this rank's rows."""
    import tensorflow as tf

    if not tf.is_tensor(added) or has_rows(added) or scale_of(added) is not Scale.SUM:
        return added
    return mark_mean(_scaled(added, rows))


def _scaled(sums: Any, rows: Rows) -> Any:
    import tensorflow as tf

    return sums * tf.cast(rows.inverse_weight, sums.dtype)


def _compares_rows(loss: Any, values: Any, bases: tuple[Any, ...]) -> bool:
    function = getattr(loss, "fn", loss)
    module = getattr(function, "__module__", None) or type(function).__module__
    if module.split(".")[0] == "keras":
        return getattr(function, "__name__", "") == "circle"
    return mixes_rows(values, bases)
