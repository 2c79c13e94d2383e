"""``model.fit``, ``evaluate`` and their kin on several ranks: rows are split, metrics added up, callbacks agree."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.keras.agreement import refuse_other_rows
from hops_magic.frameworks.keras.checkpoints import is_built_by_step, optimizers_of
from hops_magic.frameworks.keras.fitting import FitSession
from hops_magic.frameworks.keras.fixed_rows import refuse_fixed_rows
from hops_magic.frameworks.keras.inputs.parts import evidence_of, judge_arrays
from hops_magic.frameworks.keras.inputs.sharing import Inputs
from hops_magic.frameworks.keras.joining import join
from hops_magic.frameworks.keras.metric_updates import whole_batches
from hops_magic.frameworks.keras.metrics import (
    MetricSync,
    broadcast_variables,
    metric_variables,
    same_everywhere,
    single_metrics,
)
from hops_magic.frameworks.keras.step import sharded
from hops_magic.frameworks.keras.tensors import TensorCollective
from hops_magic.frameworks.patches import Patches

_KERAS_BATCH_SIZE = 32


def install(patches: Patches, session: FitSession, tensors: TensorCollective | None) -> None:
    """Hook the trainer. Without ``tensors`` (one rank) only progress, checkpoints and stops are hooked."""
    from keras.src.backend.tensorflow import trainer as tf_trainer

    owner = tf_trainer.TensorFlowTrainer
    patches.wrap(tf_trainer.TFEpochIterator, "__init__", lambda original: _noting_iterator(original, session))
    patches.wrap(owner, "fit", lambda original: _fit(original, session))
    patches.wrap(owner, "evaluate", lambda original: _observed(original, session, "evaluate"))
    patches.wrap(owner, "predict", lambda original: _observed(original, session, "predict"))
    patches.wrap(owner, "_make_function", lambda original: _make_function(original, session, tensors))
    if tensors is not None:
        _install_parallel(patches, session)


def _install_parallel(patches: Patches, session: FitSession) -> None:
    from keras.src.backend.tensorflow import trainer as tf_trainer
    from keras.src.trainers import trainer as base_trainer
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    owner, tensors = tf_trainer.TensorFlowTrainer, session.tensors
    session.inputs = inputs = Inputs(session.context)
    patches.wrap(ArrayDataAdapter, "get_tf_dataset", lambda original: _array_dataset(original, inputs))
    sync = MetricSync(session.context.collective, lambda: tensors.fed if tensors is not None else 0)
    session.metric_sync = sync
    patches.wrap(base_trainer.Trainer, "reset_metrics", lambda original: _resetting(original, sync))
    patches.wrap(
        base_trainer.Trainer, "_get_metrics_result_or_logs", lambda original: _global_results(original, sync, session)
    )
    patches.wrap(base_trainer.Trainer, "compile", lambda original: _compile(original, session))
    for name in ("train_on_batch", "test_on_batch"):
        patches.wrap(owner, name, lambda original: _on_batch(original, session))


def _array_dataset(original: Any, inputs: Inputs) -> Any:
    @functools.wraps(original)
    def get_tf_dataset(self: Any) -> Any:
        return inputs.arrays(self, functools.partial(original, self))

    return get_tf_dataset


def _noting_iterator(original: Any, session: FitSession) -> Any:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        are_parts = session.inputs is not None and session.inputs.opening()
        if session.batch_factor > 1 and _takes_batch_size(kwargs.get("x")) and not are_parts:
            kwargs["batch_size"] = (kwargs.get("batch_size") or _KERAS_BATCH_SIZE) * session.batch_factor
        original(self, *args, **kwargs)
        if session.inputs is not None:
            session.inputs.divide(self)
        session.iterator = self

    return init


def _takes_batch_size(x: Any) -> bool:
    """Whether Keras makes the batches; datasets and generators come with their own."""
    return hasattr(x, "shape") or isinstance(x, list | tuple | dict)


def _is_per_rank(x: Any, session: FitSession) -> bool:
    """Whether batches of data are those of a rank, or can be made so."""
    return _takes_batch_size(x) or evidence_of(x, session.context).holds_part


def _fit(original: Any, session: FitSession) -> Any:
    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs = _named(original, args, kwargs)
        refuse(self, session)
        join(session.context, "fit")
        if session.batch_factor > 1 and not _is_per_rank(kwargs.get("x"), session):
            raise UnsupportedError(
                f"--batch per-rank: the batches of a {type(kwargs.get('x')).__name__} are its own; "
                f"make them {session.batch_factor} times as large and leave --batch out"
            )
        session.fit_arguments = dict(kwargs)
        kwargs["callbacks"] = session.callbacks(kwargs.get("callbacks"))
        kwargs["verbose"] = session.verbose(kwargs.get("verbose", "auto"))
        session.initial_epoch = int(kwargs.get("initial_epoch", 0))
        with session.fitting(self, int(kwargs.get("epochs", 1))) as done:
            if done is not None:
                return done
            parts = check_fed(kwargs, session)
            # one process compiles to XLA when it can; the exchange between ranks cannot be compiled
            if session.world_size > 1:
                self.jit_compile = False
            with session.sharing("fit", parts):
                history = original(self, **kwargs)
                session.finish_check(self, "train_step")
                return history

    return fit


def _named(original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments by name: some are changed here that may have been given by place."""
    bound = inspect.signature(original).bind_partial(None, *args)
    return {name: value for name, value in bound.arguments.items() if name != "self"} | kwargs


