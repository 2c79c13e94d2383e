"""What metrics are told in a step: rows as they are, numbers that stand for a batch so that ranks' states add up.

Keras's own metrics add to their states, so the states of all ranks add up to those of one process, if what they are told
is of rows. A number that a step or a function made of the whole batch is brought to the rank's share of it first. Where
a share does not exist (a ratio, the root of a mean) the function is computed on the rows of all ranks. So is whatever
metrics of the user's own are told: their states need not be sums, and are those of one process on every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hops_magic.frameworks.keras.rows import Rows, current_rows, whole_batch
from hops_magic.frameworks.keras.scaling import Scale, scale_of
from hops_magic.frameworks.keras.tensors import TensorCollective
from hops_magic.frameworks.patches import Patches

# rows with more entries are not sent to other ranks for a metric
_WIDEST_ROW = 65_536


def install(patches: Patches, tensors: TensorCollective) -> None:
    """Make Keras's means and sums take numbers of batches for what they are."""
    from keras.metrics import Mean, MeanMetricWrapper, Sum

    patches.wrap(Mean, "update_state", lambda original: _mean_update(original, tensors))
    patches.wrap(Sum, "update_state", lambda original: _sum_update(original, tensors))
    patches.wrap(MeanMetricWrapper, "update_state", lambda original: _function_update(original, tensors))


def _rows_of_batch(values: Any) -> Rows | None:
    """Return the rows of the step if values are numbers of a batch that must be shared out, None if they are of rows."""
    rows = current_rows()
    return None if rows is None or has_rows(values) else rows


def has_rows(values: Any) -> bool:
    """Whether values are a tensor whose size depends on the rows."""
    import tensorflow as tf

    return tf.is_tensor(values) and not tf.convert_to_tensor(values).shape.is_fully_defined()


def _mean_update(original: Any, tensors: TensorCollective) -> Any:
    def update_state(self: Any, values: Any, sample_weight: Any = None) -> Any:
        import tensorflow as tf

        rows = _rows_of_batch(values)
        if rows is None:
            return original(self, values, sample_weight)
        values = _number(values, self.dtype)
        scale = scale_of(values)
        if scale in (Scale.SUM, Scale.COUNT):
            values = values * tf.cast(rows.inverse_weight, values.dtype)
        elif scale in (Scale.MAX, Scale.MIN):
            values = _extreme(values, scale, rows, tensors)
        # what a rank without rows made of the one it borrowed may be NaN
        values = tf.where(rows.local > 0, values, tf.zeros_like(values))
        share = tf.ones_like(values) * tf.cast(rows.weight, values.dtype)
        if sample_weight is None:
            return original(self, values, share)
        weight = tf.cast(sample_weight, values.dtype)
        # a number of rows is the rank's own already
        counted = has_rows(sample_weight) or _counts_rows(sample_weight)
        return original(self, values, weight if counted else share * weight)

    return update_state


def _sum_update(original: Any, tensors: TensorCollective) -> Any:
    def update_state(self: Any, values: Any, sample_weight: Any = None) -> Any:
        import tensorflow as tf

        rows = _rows_of_batch(values)
        if rows is None:
            return original(self, values, sample_weight)
        values = _number(values, self.dtype)
        scale = scale_of(values)
        if scale in (Scale.MAX, Scale.MIN):
            values = _extreme(values, scale, rows, tensors)
        if scale not in (Scale.SUM, Scale.COUNT):
            values = values * tf.cast(rows.weight, values.dtype)
        return original(self, tf.where(rows.local > 0, values, tf.zeros_like(values)), sample_weight)

    return update_state


def _counts_rows(weight: Any) -> bool:
    import tensorflow as tf

    scale = scale_of(weight)
    return scale in (Scale.COUNT, Scale.SUM) or (
        scale is not Scale.ALIKE and not tf.convert_to_tensor(weight).dtype.is_floating
    )


def _number(values: Any, dtype: str) -> Any:
    import tensorflow as tf

    tensor = tf.convert_to_tensor(values) if tf.is_tensor(values) else tf.convert_to_tensor(values, dtype)
    return tensor if tensor.dtype.is_floating else tf.cast(tensor, dtype)


def _extreme(values: Any, scale: Scale, rows: Rows, tensors: TensorCollective) -> Any:
    """Return the largest, or smallest, of the ranks' numbers; a row that is borrowed is another rank's too."""
    import tensorflow as tf

    farthest = values.dtype.min if scale is Scale.MAX else values.dtype.max
    own = tf.where(rows.local > 0, values, tf.fill(tf.shape(values), tf.constant(farthest, values.dtype)))
    return tensors.all_reduce(own, scale.value)


