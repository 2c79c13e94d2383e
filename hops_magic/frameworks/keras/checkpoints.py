"""Checkpoints of fits: everything that decides how training goes on, so that a restarted run ends as an undisturbed one.

One file per fit of the cell holds its newest state; rank 0 writes it, whole or not at all, in a thread of its own.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import queue
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.drafts import write_whole
from hops_magic.frameworks.keras.metrics import lasting_metrics, metric_variables
from hops_magic.frameworks.keras.pickling import plain
from hops_magic.runs.events import Checkpointed, Warned

if TYPE_CHECKING:
    from hops_magic.frameworks.keras.fitting import FitSession


@dataclass(frozen=True)
class Position:
    """Where a fit stands: ``epoch`` epochs are done and ``step`` steps of the next."""

    fit: int
    epoch: int
    step: int
    is_finished: bool = False


@dataclass(frozen=True)
class Counted:
    """What metrics had counted, of the rows of all ranks, in the middle of an epoch."""

    values: list[Any]
    """Of all their variables, in order."""
    lasting: dict[str, list[Any]]
    """Of those metrics that are there before the first step, by name."""

    @classmethod
    def of(cls, model: Any) -> Counted:
        """Return what a model's metrics have counted."""
        lasting = {name: [_array(each) for each in metric.variables] for name, metric in lasting_metrics(model).items()}
        return cls([_array(variable) for variable in metric_variables(model)], lasting)


class CheckpointStore:
    """Writes and reads the checkpoints of a run."""

    def __init__(self, context: RankContext) -> None:
        self._context = context
        self._jobs: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=1)
        self._writer: threading.Thread | None = None

    def save(self, model: Any, position: Position, callbacks: list[Any], *, counts_too: bool = False) -> None:
        """Take the state now, with that of the metrics if asked, and write it in the background; only the chief does."""
        if self._context.rank != 0:
            return
        state = {
            "position": position,
            "variables": [_array(variable) for variable in model.variables],
            "optimizers": [[_array(v) for v in optimizer.variables] for optimizer in optimizers_of(model)],
            "metrics": Counted.of(model) if counts_too else None,
            "callbacks": [_callback_state(callback) for callback in callbacks],
            "history": (list(model.history.epoch), {k: list(v) for k, v in model.history.history.items()}),
            "random": (random.getstate(), np.random.get_state()),
            "build": _build_config(model),
        }
        self._hand_to_writer(state)

    def save_inside(self, session: FitSession, model: Any, position: Position, callbacks: list[Any]) -> None:
        """Save in the middle of an epoch: what all ranks have counted so far belongs to it. Called by every rank."""
        variables = metric_variables(model)
        values = [_array(variable) for variable in variables]
        if session.metric_sync is not None:
            session.metric_sync.merge(model)
            self.save(model, position, callbacks, counts_too=True)
            session.metric_sync.unmerge(variables, values)
        else:
            self.save(model, position, callbacks, counts_too=True)

    def flush(self) -> None:
        """Wait until all that was saved is on disk."""
        self._jobs.join()

    def load(self, fit: int) -> dict[str, Any] | None:
        """Read the newest state of a fit, None if there is none."""
        try:
            with self._path(fit).open("rb") as file:
                state: dict[str, Any] = pickle.load(file)
        except FileNotFoundError:
            return None
        except (pickle.UnpicklingError, EOFError, OSError) as error:
            self._context.emit(
                Warned(message=f"the checkpoint {self._path(fit)} cannot be read ({error}): training starts anew")
            )
            return None
        return state

    def fits(self, state: Mapping[str, Any], model: Any) -> bool:
        """Whether a state belongs to a model."""
        # the state of an optimizer of the user's own has no place to go to before that is built
        own = [optimizer for optimizer in optimizers_of(model) if optimizer is not model.optimizer]
        if len(state["optimizers"]) != len(optimizers_of(model)) or not all(optimizer.built for optimizer in own):
            return False
        if not model.built:
            return True
        shapes = [tuple(variable.shape) for variable in model.variables]
        return shapes == [value.shape for value in state["variables"]] or not shapes

    def restore(self, state: Mapping[str, Any], model: Any, *, random_too: bool = True) -> None:
        """Give a model and its optimizer a saved state."""
        if not model.built and state["build"]:
            model.build_from_config(state["build"])
        for variable, value in zip(model.variables, state["variables"], strict=True):
            variable.assign(value)
        for optimizer, values in zip(optimizers_of(model), state["optimizers"], strict=True):
            if not optimizer.built and len(values) > len(optimizer.variables):
                optimizer.build(model.trainable_variables)
            for variable, value in zip(optimizer.variables, values, strict=True):
                variable.assign(value)
        if random_too:
            python_state, numpy_state = state["random"]
            random.setstate(python_state)
            np.random.set_state(numpy_state)

    def restore_callbacks(self, state: Mapping[str, Any], model: Any, callbacks: list[Any]) -> None:
        """Give the callbacks of a fit, and its history, what they had."""
        remembered: dict[str, list[dict[str, Any]]] = {}
        for name, attributes in state["callbacks"]:
            remembered.setdefault(name, []).append(attributes)
        # by name, not by place: the chief, who wrote them, has callbacks that others have not
        for callback in callbacks:
            if found := remembered.get(type(callback).__name__):
                callback.__dict__.update(found.pop(0))
        model.history.epoch, model.history.history = list(state["history"][0]), dict(state["history"][1])

    def lacks_states(self, model: Any, saved: Counted) -> bool:
        """Whether a metric that is there before the first step makes its states only in it."""
        return any(not _fit_in(saved.lasting.get(name, []), metric) for name, metric in lasting_metrics(model).items())

    def begin_metrics(self, session: FitSession, model: Any, saved: Counted) -> set[int]:
        """Give metrics what all ranks had counted in the epoch, before the first step; return their variables."""
        begun: set[int] = set()
        for name, metric in lasting_metrics(model).items():
            values = saved.lasting.get(name, [])
            if not _fit_in(values, metric):
                continue
            for variable, value in zip(metric.variables, values, strict=True):
                if session.metric_sync is None:
                    variable.assign(value)
                else:
                    session.metric_sync.begin_at(variable, value)
                begun.add(id(variable))
        return begun

    def add_metrics(self, session: FitSession, model: Any, saved: Counted, begun: set[int]) -> None:
        """Add what all ranks had counted to what the chief counts, of variables that were made in the first step."""
        if session.is_chief:
            for variable, value in zip(metric_variables(model), saved.values, strict=True):
                if id(variable) not in begun:
                    variable.assign(_array(variable) + value)

    def finished(self, state: Mapping[str, Any], model: Any, epochs: int) -> Any:
        """Put a model where a finished fit of an earlier attempt left it; return that fit's history."""
        import keras

        self.restore(state, model)
        history = keras.callbacks.History()
        history.set_model(model)
        history.set_params({"epochs": epochs, "verbose": 0, "steps": None})
        history.epoch, history.history = list(state["history"][0]), dict(state["history"][1])
        model.history = history
        return history

    def _path(self, fit: int) -> Path:
        return self._context.checkpoint_dir / f"fit-{fit}.ckpt"

    def _hand_to_writer(self, state: dict[str, Any]) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="hops-checkpoints", daemon=True)
            self._writer.start()
        # blocks only while the one before is still being written
        self._jobs.put(state)

    def _write_all(self) -> None:
        while (state := self._jobs.get()) is not None:
            position: Position = state["position"]
            path = self._path(position.fit)
            try:
                write_whole(path, functools.partial(pickle.dump, state, protocol=pickle.HIGHEST_PROTOCOL))
                self._context.emit(Checkpointed(epoch=position.epoch, step=position.step, path=str(path)))
            except Exception as error:  # noqa: BLE001 (whatever it is, the fit goes on, and must not wait for a thread that died)
                why = getattr(error, "strerror", None) or str(error)
                self._context.emit(Warned(message=f"no checkpoint could be written to {path.parent}: {why}"))
            finally:
                self._jobs.task_done()