def check_fed(kwargs: dict[str, Any], session: FitSession) -> tuple[bool, ...]:
    """Refuse arrays that differ from rank to rank, and are no parts; return which are: those to train, those to validate."""
    return () if session.tensors is None else judge_arrays(kwargs, session.context)


def _observed(original: Any, session: FitSession, phase: str) -> Any:
    @functools.wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        from keras.callbacks import CallbackList

        kwargs = _named(original, args, kwargs)
        refuse(self, session)
        given, sharing = kwargs.get("callbacks"), session.sharing(phase)
        if isinstance(given, CallbackList):  # inside fit the list of fit is handed on, and the input that it has opened
            sharing = nullcontext()
        else:
            if phase != "predict":  # of that, every rank computes the whole
                join(session.context, phase)
                sharing = session.sharing(phase, check_fed(kwargs, session))
            kwargs["callbacks"] = session.observers(given, phase)
            kwargs["verbose"] = session.verbose(kwargs.get("verbose", "auto"))
        if session.world_size > 1 and phase != "predict":
            self.jit_compile = False
        # a callback of fit may predict: every rank computes the whole
        with sharing:
            result = original(self, **kwargs)
            if phase == "evaluate":
                session.finish_check(self, "test_step")
            return result

    return run


def _make_function(original: Any, session: FitSession, tensors: TensorCollective | None) -> Any:
    import tensorflow as tf

    @functools.wraps(original)
    def make_function(self: Any, step_function: Any) -> Any:
        whole_step = None
        if tensors is not None:
            watched = _WatchedModel(self, session, tensors)
            whole_step = step_function
            step_function = sharded(step_function, tensors, watched, trains=step_function == self.train_step)
        function = original(self, step_function)

        def skipping(iterator: Any) -> Any:
            if session.skip_steps > 0:
                return session.skip(iterator, self.steps_per_execution)
            try:
                iterator = _with_states(self, step_function, iterator, session)
                session.before_step(self)
                if whole_step is not None:
                    iterator = _checked(self, whole_step, step_function, iterator, session)
                logs = function(iterator)
            except (tf.errors.OpError, ValueError) as error:
                if tensors is not None and tensors.failure is not None:
                    raise tensors.failure from None
                if session.inputs is not None and session.inputs.failure is not None:
                    raise session.inputs.failure from None
                if tensors is not None:
                    refuse_fixed_rows(error, tensors.world_size)
                raise
            if tensors is not None and not tensors.rows_are_alike:
                refuse_other_rows()
            session.after_step(self)
            return logs

        return skipping

    return make_function


def _checked(model: Any, step: Any, on_ranks: Any, iterator: Any, session: FitSession) -> Any:
    """Check the step with the next batch, if it is due; return an iterator that begins with that batch."""
    check = session.first_step
    if check is None or not check.wants(model, step):
        return iterator
    iterator = iter(iterator)
    batch = next(iterator, None)
    only_one = session.is_only_epoch and step.__name__ == "train_step" and session.iterator.num_batches == 1
    only_one = only_one and not any(map(is_built_by_step, optimizers_of(model)))
    check.see(model, step, on_ranks, batch, only_one=only_one)
    return iterator if batch is None else _beginning_with(batch, iterator, model.steps_per_execution)


def _with_states(model: Any, step: Any, iterator: Any, session: FitSession) -> Any:
    """Trace the first step after a restart if metrics make states in it: what they had counted goes in before it runs."""
    import tensorflow as tf

    if not session.awaits_states(model):
        return iterator
    iterator = iter(iterator)
    batch = next(iterator, None)
    if batch is None:
        return iterator
    tf.function(step, autograph=False).get_concrete_function(batch)
    return _beginning_with(batch, iterator, model.steps_per_execution)


def _beginning_with(batch: Any, iterator: Any, steps: int) -> Any:
    """Return an iterator of what is left of an epoch for one call of a function, which reads ``steps`` batches."""
    import tensorflow as tf

    if steps > 1 or not isinstance(iterator, tf.data.Iterator):
        return itertools.chain([batch], iterator)
    # of the same type as Keras' own: another would be traced anew, with the batch as a constant
    return iter(tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=iterator.element_spec))


