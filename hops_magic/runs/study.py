"""The summary of a study and the one function that changes it."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import singledispatch
from typing import Any

from hops_magic.runs import events as ev
from hops_magic.runs.run import Curve
from hops_magic.runs.states import INTERRUPTED, STOPPED_BY_USER, RunState, TrialState

MAX_ERROR_CHARS = 8_192


class Direction(Enum):
    """What is better of a metric."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    def loss(self, value: float) -> float:
        """Return what is smaller for a better value; NaN stays NaN."""
        return value if self is Direction.MINIMIZE else -value

    @property
    def is_lower_better(self) -> bool:
        """Whether less is better."""
        return self is Direction.MINIMIZE

    def is_better(self, one: float, other: float) -> bool:
        """Whether one value is strictly better than another; NaN is the worst."""
        if math.isnan(one):
            return False
        return math.isnan(other) or self.loss(one) < self.loss(other)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial as a viewer shows it.

    Attributes
    ----------
    number : int
        From 0, in the order in which they began.
    values : mapping
        What the cell saw, by variable; values that are no JSON are text.
    point : mapping
        What the search proposed.
    attempt : int
        How often it began again.
    place : str
        Where it ran: the worker of its chief.
    step : int
        The last step said.
    by_epoch : bool
        Whether its steps are epochs.
    latest : mapping
        Every metric's last value.
    parameters : mapping
        What its fits were called with, and their models compiled with.
    curve : Curve
        The study's metric by step.
    value : float or None
        The study's metric at the end; None before, and for trials that never said it.
    value_step : int or None
        The step at which that was reported; None for a value that the cell returned.
    reason : str
        Why it was stopped or failed, in a sentence.
    error : str
        Traceback of a failed trial.
    retries : tuple of str
        Why it began again, each time.
    """

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    point: Mapping[str, Any] = field(default_factory=dict)
    state: TrialState = TrialState.RUNNING
    attempt: int = 0
    place: str = ""
    started_at: float = 0.0
    ended_at: float | None = None
    step: int = 0
    by_epoch: bool = False
    latest: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, int | float | str] = field(default_factory=dict)
    curve: Curve = field(default_factory=Curve)
    value: float | None = None
    value_step: int | None = None
    reason: str = ""
    error: str = ""
    retries: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()
    """Components that the cell came across, in an ablation."""

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first start to the end, None while it runs."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    @property
    def shown_step(self) -> int:
        """The step that goes with the value, where one was reported; else the last step said."""
        return self.step if self.value_step is None else self.value_step

    @property
    def is_stopped_by_hand(self) -> bool:
        """Whether a user stopped it, or its study, rather than a rule."""
        return self.state is TrialState.STOPPED and self.reason in (STOPPED_BY_USER, INTERRUPTED)

    @property
    def newest(self) -> float | None:
        """The value at the end, of a running trial the last one that it said."""
        if self.state.is_final or not self.curve.values:
            return self.value
        return self.curve.values[-1]

    @property
    def has_value(self) -> bool:
        """Whether it counts for the best: it ended with a number, or was stopped after one."""
        return self.state in (TrialState.DONE, TrialState.STOPPED) and self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that viewers know of a study; made by :func:`advance_study` alone, from what is known at its beginning."""

    run_id: str
    name: str = ""
    experiment: str = ""
    metric: str = ""
    direction: Direction = Direction.MINIMIZE
    trials_wanted: int = 0
    """Number of trials after which the study ends."""
    workers_per_trial: int = 1
    names: tuple[str, ...] = ()
    """The hyperparameters, in the order of the space."""
    log_names: tuple[str, ...] = ()
    """Those whose axis is logarithmic."""
    object_names: tuple[str, ...] = ()
    """Those with values that are no JSON, such as functions: of these, viewers have the names."""
    search: str = ""
    stopping: str = ""
    is_ablation: bool = False
    state: RunState = RunState.SUBMITTED
    reason: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    places: int = 0
    places_wanted: int = 0
    queue_position: int | None = None
    trials: Mapping[int, Trial] = field(default_factory=dict)
    metric_names: tuple[str, ...] = ()
    """Every metric that any trial has said."""
    warnings: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    result: ev.ResultReady | None = None

    @functools.cached_property
    def counts(self) -> Mapping[TrialState, int]:
        """How many trials are in each state."""
        found = Counter(trial.state for trial in self.trials.values())
        return {state: found.get(state, 0) for state in TrialState}

    @functools.cached_property
    def stopped_by_hand(self) -> int:
        """How many of the stopped trials a user stopped."""
        return sum(trial.is_stopped_by_hand for trial in self.trials.values())

    @functools.cached_property
    def best(self) -> Trial | None:
        """The trial with the best value: of those that came to their end, else of those that were stopped."""
        for state in (TrialState.DONE, TrialState.STOPPED):
            counted = [t for t in self.trials.values() if t.state is state and t.has_value]
            if counted:
                return min(counted, key=lambda t: (self.direction.loss(t.value or 0.0), t.number))
        return None

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the first trial's start to the study's end, None while either is missing."""
        return None if self.started_at is None or self.ended_at is None else self.ended_at - self.started_at

    def best_so_far(self) -> list[tuple[Trial, float]]:
        """Return ``(trial, best value)`` each time that the best improved, in the order of the trials' ends."""
        found: list[tuple[Trial, float]] = []
        counted = TrialState.DONE if self.best is None else self.best.state
        for trial in sorted(self.ended(), key=lambda t: (t.ended_at or 0.0, t.number)):
            if trial.state is not counted or not trial.has_value or trial.value is None:
                continue
            if not found or self.direction.is_better(trial.value, found[-1][1]):
                found.append((trial, trial.value))
        return found

    @property
    def step_name(self) -> str:
        """What its trials' steps are, as users know them: ``epoch`` or ``step``."""
        said = [trial.by_epoch for trial in self.trials.values() if trial.latest]
        return "epoch" if said and all(said) else "step"

    def ended(self) -> list[Trial]:
        """Return the trials that are over, by number."""
        return [trial for trial in self.trials.values() if trial.state.is_final]


