"""The first-step check: what ranks make of a few rows is compared with what one process makes of them.

Rank 0 traces the step as Keras would run it alone, all ranks trace it as they run it together. Both see the same rows, some
more than ranks divide evenly, the same weights, and random numbers that do not differ from row to row. Gradients, metrics,
logs and the changes of other variables must agree; everything is then put back.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hops_magic.errors import UnsupportedError, first_sentence
from hops_magic.frameworks.keras.checkpoints import optimizers_of
from hops_magic.frameworks.keras.custom_code import has_own_parts
from hops_magic.frameworks.keras.few_rows import few_rows, rows_of
from hops_magic.frameworks.keras.gradients import inlined_always, taken_by
from hops_magic.frameworks.keras.metrics import metric_variables
from hops_magic.frameworks.keras.stand_in import Recorder, still_numbers
from hops_magic.frameworks.patches import Patches
from hops_magic.runs.events import Noted, Warned

if TYPE_CHECKING:
    from hops_magic.frameworks.keras.fitting import FitSession

ENOUGH_PER_RANK = 2
# of an array's largest number, by the digits that its type has
_TOLERANCE = {"float64": 1e-7, "float32": 2e-3, "float16": 5e-2, "bfloat16": 1e-1}
# of the largest number of all gradients: what is zero but for rounding
_FLOOR = {"float64": 1e-10, "float32": 2e-5, "float16": 1e-2, "bfloat16": 3e-2}
_PERTURBED, _PERTURBATION, _BEYOND_NOISE = 3, 1e-6, 10.0
_SHOWN = 2


@dataclass
class Made:
    """What a step made of its rows, in numbers."""

    gradients: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, Any] = field(default_factory=dict)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield everything with what to call it."""
        for words, found in (
            ("the metric", self.metrics),
            ("the log", self.logs),
            ("the gradient of", self.gradients),
            ("the change of", self.changes),
        ):
            for name, value in found.items():
                yield f"{words} {name}", value


@dataclass(frozen=True)
class Difference:
    """Something that ranks make otherwise: ``off`` is relative to its size in one process."""

    what: str
    off: float

    def __str__(self) -> str:
        if not np.isfinite(self.off):
            return f"{self.what} (not a number)"
        return f"{self.what} (by {self.off:.1%})" if self.off >= 5e-4 else f"{self.what} (by less than 0.1%)"


@dataclass(frozen=True)
class _Waiting:
    """A step that has run once, on a batch."""

    step: Callable[[Any], Any]
    on_ranks: Callable[[Any], Any]
    batch: Any


