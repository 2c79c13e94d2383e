"""Gradients: made global where a tape makes them, so that whatever a step does with them sees the global batch.

One packed all-reduce carries the gradients of a call of ``GradientTape.gradient``. The weighted mean over ranks is its own
adjoint, so outer tapes go through it. What reaches an optimizer from elsewhere is made global there, if it may differ
from rank to rank. Gradients with respect to rows, such as those of penalties, stay with the rank that has these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from hops_magic.frameworks.keras.locality import is_local, mark_alike
from hops_magic.frameworks.keras.loops import refuse_unlike, runs_once_a_step
from hops_magic.frameworks.keras.rows import Rows, Seeking, current_rows, loop_rows, seeking
from hops_magic.frameworks.keras.scaling import Scale, scale_of
from hops_magic.frameworks.keras.tensors import TensorCollective
from hops_magic.frameworks.patches import Patches


def install(patches: Patches, collective: TensorCollective) -> None:
    """Make tapes give, and optimizers apply, the gradient of the global batch."""
    from keras.src.optimizers import base_optimizer, loss_scale_optimizer
    from tensorflow.python.eager import backprop
    from tensorflow.python.eager.polymorphic_function import polymorphic_function
    from tensorflow.python.ops.parallel_for import control_flow_ops as parallel_for

    applying = Nesting()

    def make_apply(original: Any) -> Any:
        def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if applying.depth:  # the optimizer inside another one, such as LossScaleOptimizer: reduced already
                return original(self, grads, trainable_variables)
            if (rows := current_rows()) is not None:
                refuse_unlike(rows)
            with applying.entered():
                take = _taking.get() or original
                return take(self, _reduced_to_apply(list(grads), collective), trainable_variables)

        return apply

    patches.wrap(base_optimizer.BaseOptimizer, "apply", make_apply)
    # decides by the gradients whether to apply them at all: it must see those that all ranks see
    patches.wrap(loss_scale_optimizer.LossScaleOptimizer, "apply", make_apply)

    by_parts = Nesting()

    def make_gradient(original: Any) -> Any:
        def gradient(self: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            rows = current_rows()
            if rows is None or by_parts.depth or not runs_once_a_step(rows):
                return original(self, target, sources, *args, **kwargs)
            sought = _sought(target)
            # tapes inside, as where activations are computed again on the way back, give parts of this gradient
            with seeking(sought), by_parts.entered():
                found = original(self, target, sources, *args, **kwargs)
            return _made_global(found, sources, sought, rows, collective)

        return gradient

    def make_by_parts(original: Any) -> Any:
        def compute(*args: Any, **kwargs: Any) -> Any:
            with by_parts.entered():
                return original(*args, **kwargs)

        return compute

    patches.wrap(backprop.GradientTape, "gradient", make_gradient)
    patches.wrap(backprop.GradientTape, "jacobian", make_by_parts)
    patches.wrap(backprop.GradientTape, "batch_jacobian", make_by_parts)
    # what it maps over are most often rows, whose gradients are wanted one by one
    patches.wrap(parallel_for, "pfor", make_by_parts)
    patches.wrap(polymorphic_function.Function, "__call__", _inlined)


_taking: ContextVar[Callable[[Any, Any, Any], None] | None] = ContextVar("hops_taking", default=None)


@contextmanager
def taken_by(take: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Hand the gradients of the global batch to a function, with their optimizer and variables, instead of applying them."""
    token = _taking.set(take)
    try:
        yield
    finally:
        _taking.reset(token)


@contextmanager
def inlined_always() -> Iterator[None]:
    """Trace functions of the user's as part of whatever calls them; to be used where no step of ranks is traced."""
    from tensorflow.python.eager.polymorphic_function import polymorphic_function

    patches = Patches()
    patches.wrap(polymorphic_function.Function, "__call__", lambda original: _inlined(original, always=True))
    try:
        yield
    finally:
        patches.undo()


class Nesting:
    """How deep a function is in calls of itself and its like."""

    depth = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