_OF_TRIALS = (ev.TrialStarted, ev.TrialFitted, ev.TrialReported, ev.TrialEnded)


def advance_study(study: Study, event: ev.Event) -> Study:
    """Return the study after an event. Events after a final state change nothing but late warnings and results."""
    return advance_study_all(study, (event,))


def advance_study_all(study: Study, events: Iterable[ev.Event]) -> Study:
    """Fold many events in order."""
    # one copy for all of them: a study has thousands of trials, and a batch has hundreds of events
    trials = dict(study.trials)
    names = dict.fromkeys(study.metric_names)
    for event in events:
        if study.state.is_final and not isinstance(event, ev.Warned | ev.ResultReady):
            continue
        if isinstance(event, _OF_TRIALS):
            before = trials.get(event.trial, Trial(number=event.trial))
            trials[event.trial] = _advance_trial(event, before, study.metric)
            if isinstance(event, ev.TrialReported):
                names.update(dict.fromkeys(event.values))
            elif isinstance(event, ev.TrialStarted) and study.started_at is None:
                study = replace(study, started_at=event.at)
        else:
            study = _advance(event, study)
    return replace(study, trials=trials, metric_names=tuple(names))


def recalled(beginning: Study, events: Iterable[ev.Event]) -> Study:
    """Return what is known of a study from its journal, to be gone on with: its trials, not the states that it was in."""
    trials_only = (event for event in events if isinstance(event, (*_OF_TRIALS, ev.ResultReady)))
    return advance_study_all(replace(beginning, trials={}), trials_only)