class FirstStepCheck:
    """Checks the steps of a rank's fits, those of each model as it is compiled once."""

    def __init__(self, session: FitSession, patches: Patches) -> None:
        self._session, self._patches = session, patches
        self._mode = session.context.check
        # by model, weakly: the place of one that is gone is taken by another, on some ranks earlier than on others
        self._rows: weakref.WeakKeyDictionary[Any, dict[str, float]] = weakref.WeakKeyDictionary()
        self._waiting: weakref.WeakKeyDictionary[Any, dict[str, _Waiting]] = weakref.WeakKeyDictionary()

    def wants(self, model: Any, step: Callable[[Any], Any]) -> bool:
        """Whether a model's step is still to be checked."""
        if self._session.world_size == 1 or self._mode == "never":
            return False
        enough = self._rows.get(model, {}).get(step.__name__, 0) >= ENOUGH_PER_RANK * self._session.world_size
        return not enough and (self._mode != "auto" or has_own_parts(model))

    def see(
        self, model: Any, step: Callable[[Any], Any], on_ranks: Callable[[Any], Any], batch: Any, *, only_one: bool
    ) -> None:
        """Look at the batch that comes next, None at the end of the data, and check the step if it is due.

        That is at its second call, when all that it makes late is there, and with the larger one of both batches: the last
        rows of an epoch may be too few to tell ranks from one process. A step that is known to run ``only_one`` time is
        checked before it: what a user's Python keeps of its last run is then of the step itself.
        """
        waiting = self._waiting.setdefault(model, {})
        first = waiting.pop(step.__name__, None)
        if first is None and not (only_one and batch is not None):
            if batch is not None and rows_of(batch) > self._rows.get(model, {}).get(step.__name__, 0):
                waiting[step.__name__] = _Waiting(step, on_ranks, batch)
            return
        seen = (first.batch if first is not None else None, batch)
        largest = max((each for each in seen if each is not None), key=rows_of)
        self._rows.setdefault(model, {})[step.__name__] = float("inf")
        self.check(model, step, on_ranks, largest)

    def finish(self, model: Any, name: str) -> None:
        """Check a step that has run but once: its fit, or whatever has called it, is over.

        What is known of a few rows is not settled by them: a larger batch is looked at when it comes.
        """
        first = self._waiting.get(model, {}).pop(name, None)
        if first is not None:
            self._rows.setdefault(model, {})[name] = rows_of(first.batch)
            self.check(model, first.step, first.on_ranks, first.batch)

    def forget(self, model: Any) -> None:
        """Check the steps of a model anew, which is compiled with something else."""
        for known in (self._rows, self._waiting):
            known.pop(model, None)

    def check(self, model: Any, step: Callable[[Any], Any], on_ranks: Callable[[Any], Any], batch: Any) -> None:
        """Compare, and say what differs.

        Raises
        ------
        UnsupportedError
            With ``--check strict``, if something differs.
        """
        begun = time.monotonic()
        session, collective = self._session, self._session.context.collective
        few = few_rows(batch, collective)
        trial = _Trial(model, session)
        one, problem = None, ""
        if session.is_chief:
            try:
                one = trial.alone(step, few, self._patches)
            except Exception as error:  # noqa: BLE001 (whatever the reason, the step itself is run next, and says it better)
                problem = first_sentence(error) or type(error).__name__
        problem = collective.broadcast_object(problem)
        found: list[Difference] = []
        if not problem:
            many = trial.on_ranks(on_ranks, few)
            if one is not None:
                found = trial.confirmed(_differences(one, many, _precision(model)), one)
        found = collective.broadcast_object(found)
        self._tell(found, problem, time.monotonic() - begun)

    def _tell(self, found: list[Difference], problem: str, seconds: float) -> None:
        context = self._session.context
        if found:
            # some of each kind: a gradient tells where the cause is, a metric what it does
            kinds: dict[str, list[Difference]] = {}
            for each in found:
                kinds.setdefault(each.what.split()[1], []).append(each)
            first = [each for kind in kinds.values() for each in kind[:_SHOWN]]
            shown = ", ".join(map(str, first))
            more = f" and {len(found) - len(first)} more" if len(found) > len(first) else ""
            message = (
                f"the first step is not that of one process: {shown}{more} differ; something in the model, its losses, "
                "metrics or step treats the rows of a batch together in a way that ranks cannot share out: train with -n 1"
            )
            if context.check == "strict":
                raise UnsupportedError(message)
            if self._session.is_chief:
                context.emit(Warned(message=message))
        elif self._session.is_chief:
            told = f"could not be compared with one process ({problem})" if problem else "agrees with one process"
            context.emit(Noted(message=f"the first step {told}; checking took {seconds:.1f} s"))