class _WatchedModel:
    """What a step needs to know of its model while it is traced."""

    def __init__(self, model: Any, session: FitSession, tensors: TensorCollective) -> None:
        self._model, self._session, self._tensors = model, session, tensors

    def states(self) -> list[Any]:
        """Return the variables that count this rank's rows: those of metrics, but such as count those of all ranks."""
        replicated = self._session.metric_sync.replicated if self._session.metric_sync is not None else set()
        return [variable for variable in metric_variables(self._model) if id(variable) not in replicated]

    @contextmanager
    def traced(self) -> Iterator[Any]:
        """Surround the step; yields what is to be called with the logs that it returns."""
        sync = self._session.metric_sync
        assert sync is not None
        with whole_batches(single_metrics(self._model), self._tensors, sync.replicated):
            yield functools.partial(self._session.step_logs.note, self._model)


def _resetting(original: Any, sync: MetricSync) -> Any:
    @functools.wraps(original)
    def reset_metrics(self: Any) -> None:
        original(self)
        sync.begin(self)

    return reset_metrics


def _global_results(original: Any, sync: MetricSync, session: FitSession) -> Any:
    @functools.wraps(original)
    def get_metrics_result_or_logs(self: Any, logs: Any) -> Any:
        share = session.tensors.share if session.tensors is not None else 1.0
        are_own = isinstance(logs, dict) and logs and set(logs) != set(self.get_metrics_result())
        results = session.step_logs.results(logs, share, session.context.collective) if are_own else {}
        sync.merge(self)
        result = original(self, logs)
        if are_own:
            return session.step_logs.globalized(logs, results, share, session.context.collective)
        return result

    return get_metrics_result_or_logs


def _on_batch(original: Any, session: FitSession) -> Any:
    @functools.wraps(original)
    def on_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        from keras.src.utils.python_utils import pythonify_logs

        refuse(self, session)
        self.jit_compile = False
        kwargs = _named(original, args, kwargs)
        as_dict = kwargs.pop("return_dict", False)
        logs = original(self, return_dict=True, **kwargs)
        logs = pythonify_logs(self._get_metrics_result_or_logs(logs))
        session.finish_check(self, original.__name__.replace("_on_batch", "_step"))
        return logs if as_dict else self._flatten_metrics_in_order(logs)

    return on_batch


def _compile(original: Any, session: FitSession) -> Any:
    @functools.wraps(original)
    def compile_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("jit_compile") is True:
            raise UnsupportedError(
                "compile(jit_compile=True): XLA cannot compile the exchange between ranks; leave jit_compile out, "
                "or train with -n 1"
            )
        if kwargs.get("run_eagerly"):
            raise UnsupportedError(
                "compile(run_eagerly=True): ranks train in graphs only; leave run_eagerly out, or debug with -n 1"
            )
        if session.first_step is not None:
            session.first_step.forget(self)
        return original(self, *args, **kwargs)

    return compile_model


def refuse(model: Any, session: FitSession) -> None:
    """Refuse what would be silently wrong on several ranks."""
    if session.context.strategy == "parameter-server":
        raise UnsupportedError(
            "--strategy parameter-server: Keras 3's fit does not work under a ParameterServerStrategy; "
            "use --strategy collective, which trains synchronously with the same code"
        )
    if session.world_size == 1:
        return
    import keras
    import tensorflow as tf

    if keras.distribution.distribution() is not None:
        raise UnsupportedError("keras.distribution is set: the ranks are the distribution, leave it out, or train with -n 1")
    stateful = [layer.name for layer in model._flatten_layers() if getattr(layer, "stateful", False) is True]
    if stateful:
        raise UnsupportedError(
            f"the layer {stateful[0]} is stateful: it remembers each row of a batch, which several ranks hold in parts; "
            "train with -n 1"
        )
    if model.run_eagerly:
        raise UnsupportedError("run_eagerly is set: ranks train in graphs only; unset it, or debug with -n 1")
    if tf.distribute.has_strategy() or model._distribute_strategy is not None:
        raise UnsupportedError(
            "the model was made in the scope of a tf.distribute strategy: "
            "the ranks are the distribution, leave the scope out"
        )


def agree_on_start(model: Any, session: FitSession) -> None:
    """Start every rank with rank 0's weights and optimizer state."""
    variables = list(model.variables)
    optimizers = optimizers_of(model)
    # a subclassed model that is built by build(shape) calls itself built, whatever its layers are
    is_built = model.built and all(layer.built for layer in model._flatten_layers())
    is_only = len(optimizers) == 1 and optimizers[0] is model.optimizer
    if is_only and is_built and not model.optimizer.built and not is_built_by_step(model.optimizer):
        model.optimizer.build(model.trainable_variables)
    for optimizer in optimizers:
        variables += list(optimizer.variables)
    collective = session.context.collective
    session.starts_unbuilt = not is_built
    if variables and not same_everywhere(variables, collective):
        broadcast_variables(variables, collective)


__all__ = ["agree_on_start", "install", "refuse"]