def _advance_trial(
    event: ev.TrialStarted | ev.TrialFitted | ev.TrialReported | ev.TrialEnded, trial: Trial, metric: str
) -> Trial:
    if isinstance(event, ev.TrialStarted):
        again = event.attempt > 0 and trial.started_at > 0
        return replace(
            trial,
            values=dict(event.values),
            point=trial.point if event.point is None else dict(event.point),
            state=TrialState.RUNNING,
            attempt=event.attempt,
            place=event.place,
            started_at=trial.started_at if again else event.at,
            retries=(*trial.retries, event.reason) if again else trial.retries,
        )
    if trial.state.is_final:
        return trial
    if isinstance(event, ev.TrialFitted):
        return replace(trial, parameters={**trial.parameters, **event.values})
    if isinstance(event, ev.TrialReported):
        value = event.values.get(metric)
        return replace(
            trial,
            step=max(trial.step, event.step),
            by_epoch=event.by_epoch,
            latest={**trial.latest, **event.values},
            curve=trial.curve if value is None else trial.curve.add(event.step, value, event.at),
        )
    return replace(
        trial,
        state=event.state,
        value=event.value,
        value_step=event.step,
        reason=event.reason,
        error=event.error[-MAX_ERROR_CHARS:],
        reached=event.reached,
        ended_at=event.at,
    )


@singledispatch
def _advance(event: ev.Event, study: Study) -> Study:
    raise TypeError(f"no rule for {type(event).__name__} in study {study.run_id}")


@_advance.register
def _(event: ev.StateChanged, study: Study) -> Study:
    if not study.state.may_become(event.state):
        return study
    study = replace(study, state=event.state, reason=event.reason)
    if not event.state.is_waiting:
        study = replace(study, queue_position=None)
    return replace(study, ended_at=event.at) if event.state.is_final else study


@_advance.register
def _(event: ev.Queued, study: Study) -> Study:
    if not study.state.may_become(RunState.QUEUED):
        return study
    return replace(study, state=RunState.QUEUED, queue_position=event.position)


@_advance.register
def _(event: ev.Places, study: Study) -> Study:
    return replace(study, places=event.held, places_wanted=event.wanted)


@_advance.register
def _(event: ev.Restarted, study: Study) -> Study:
    return replace(study, restarts=(*study.restarts, event.reason))


@_advance.register
def _(event: ev.Warned, study: Study) -> Study:
    return study if event.message in study.warnings else replace(study, warnings=(*study.warnings, event.message))


@_advance.register
def _(event: ev.FeaturesRead, study: Study) -> Study:  # noqa: ARG001 (what was read concerns the record)
    return study


@_advance.register
def _(event: ev.ResultReady, study: Study) -> Study:
    return replace(study, result=event)


_COLUMNS = ("trial", "state", "value", "step", "seconds", "retries", "reason")


def table_of(study: Study) -> list[dict[str, Any]]:
    """Return one row per trial: number, state, value, each hyperparameter, step, seconds, retries and reason.

    A hyperparameter that is called like one of the other columns becomes ``hyperparameter NAME``, and a metric
    ``metric NAME``.
    """
    names = study.names or tuple(dict.fromkeys(name for trial in study.trials.values() for name in trial.values))
    taken = {*_COLUMNS, study.metric}
    metric = study.metric or "value"
    return [
        {
            "trial": trial.number,
            "state": trial.state.value,
            f"metric {metric}" if metric in _COLUMNS and metric != "value" else metric: trial.value,
            **{f"hyperparameter {name}" if name in taken else name: trial.values.get(name) for name in names},
            "step": trial.shown_step,
            "seconds": trial.duration_s,
            "retries": trial.attempt,
            "reason": trial.reason,
        }
        for trial in study.trials.values()
    ]


@_advance.register
def _(event: ev.InputShared, study: Study) -> Study:  # noqa: ARG001 (how a trial's ranks came by their rows concerns it alone)
    return study


@_advance.register
def _(event: ev.Parameters, study: Study) -> Study:  # noqa: ARG001 (what a trial's fits were called with concerns it alone)
    return study
