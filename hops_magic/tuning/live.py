"""A trial in progress: what it has said, over all its attempts, and what that makes of it when it ends."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hops_magic.cells.tracebacks import collapse
from hops_magic.engine.attempt import AttemptEnd, Verdict
from hops_magic.errors import counted
from hops_magic.runs import events as ev
from hops_magic.runs.run import named_parameters
from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Trial
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.search import Point

_SILENCE = " was never reported"
_LINE = re.compile(r"^.*, line \d+", re.MULTILINE)


MOST_LOST_SUPERVISORS = 10
"""A trial that may itself be what kills the study's worker is begun again so often, beside its retries."""


@dataclass
class Live:
    """A trial from its first start to its end, over all attempts."""

    number: int
    point: Point
    values: Mapping[str, Any]
    options: TuneOptions
    attempt: int = 0
    crashes: int = 0
    again: str = ""
    """Why it begins again."""
    step: int = 0
    offsets: dict[int, int] = field(default_factory=lambda: {1: 0})
    """Steps before each fit of the cell: a later fit's go on where those of the one before it ended."""
    last: float | None = None
    last_step: int | None = None
    best: float | None = None
    best_step: int | None = None
    said: set[str] = field(default_factory=set)
    returned: Mapping[str, float] = field(default_factory=dict)
    returned_type: str = ""
    no_number: str = ""
    reached: tuple[str, ...] = ()
    errors: list[ev.RankError] = field(default_factory=list)
    result: ev.ResultReady | None = None
    stop_reason: str = ""
    is_broken: bool = False
    """Whether the metric was no number, so that the trial counts as failed."""

    # -- what it says --------------------------------------------------------------------------------------------------

    def hear(self, event: ev.Event) -> int | None:
        """Take what a rank says; return the trial's step if it said metrics that count."""
        if isinstance(event, ev.Metrics):
            return self._hear_metrics(event)
        if isinstance(event, ev.Returned):
            self.returned, self.reached = event.values, event.reached
            self.no_number = event.others.get(self.options.metric, "")
            self.returned_type = event.type
        elif isinstance(event, ev.RankError):
            self.errors.append(event)
        elif isinstance(event, ev.ResultReady):
            self.result = event
        return None

    def reported(self, event: ev.Metrics, step: int) -> ev.TrialReported:
        """Return what viewers are told of metrics that count."""
        by_epoch = event.scope == "epoch"
        return ev.TrialReported(at=event.at, trial=self.number, step=step, values=event.values, by_epoch=by_epoch)

    def told(self, event: ev.Warned | ev.Parameters) -> ev.Event:
        """Return what viewers of the study are told of what a rank said beside metrics."""
        if isinstance(event, ev.Warned):
            return event
        return ev.TrialFitted(at=event.at, trial=self.number, values=named_parameters(event))

    def _hear_metrics(self, event: ev.Metrics) -> int | None:
        if event.scope == "batch" or event.rank:
            return None
        if self.stop_reason:
            return None  # what it says after it was decided to stop it is no part of what was decided on
        # an attempt that begins again at an earlier fit finds its offset
        offset = self.offsets.setdefault(event.series, self.step)
        step = event.step + (offset if event.scope == "epoch" else 0)
        self.step = max(self.step, step)
        self.said.update(event.values)
        value = event.values.get(self.options.metric)
        if value is not None:
            self.last, self.last_step = value, step
            if math.isfinite(value) and (self.best is None or self.options.direction.is_better(value, self.best)):
                self.best, self.best_step = value, step
        return step

    def recall(self, trial: Trial, said: Iterable[ev.Event]) -> None:
        """Take what it said under a supervisor that is gone: all of it from its journal, or else what viewers know."""
        for event in said:
            if isinstance(event, ev.Metrics):
                self.hear(event)
        curve = zip(trial.curve.values, trial.curve.steps, strict=True)
        known = [(value, step) for value, step in curve if math.isfinite(value)]
        self.step = max(self.step, trial.step)
        self.said.update(trial.latest)
        if self.last is None and known:
            self.last, self.last_step = known[-1]
        if self.best is None and known:
            self.best, self.best_step = min(known, key=lambda said: self.options.direction.loss(said[0]))

    def worn_out(self, retries: int) -> AttemptEnd | None:
        """Return how a trial ends that is not to be begun again: supervisors die with its worker, again and again."""
        if self.attempt <= retries + MOST_LOST_SUPERVISORS:
            return None
        return AttemptEnd(Verdict.LOST, f"its worker died in each of its {counted(self.attempt, 'attempt')}")

    def begin_again(self, reason: str) -> None:
        """Prepare for another attempt."""
        self.crashes, self.attempt, self.again = self.crashes + 1, self.attempt + 1, reason
        self.errors, self.stop_reason = [], ""

    # -- what becomes of it --------------------------------------------------------------------------------------------

    def judged(self, end: AttemptEnd, stop_reason: str) -> ev.TrialEnded:
        """Return how the trial ended, given how its last attempt did; ``stop_reason`` is the study's."""
        value, step = self._value()
        error, metric = "", self.options.metric
        if self.is_broken:
            state, reason = TrialState.FAILED, self.stop_reason
        elif end.verdict is Verdict.STOPPED or (end.verdict is Verdict.DONE and self.stop_reason):
            # one that was fast enough to come to its end is stopped all the same: its value is that of the decision
            state, reason = TrialState.STOPPED, self.stop_reason or end.reason or stop_reason
        elif end.verdict is Verdict.DONE and value is None:
            state, reason = TrialState.FAILED, self._never_said()
        elif end.verdict is Verdict.DONE and value is not None and not math.isfinite(value):
            state, reason = TrialState.FAILED, f"{metric} was {value} at the end"
        elif end.verdict is Verdict.DONE:
            state, reason = TrialState.DONE, ""
        else:
            again = f" (after {counted(self.crashes, 'retry', 'retries')})" if self.crashes else ""
            state, reason = TrialState.FAILED, f"{end.reason}{again}"
            if causes := self._causes():
                collapsed = collapse(causes, world_size=self.options.workers_per_trial)
                error = f"{collapsed.traceback}\n{collapsed.message}".strip()
        if value is not None and not math.isfinite(value):
            value = step = None
        return ev.TrialEnded(
            at=time.time(),
            trial=self.number,
            state=state,
            value=value,
            step=step,
            reason=reason,
            error=error,
            reached=self.reached,
        )

    def fault(self, ended: ev.TrialEnded) -> tuple[str, ...]:
        """Return what makes the failures of two trials the same: the error's type and the lines it came through."""
        causes = self._causes()
        if is_silence(ended.reason, self.options.metric):
            return ("the metric was never reported",)  # whatever else each trial said
        if not causes:
            return (ended.reason,)
        return (causes[0].name, *_LINE.findall(causes[0].traceback))

    def _causes(self) -> list[ev.RankError]:
        return [error for error in self.errors if not error.is_peer_loss]

    def _value(self) -> tuple[float | None, int | None]:
        """The value that counts: what the cell returned unless it was to be stopped, or else the last or best report.

        Returns
        -------
        tuple
            The value, and the step at which it was reported; None for what the cell returned.
        """
        if not self.stop_reason:
            if self.options.metric in self.returned:
                return self.returned[self.options.metric], None
            if set(self.returned) == {"value"}:
                return self.returned["value"], None
        return (self.best, self.best_step) if self.options.score == "best" else (self.last, self.last_step)

    def _never_said(self) -> str:
        metric = self.options.metric
        said = ", ".join(sorted(self.said | set(self.returned))) or "no metric at all"
        told = f" (its last expression is of type {self.returned_type}, which is no number)" if self.returned_type else ""
        if self.no_number:
            told = f" (the {metric} of its last expression is of type {self.no_number}, which is no number)"
        return (
            f"{metric}{_SILENCE}; the cell said {said}{told}: name one of those, report it with "
            f"hops.report({metric}=...), or make it the cell's last expression"
        )


def is_silence(reason: str, metric: str) -> bool:
    """Whether a trial failed for this reason since it never said the metric."""
    return reason.startswith(f"{metric}{_SILENCE}")