def _inlined(original: Any, *, always: bool = False) -> Any:
    """Trace the user's ``tf.function`` as part of the step.

    A trace that is kept would hold the rows of another step's graph, and hide from the step what is reduced in it.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        import tensorflow as tf
        from tensorflow.python.autograph.core import ag_ctx
        from tensorflow.python.autograph.impl import api

        if (current_rows() is None and not always) or tf.executing_eagerly():
            return original(self, *args, **kwargs)
        if self.input_signature is not None and not kwargs and len(args) == len(self.input_signature):
            args = tuple(map(_as_declared, args, self.input_signature))
        if not self._autograph:
            return self.python_function(*args, **kwargs)
        status = ag_ctx.ControlStatusCtx(ag_ctx.Status.ENABLED)
        return api.tf_convert(self.python_function, status)(*args, **kwargs)

    return call


def _as_declared(value: Any, spec: Any) -> Any:
    import tensorflow as tf

    simple = isinstance(spec, tf.TensorSpec) and not tf.is_tensor(value)
    return tf.convert_to_tensor(value, dtype=spec.dtype) if simple else value


def _sought(target: Any) -> Seeking:
    """Whether the gradient of a target is that of a sum over rows: TensorFlow adds up what has several entries."""
    import tensorflow as tf

    targets = [each for each in tf.nest.flatten(target) if each is not None and is_local(each)]
    sums = [_has_rows(each) or scale_of(each) is Scale.SUM for each in targets]
    return Seeking.SUM if sums and all(sums) else Seeking.MEAN


def _has_rows(tensor: Any) -> bool:
    return tensor.shape.rank is None or (tensor.shape.rank > 0 and tensor.shape[0] is None)


def _made_global(found: Any, sources: Any, sought: Seeking, rows: Rows, collective: TensorCollective) -> Any:
    """Make those gradients that may differ from rank to rank what one process has.

    Those with respect to variables, and to what is computed of them alone, are reduced. Those with respect to rows stay with
    the rank that has these; of a mean they are brought from its own rows to all.
    """
    import tensorflow as tf

    each_source, gradients = tf.nest.flatten(sources), _flattened(found, sources)
    local = [index for index, gradient in enumerate(gradients) if gradient is not None and is_local(gradient)]
    which = [index for index in local if _is_variable(each_source[index]) or not is_local(each_source[index])]
    if not local:
        return found
    reduced = reduce_gradients([gradients[i] for i in which], collective, sought) if which else []
    for index, whole in zip(which, reduced, strict=True):
        gradients[index] = whole
    for index in set(local) - set(which) if sought is Seeking.MEAN else ():
        gradients[index] = _times(gradients[index], rows.weight)
    return tf.nest.pack_sequence_as(sources, gradients)


def _times(gradient: Any, share: Any) -> Any:
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_times(gradient.values, share), gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(share, gradient.dtype)


def _flattened(found: Any, sources: Any) -> list[Any]:
    if isinstance(sources, list | tuple):
        return [each for part, source in zip(found, sources, strict=True) for each in _flattened(part, source)]
    if isinstance(sources, dict):
        return [each for key in sorted(sources) for each in _flattened(found[key], sources[key])]
    return [found]


def _is_variable(source: Any) -> bool:
    import tensorflow as tf

    return isinstance(getattr(source, "value", source), tf.Variable) or isinstance(source, tf.Variable)


def _reduced_to_apply(gradients: list[Any], collective: TensorCollective) -> list[Any]:
    """Return what an optimizer applies: in a step, only what no tape has made global is reduced."""
    rows = current_rows()
    if rows is None:
        return reduce_gradients(gradients, collective)
    which = [index for index, gradient in enumerate(gradients) if gradient is not None and is_local(gradient)]
    if not which and rows.exchanges:
        return gradients
    # without any too: the votes travel here
    for index, whole in zip(which, reduce_gradients([gradients[i] for i in which], collective), strict=True):
        gradients[index] = whole
    return gradients


def reduce_gradients(gradients: list[Any], collective: TensorCollective, sought: Seeking = Seeking.MEAN) -> list[Any]:
    """Return the gradients of the global mean, or sum, from those of the ranks' own.

    Inside a step a rank counts by its rows; in a loop of the user's own as :func:`loop_rows` says.
    """
    import tensorflow as tf

    present = [index for index, gradient in enumerate(gradients) if gradient is not None]
    rows = current_rows()
    share = tf.convert_to_tensor((rows or loop_rows(collective.world_size)).weight, tf.float64)
    weight = share if sought is Seeking.MEAN else tf.cast(share > 0, tf.float64)
    reduced = list(gradients)
    alike_rows: dict[int, Any] = {}
    for index in present:
        slices = gradients[index]
        if not isinstance(slices, tf.IndexedSlices):
            continue
        if rows is not None and not is_local(slices.indices):
            alike_rows[index] = slices  # of a lookup that does not depend on the data: contributions to the same entries
        else:
            reduced[index] = _gather_slices(slices, weight, rows, collective)
    present = [index for index in present if reduced[index] is gradients[index]]
    dense = [
        tf.convert_to_tensor(alike_rows[index].values if index in alike_rows else gradients[index]) for index in present
    ]
    wide = tf.float64 if any(gradient.dtype == tf.float64 for gradient in dense) else tf.float32
    # without dense gradients too: the votes travel here
    flat = tf.concat([tf.zeros([0], wide), *(tf.reshape(tf.cast(gradient, wide), [-1]) for gradient in dense)], 0)
    summed = _weighted_sum(flat, weight, None if rows is None else rows.fingerprint, collective)
    if rows is not None:
        rows.exchanges.append("gradients")
    if not dense:
        return reduced
    # not all shapes are known while the step is traced: of a dense layer on sequences in odd batches, for one
    parts = tf.split(summed, [tf.size(gradient) for gradient in dense], num=len(dense))
    for index, gradient, part in zip(present, dense, parts, strict=True):
        whole = tf.ensure_shape(tf.cast(tf.reshape(part, tf.shape(gradient)), gradient.dtype), gradient.shape)
        mark_alike(whole)
        if index in alike_rows:
            whole = tf.IndexedSlices(whole, alike_rows[index].indices, alike_rows[index].dense_shape)
        reduced[index] = whole
    return reduced


def _weighted_sum(flat: Any, weight: Any, fingerprint: Any, collective: TensorCollective) -> Any:
    """Sum a vector over the ranks, each with its weight; its own adjoint, so outer tapes go through it."""
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def total(x: Any) -> Any:
        together = collective.all_reduce_voting(x, weight, fingerprint)
        return together, lambda up: _weighted_sum(up, weight, fingerprint, collective)

    result = total(flat)
    mark_alike(result)
    return result


def _gather_slices(slices: Any, weight: Any, rows: Rows | None, collective: TensorCollective) -> Any:
    """Join the rows of an embedding that all ranks touched, in their order, as one process would have them.

    Added up to a dense gradient they would not do: Adam squares the contributions to a row one by one.
    """
    import tensorflow as tf

    values = slices.values * tf.cast(weight, slices.values.dtype)
    # of the row that a rank without rows borrowed nothing is joined: even a zero would count as a visit
    if rows is None:
        indices, values = collective.concatenate(slices.indices, values)
    else:
        values, indices = collective.gather_with(values, [slices.indices], rows)
        values.set_shape([None, *slices.values.shape[1:]])
    return tf.IndexedSlices(values, indices, slices.dense_shape)