class _Trial:
    """A step tried out: variables are put back to what they were."""

    def __init__(self, model: Any, session: FitSession) -> None:
        self._model, self._session = model, session
        self._alone: Any = None

    def alone(self, step: Callable[[Any], Any], few: Any, patches: Patches) -> Made:
        """Run the step as one process does."""
        recorder = Recorder()
        with patches.suspended(), still_numbers(), inlined_always(), _applied_by(recorder):
            function = _traced(step, few, recorder)
            self._alone = (function, few, recorder.names, patches)
            return self._run(function, few, recorder.names, merged=False)

    def on_ranks(self, step: Callable[[Any], Any], few: Any) -> Made:
        """Run the step as ranks do, together."""
        recorder = Recorder()
        with still_numbers(), taken_by(recorder.take):
            function = _traced(step, few, recorder)
        return self._run(function, few, recorder.names, merged=True)

    def confirmed(self, found: list[Difference], one: Made) -> list[Difference]:
        """Leave out what as little as rounding would make differ as much in one process: kinks and bad condition."""
        if not found:
            return []
        function, few, names, patches = self._alone
        noise: dict[str, float] = {}
        generator = np.random.default_rng(0)
        for _ in range(_PERTURBED):
            with patches.suspended(), _nudged(self._model, generator):
                other = self._run(function, few, names, merged=False)
            for what, value in other.items():
                noise[what] = max(noise.get(what, 0.0), _off(dict(one.items()).get(what), value))
        return [each for each in found if not each.off <= _BEYOND_NOISE * noise.get(each.what, 0.0)]

    def _run(self, function: Any, few: Any, names: list[str], *, merged: bool) -> Made:
        model, session = self._model, self._session
        counted = metric_variables(model)
        variables = list({id(each): each for each in (*function.graph.variables, *(m.value for m in counted))}.values())
        variables = [each for each in variables if each.dtype.name not in ("resource", "variant")]
        before = [each.numpy() for each in variables]
        sync = session.metric_sync
        assert sync is not None
        try:
            for metric in counted:
                metric.assign(sync.initial(metric))
            logs, gradients = function(few)
            made = Made(gradients=_named(names, gradients))
            made.changes = self._changes(variables, before, counted, skipped=set(names))
            made.metrics, made.logs = self._results(logs, merged=merged)
            return made
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)

    def _changes(self, variables: list[Any], before: list[Any], counted: list[Any], skipped: set[str]) -> dict[str, Any]:
        model = self._model
        known = {id(each.value): each.path for each in model.variables}
        others = {id(each.value) for each in counted}
        others |= {id(each.value) for optimizer in optimizers_of(model) for each in optimizer.variables}
        changes = {}
        for variable, value in zip(variables, before, strict=True):
            name = known.get(id(variable), variable.name)
            if id(variable) in others or value.dtype.kind not in "f" or name in skipped or "seed_generator" in name:
                continue
            changes[name] = variable.numpy() - value
        return changes

    def _results(self, logs: Any, *, merged: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        model, session = self._model, self._session
        logs = dict(logs) if isinstance(logs, dict) else {}
        sync, tensors = session.metric_sync, session.tensors
        assert sync is not None
        assert tensors is not None
        if not merged:
            return _numbers(model.get_metrics_result()), _numbers(logs)
        results = session.step_logs.results(logs, tensors.share, session.context.collective)
        with sync.merged(model) if metric_variables(model) else nullcontext():
            sync.merge(model)
            whole = session.step_logs.globalized(logs, results, tensors.share, session.context.collective) if logs else {}
            return _numbers(model.get_metrics_result()), _numbers(whole)


def _traced(step: Callable[[Any], Any], few: Any, recorder: Recorder) -> Any:
    import tensorflow as tf

    def once(data: Any) -> Any:
        recorder.forget()  # traced again if variables were made: what was recorded then is of a graph that is gone
        logs = step(data)
        return logs, list(recorder.gradients)

    return tf.function(once, autograph=False).get_concrete_function(few)


@contextmanager
def _applied_by(recorder: Recorder) -> Iterator[None]:
    """Let the optimizers of Keras as it is hand their gradients to a recorder."""
    from keras.src.optimizers import base_optimizer, loss_scale_optimizer

    patches = Patches()
    for owner in (base_optimizer.BaseOptimizer, loss_scale_optimizer.LossScaleOptimizer):
        patches.wrap(owner, "apply", lambda _: lambda self, grads, variables=None: recorder.take(self, grads, variables))
    try:
        yield
    finally:
        patches.undo()


@contextmanager
def _nudged(model: Any, generator: Any) -> Iterator[None]:
    """Change weights by about as much as rounding does."""
    before = [(each, each.numpy()) for each in model.trainable_variables]
    for variable, value in before:
        variable.assign(value * (1 + _PERTURBATION * generator.standard_normal(value.shape)).astype(value.dtype))
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _named(names: list[str], values: list[Any]) -> dict[str, Any]:
    """Name gradients by their variables; a variable that has several in a step is told apart by their order."""
    found: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        times = sum(1 for each in found if each.split(" #")[0] == name)
        # a view: value.numpy() would hold the gradients of a whole model twice
        found[f"{name} #{times + 1}" if times else name] = np.asarray(value)
    return found


def _numbers(values: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{prefix}{name}/")
        elif np.asarray(value).dtype.kind in "fiu":
            found[f"{prefix}{name}"] = np.asarray(value, np.float64)
    return found


def _precision(model: Any) -> str:
    """Return the coarsest type in which a model computes."""
    found = {str(getattr(layer, "compute_dtype", "float32")) for layer in model._flatten_layers()}
    return next((each for each in ("bfloat16", "float16", "float32") if each in found), "float64")


def _differences(one: Made, many: Made, precision: str) -> list[Difference]:
    mine, theirs = dict(one.items()), dict(many.items())
    largest = max((float(np.abs(value).max(initial=0.0)) for value in one.gradients.values()), default=0.0)
    found: list[Difference] = []
    for what, value in mine.items():
        floor = _FLOOR[precision] * (largest if what.startswith("the gradient") else 1e-2)
        off = _off(value, theirs.get(what), floor)
        told = any(each.what == what.replace("the log", "the metric") for each in found)
        if not off <= _TOLERANCE[precision] and not told:
            found.append(Difference(what, off))
    found += [Difference(what, float("inf")) for what in theirs if what not in mine and what.startswith("the gradient")]
    return found


def _off(one: Any, other: Any, floor: float = 0.0) -> float:
    """Return by how much an array differs from another, relative to the largest number in the first."""
    if one is None or other is None or np.shape(one) != np.shape(other):
        return float("inf")
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return float("inf")
    apart = float(np.abs(one[finite] - other[finite]).max(initial=0.0))
    size = float(np.abs(one[finite]).max(initial=0.0))
    return 0.0 if apart <= floor else apart / max(size, floor, 1e-300)
