"""Our callbacks around the user's: progress, votes, checkpoints. Made in functions, since Keras is imported late."""

from __future__ import annotations

import time
from typing import Any

from hops_magic.frameworks.keras.checkpoints import Position, optimizers_of
from hops_magic.frameworks.keras.counting import passing_of
from hops_magic.frameworks.keras.fitting import CHECKPOINT, STOP, FitSession
from hops_magic.frameworks.keras.recording import parameters_of
from hops_magic.frameworks.keras.writing_callbacks import hook_steers, on_chief_only
from hops_magic.runs.events import Metrics, Parameters, Progress, is_number

SPEAK_EVERY_S = 0.2
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


def make_first(session: FitSession) -> Any:
    """Make the callback that runs before the user's: restores what was, and starts ranks alike."""
    import keras

    class First(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            from hops_magic.frameworks.keras.trainer import agree_on_start

            self._watched = session.world_size > 1 and some_watch_batches(session.fit_callbacks)
            # validation, evaluations and predictions have iterators of their own, whose rows nobody asks for
            session.passing = passing_of(session.iterator)
            if session.resume is not None:
                position = session.resume["position"]
                self.model._initial_epoch = position.epoch
                session.fast_forward(position)
                # data that Python code draws ahead has left the generators where drawing it again leaves them, and the
                # checkpoint cannot know how far ahead that was
                draws = type(session.iterator.data_adapter).__name__ != "ArrayDataAdapter"
                session.store.restore(session.resume, self.model, random_too=not draws)
            elif session.world_size > 1:
                agree_on_start(self.model, session)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            # what steers training by it must see the same on every rank
            if self._watched and logs and not session.has_skipped:
                logs.update(session.global_logs(self.model, logs))

        def on_train_end(self, logs: Any = None) -> None:
            self.model._initial_epoch = None

    return First()


def make_last(session: FitSession) -> Any:
    """Make the callback that runs after the user's: tells progress, agrees on stops, writes checkpoints."""
    import keras

    class Last(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            self._said_at = 0.0
            session.throughput.begin_fit(session.iterator.data_adapter, session.passing)
            self._epoch, self._finished = 0, False
            self._watches_stops = session.world_size > 1 and some_watch_batches(session.fit_callbacks)
            self._restores = session.resume is not None
            if session.is_chief:
                values = parameters_of(self.model, session.fit_arguments, session.throughput.batch)
                session.context.emit(Parameters(values=values, series=session.number))

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            session.throughput.begin_epoch()
            if self._restores:
                self._restores = False
                session.store.restore_callbacks(session.resume or {}, self.model, session.fit_callbacks)
            elif epoch > self._first_epoch():
                # here, after all callbacks have seen the end of the last epoch, its state is whole
                session.store.save(self.model, Position(session.number, epoch, 0), session.fit_callbacks)
                session.plan_checkpoint()
            self._epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if session.has_skipped:
                session.throughput.skipped(batch + 1)
                return
            session.throughput.trained(batch + 1)
            if self._watches_stops:
                self._agree_on_user_stop()
            if session.agreed(STOP):
                self.model.stop_training = True
            if session.agreed(CHECKPOINT):
                session.store.save_inside(
                    session, self.model, Position(session.number, self._epoch, batch + 1), session.fit_callbacks
                )
                session.plan_checkpoint()
            now = time.monotonic()
            if now - self._said_at >= SPEAK_EVERY_S:
                self._said_at = now
                self._say(batch + 1)
                if session.is_chief:
                    _say_metrics(session, "batch", self._step_number(batch), logs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if session.world_size > 1:
                self._agree_on_user_stop()
                session.warn_of_replaced_states(self.model)
            self._say(0, finished=epoch + 1)
            if session.is_chief:
                _say_metrics(session, "epoch", epoch + 1, logs)
            self._finished = epoch + 1 >= self.params["epochs"] or self.model.stop_training

        def on_train_end(self, logs: Any = None) -> None:
            position = Position(session.number, self._epoch + 1, 0, is_finished=True)
            session.store.save(self.model, position, session.fit_callbacks)
            if session.world_size > 1:
                session.warn_of_differences(self.model)
                session.context.collective.barrier()  # what the chief's callbacks wrote is there for all

        def _first_epoch(self) -> int:
            return int(session.resume["position"].epoch) if session.resume else session.initial_epoch

        def _step_number(self, batch: int) -> int:
            """Steps that the model was trained, over all fits, as far as an optimizer counts them."""
            counted = max((int(optimizer.iterations.numpy()) for optimizer in optimizers_of(self.model)), default=0)
            return counted or batch + 1

        def _agree_on_user_stop(self) -> None:
            import numpy as np

            vote = np.array([float(bool(self.model.stop_training))], np.float32)
            self.model.stop_training = bool(session.context.collective.all_reduce(vote, "max")[0] > 0)

        def _say(self, step: int, finished: int | None = None) -> None:
            epoch = self._epoch if finished is None else finished
            session.context.emit(
                Progress(
                    rank=session.context.rank,
                    phase="fit",
                    epoch=epoch,
                    epochs=self.params["epochs"],
                    step=step,
                    steps=self.params.get("steps"),
                    examples_per_s=session.throughput.examples_per_s,
                    series=session.number,
                    examples=session.throughput.examples,
                    train_s=session.throughput.train_s,
                )
            )

    return Last()


def make_observer(session: FitSession, phase: str) -> Any:
    """Make the callback that tells how far an evaluation or prediction is."""
    import keras

    class Observer(keras.callbacks.Callback):  # type: ignore[misc]
        _said_at = 0.0

        def _say(self, batch: int) -> None:
            now = time.monotonic()
            if now - self._said_at >= SPEAK_EVERY_S:
                self._said_at = now
                steps = self.params.get("steps")
                session.context.emit(Progress(rank=session.context.rank, phase=phase, step=batch + 1, steps=steps))

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self._say(batch)

        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            self._say(batch)

    return Observer()


def _say_metrics(session: FitSession, scope: str, step: int, logs: Any) -> None:
    values = {name: float(value) for name, value in (logs or {}).items() if is_number(_plain(value))}
    if values:
        session.context.emit(
            Metrics(rank=session.context.rank, step=step, scope=scope, values=values, series=session.number)
        )


def _plain(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def some_watch_batches(callbacks: list[Any]) -> bool:
    """Whether a callback looks at batches, and so may stop or steer one rank and not another; the same on all ranks."""
    return any(
        any(hook_steers(callback, hook) for hook in _BATCH_HOOKS)
        for callback in callbacks
        if not (type(callback).__module__.startswith("hops_magic.") or on_chief_only(callback))
    )