def _function_update(original: Any, tensors: TensorCollective) -> Any:
    """A function of labels and predictions: one that gives a single number for them gets the rows of all ranks."""

    def update_state(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        rows = current_rows()
        if rows is None:
            return original(self, y_true, y_pred, sample_weight)
        function = self._fn
        self._fn = lambda y, p, **options: on_whole_batch(lambda *both: function(*both, **options), (y, p), rows, tensors)
        try:
            return original(self, y_true, y_pred, sample_weight)
        finally:
            self._fn = function

    return update_state


def on_whole_batch(function: Callable[..., Any], given: tuple[Any, ...], rows: Rows, tensors: TensorCollective) -> Any:
    """Compute a function of rows on this rank's; if its result is of the batch and no mean, on those of all ranks."""
    import tensorflow as tf

    result = function(*given)
    if not tf.is_tensor(result) or has_rows(result):
        return result
    bases = tuple(leaf for leaf in tf.nest.flatten(given) if tf.is_tensor(leaf))
    if scale_of(result, bases) in (Scale.MEAN, Scale.SUM, Scale.ALIKE):
        return result
    wholes = _gathered(given, rows, tensors)
    if wholes is None:
        return result
    with whole_batch():
        return function(*wholes)


def _gathered(given: Any, rows: Rows, tensors: TensorCollective) -> Any:
    """Return the arguments of an update for the rows of all ranks; None if some cannot be, or are too large to be sent."""
    import tensorflow as tf

    leaves = [leaf for leaf in tf.nest.flatten(given) if tf.is_tensor(leaf) and has_rows(leaf)]
    for leaf in leaves:
        if not isinstance(leaf, tf.Tensor) or leaf.shape.rank is None or leaf.shape[0] is not None:
            return None
        inner = leaf.shape[1:].num_elements()
        if inner is None or inner > _WIDEST_ROW:
            return None
    return tf.nest.map_structure(lambda leaf: _whole(leaf, rows, tensors), given)


def _whole(leaf: Any, rows: Rows, tensors: TensorCollective) -> Any:
    import tensorflow as tf

    if tf.is_tensor(leaf) and has_rows(leaf):
        return tensors.gather_rows(leaf, rows)
    scale = scale_of(leaf) if tf.is_tensor(leaf) else Scale.ALIKE
    if scale is Scale.ALIKE or not leaf.dtype.is_floating:
        return leaf
    if scale in (Scale.MAX, Scale.MIN):
        return _extreme(leaf, scale, rows, tensors)
    share = tf.constant(1.0, tf.float64) if scale in (Scale.SUM, Scale.COUNT) else rows.weight
    own = tf.where(rows.local > 0, leaf * tf.cast(share, leaf.dtype), tf.zeros_like(leaf))
    return tensors.all_reduce(own)


@contextmanager
def whole_batches(metrics: list[Any], tensors: TensorCollective, replicated: set[int]) -> Iterator[None]:
    """Let metrics of the user's own be updated with the rows of all ranks while a step is traced.

    Parameters
    ----------
    replicated
        Takes the ids of the states of metrics that were: every rank has the state of one process.
    """
    patches = Patches()
    kinds = {kind for metric in metrics for kind in _own_kinds(metric)}
    for kind in kinds:
        patches.wrap(kind, "update_state", lambda original: _whole_update(original, tensors, replicated))
    try:
        yield
    finally:
        patches.undo()


def _own_kinds(metric: Any) -> list[type]:
    """Return the classes of the user's that say how a metric is updated."""
    return [
        kind
        for kind in type(metric).__mro__
        if "update_state" in vars(kind) and kind.__module__.split(".")[0] not in ("keras", "tf_keras", "hops_magic")
    ]


def _whole_update(original: Any, tensors: TensorCollective, replicated: set[int]) -> Any:
    def update_state(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows = current_rows()
        if rows is None:
            return original(self, *args, **kwargs)
        wholes = _gathered((args, kwargs), rows, tensors)
        if wholes is None:
            return original(self, *args, **kwargs)
        with whole_batch():
            result = original(self, *wholes[0], **wholes[1])
        replicated.update(id(variable) for variable in self.variables)
        return result

    return update_state