def optimizers_of(model: Any) -> list[Any]:
    """Return the optimizer that a model was compiled with, and those that it holds besides, as a GAN does."""
    from keras.optimizers import Optimizer

    held = (value for value in vars(model).values() if isinstance(value, Optimizer))
    found = [optimizer for optimizer in (model.optimizer, *held) if optimizer is not None]
    return list({id(optimizer): optimizer for optimizer in found}.values())


def is_built_by_step(optimizer: Any) -> bool:
    """Whether a class of the user's is still to make an optimizer's state: how it does may be part of the step."""
    while optimizer is not None and type(optimizer).__module__.split(".")[0] == "keras":
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer is not None and not optimizer.built


def _array(variable: Any) -> Any:
    return np.array(variable.numpy() if hasattr(variable, "numpy") else variable.value)


def _fit_in(values: list[Any], metric: Any) -> bool:
    return [tuple(each.shape) for each in metric.variables] == [value.shape for value in values]


def _callback_state(callback: Any) -> tuple[str, dict[str, Any]]:
    """What a callback remembers, as far as it can be pickled; models and our own parts are left out."""
    kept: dict[str, Any] = {}
    if type(callback).__module__.startswith("hops_magic."):
        return type(callback).__name__, kept
    for name, value in vars(callback).items():
        if name in ("_model", "model", "params", "_save_freq", "optimizer"):
            continue
        with contextlib.suppress(Exception):  # a callback may hold anything; what cannot be pickled is not its memory
            pickle.dumps(value)
            kept[name] = value
    return type(callback).__name__, kept


def _build_config(model: Any) -> Any:
    with contextlib.suppress(Exception):  # models without a fixed input say so in many ways
        # Keras may keep it in dictionaries that are bound to the model
        return plain(model.get_build_config())
    return None
