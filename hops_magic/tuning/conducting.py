"""Conducts a study where it lives: takes suggestions, runs them as trials, stops the hopeless, tells the search."""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hops_magic.cells.tracebacks import collapse
from hops_magic.engine.attempt import AttemptEnd, Verdict
from hops_magic.engine.job import Job, TrialJob, run_folder, trial_folder
from hops_magic.engine.studies import Gang, StudyServices, TrialCommand, drop_trial_files
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, Trial
from hops_magic.tuning.plan import StudyPlan, plain
from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.suggestions import Suggestions


@dataclass
class _Live:
    """A trial from its first start to its end, over all attempts."""

    number: int
    point: Point
    values: Mapping[str, Any]
    attempt: int = 0
    crashes: int = 0
    again: str = ""
    """Why it begins again."""
    step: int = 0
    offset: int = 0
    series: int = 1
    last: float | None = None
    best: float | None = None
    said: set[str] = field(default_factory=set)
    returned: Mapping[str, float] = field(default_factory=dict)
    reached: tuple[str, ...] = ()
    errors: list[ev.RankError] = field(default_factory=list)
    result: ev.ResultReady | None = None
    stop_reason: str = ""
    is_broken: bool = False
    """Whether the metric was no number, so that the trial counts as failed."""


class Conductor:
    """One study in progress. Everything happens in the event loop of the worker where it lives."""

    def __init__(self, plan: StudyPlan, services: StudyServices) -> None:
        self.plan, self.options, self.services = plan, plan.options, services
        self.rule, self.limits = plan.make_rule(), plan.make_limits()
        self._again: deque[_Live] = deque()
        self._live: dict[int, tuple[_Live, TrialCommand]] = {}
        self._losses: list[float] = []
        self._first_errors: Counter[str] = Counter()
        self._ended = 0
        self._final: ev.StateChanged | None = None
        self._places = 0
        self._has_no_more = False
        self._best: tuple[float, int] | None = None
        # the time of an earlier supervisor counts, that of a study which is continued after its end does not
        self._began = (self.study.started_at if services.resumed else None) or time.time()
        self._suggestions = Suggestions(
            plan.make_search,
            first=1 + max(self.study.trials, default=-1),
            limit=plan.options.trials,
            # enough for several places that become free in the same moment
            ahead=max(1, math.ceil(plan.parallel / 4)),
        )

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return self.services.study

    async def run(self) -> ev.Event:
        """Conduct the study to its end; return its final event."""
        services = self.services
        services.on_stop_trial = self._stop_trial
        await self._recall()
        self._suggestions.start()
        stopping = asyncio.create_task(self._stop_when_asked())
        clock = asyncio.create_task(self._watch_clock())
        places = [asyncio.create_task(self._serve(place)) for place in range(self.plan.parallel)]
        try:
            # the first place that fails ends the study
            await asyncio.gather(*places)
        finally:
            for task in (stopping, clock, *places):
                task.cancel()
            self._suggestions.close()
        await self._keep_best()
        if self._final is not None:
            return replace(self._final, at=time.time())
        if services.stopping.is_set():
            return ev.StateChanged(at=time.time(), state=RunState.STOPPED, reason=services.stop_reason)
        reason = self.plan.when_exhausted if len(self.study.trials) < self.options.trials else ""
        return ev.StateChanged(at=time.time(), state=RunState.DONE, reason=reason)

    # -- what is known from before -------------------------------------------------------------------------------------

    async def _recall(self) -> None:
        """Learn from the trials of an earlier supervisor, or of the study that is continued; begin again those that ran."""
        for trial in sorted(self.study.trials.values(), key=lambda t: (t.ended_at or math.inf, t.number)):
            if trial.state.is_final:
                self._learn(trial)
                continue
            reason = "the supervisor's worker died" if self.services.resumed else "the study was continued"
            await self.services.everywhere(
                "end", run_id=self._trial_id(trial.number), reason=reason, before_attempt=trial.attempt + 1
            )
            live = _Live(trial.number, trial.point, self.plan.space.values(trial.point), trial.attempt + 1, again=reason)
            live.last = trial.curve.values[-1] if trial.curve.values else None
            self._again.append(live)
            self._report_curve(trial)

    def _learn(self, trial: Trial) -> None:
        self._report_curve(trial)
        self._count(trial.number, trial.point, trial.state, trial.value, step=trial.step, reached=trial.reached)

    def _count(
        self, number: int, point: Point, state: TrialState, value: float | None, *, step: int, reached: tuple[str, ...]
    ) -> bool:
        """Let search, rule and limits know of a trial that is over; return whether it is the best so far."""
        self._ended += 1
        self.rule.ended(number, state)
        loss = None if value is None or state is TrialState.FAILED else self.options.direction.loss(value)
        self._suggestions.tell(number, point, Outcome(state=state, loss=loss, step=step, reached=reached))
        if loss is None:
            return False
        self._losses.append(loss)
        if state is not TrialState.DONE or (self._best is not None and loss >= self._best[0]):
            return False
        self._best = (loss, number)
        return True

    def _report_curve(self, trial: Trial) -> None:
        for step, value in zip(trial.curve.steps, trial.curve.values, strict=True):
            self.rule.report(trial.number, step, self.options.direction.loss(value))

    # -- places --------------------------------------------------------------------------------------------------------

    async def _serve(self, place: int) -> None:
        """Run trials on one place, one after the other, until there is no more to do."""
        held = False
        try:
            while self._has_work():
                gang = await self.services.hold(place, again=held)
                if not gang:
                    return
                if not held:
                    held = True
                    self._count_places(+1)
                work = await self._next()
                if work is None:
                    return
                await self._one(work, place, gang)
        finally:
            if held:
                self._count_places(-1)
            await self.services.release(place)

    def _count_places(self, change: int) -> None:
        if self._places == 0 and change > 0 and self.study.state is not RunState.RUNNING:
            self.services.say(ev.StateChanged(at=time.time(), state=RunState.RUNNING))
        self._places += change
        self.services.say(ev.Places(at=time.time(), held=self._places, wanted=self.plan.parallel))

    def _has_work(self) -> bool:
        return not self.services.stopping.is_set() and (bool(self._again) or not self._has_no_more)

    async def _next(self) -> _Live | None:
        if self._again:
            return self._again.popleft()
        taken = await self._suggestions.take()
        if taken is None or self.services.stopping.is_set():
            self._has_no_more = True
            return None
        number, point = taken
        return _Live(number, point, self.plan.space.values(point))

    # -- one trial -----------------------------------------------------------------------------------------------------

    async def _one(self, live: _Live, place: int, gang: Gang) -> None:
        job = self._job(live)
        command = self.services.command(job, live.attempt, place, gang, lambda event: self._hear(live, event))
        self._live[live.number] = (live, command)
        started = ev.TrialStarted(
            at=time.time(),
            trial=live.number,
            values=plain(self.plan.shown(live.point)),
            point=None if live.attempt else dict(live.point),
            attempt=live.attempt,
            place=gang[0]["worker"],
            reason=live.again,
        )
        self.services.say(started)
        if self.services.stopping.is_set():
            command.stop(self.services.stop_reason)
        try:
            end = await command.run()
        finally:
            self._live.pop(live.number, None)
        if end.verdict is Verdict.LOST and live.crashes < self.options.retries and not self.services.stopping.is_set():
            live.crashes, live.attempt, live.again = live.crashes + 1, live.attempt + 1, end.reason
            live.errors, live.stop_reason = [], ""
            self._again.append(live)
            return
        await self._end(live, command, end)

    def _job(self, live: _Live) -> Job:
        has_more = self._ended + len(self._live) + 1 < self.options.trials
        trial = TrialJob(
            number=live.number,
            values=live.values,
            ablation=self.plan.ablation(live.point),
            keeps=self.options.keeps,
            standby=self.plan.standby if has_more else 0,
        )
        template = self.services.job.trial
        return replace(
            template,
            run_id=self._trial_id(live.number),
            name=f"{template.name}-{live.number}",
            seed=self.plan.seed_of(live.number, live.point) % 2**31,
            trial=trial,
        )

    def _trial_id(self, number: int) -> str:
        return f"{self.services.run_id}-{number}"

    def _folder(self, number: int) -> Path:
        return trial_folder(self.services.run_id, number)

    def _hear(self, live: _Live, event: ev.Event) -> None:
        if isinstance(event, ev.Metrics) and event.scope != "batch" and event.rank == 0:
            self._hear_metrics(live, event)
        elif isinstance(event, ev.Returned):
            live.returned, live.reached = event.values, event.reached
        elif isinstance(event, ev.RankError):
            live.errors.append(event)
        elif isinstance(event, ev.ResultReady):
            live.result = event
        elif isinstance(event, ev.Warned):
            self.services.say(event)

    def _hear_metrics(self, live: _Live, event: ev.Metrics) -> None:
        if event.series > live.series:
            # the steps of a later fit go on where those of the one before it ended
            live.series, live.offset = event.series, live.step
        step = event.step + (live.offset if event.scope == "epoch" else 0)
        live.step = max(live.step, step)
        live.said.update(event.values)
        self.services.say(ev.TrialReported(at=event.at, trial=live.number, step=step, values=event.values))
        value = event.values.get(self.options.metric)
        if value is None or live.stop_reason:
            return
        live.last = value
        if not math.isfinite(value):
            live.is_broken = True
            self._stop_live(live, f"{self.options.metric} was {value} at step {step}")
            return
        if live.best is None or self.options.direction.is_better(value, live.best):
            live.best = value
        try:
            reason = self.rule.report(live.number, step, self.options.direction.loss(value))
        except Exception as error:  # noqa: BLE001 (a rule may be the user's own: whatever it raises ends the study, not its host)
            self._finish(RunState.FAILED, f"the stopping rule failed: {type(error).__name__}: {error}")
            return
        if reason:
            self._stop_live(live, reason)

    def _stop_live(self, live: _Live, reason: str) -> None:
        live.stop_reason = reason
        if live.number in self._live:
            self._live[live.number][1].stop(reason)

    def _stop_trial(self, number: int) -> None:
        if number in self._live:
            self._stop_live(self._live[number][0], "stopped by the user")

    # -- the end of a trial --------------------------------------------------------------------------------------------

    async def _end(self, live: _Live, command: TrialCommand, end: AttemptEnd) -> None:
        ended = self._judged(live, end)
        self.services.say(ended)
        before = self._best
        is_best = self._count(live.number, live.point, ended.state, ended.value, step=live.step, reached=live.reached)
        if is_best and self.options.keeps:
            self._offer(live, command)
            if before is not None:
                await asyncio.to_thread(drop_trial_files, self._folder(before[1]), keep_model=False)
        keep_model = is_best and self.options.keeps
        await asyncio.to_thread(drop_trial_files, self._folder(live.number), keep_model=keep_model)
        self._check_limits(ended)

    def _judged(self, live: _Live, end: AttemptEnd) -> ev.TrialEnded:
        value = self._value(live)
        error = ""
        if live.is_broken:
            state, reason = TrialState.FAILED, live.stop_reason
        elif end.verdict is Verdict.STOPPED:
            state, reason = TrialState.STOPPED, end.reason or self.services.stop_reason
        elif end.verdict is Verdict.DONE and value is None:
            state, reason = TrialState.FAILED, self._never_said(live)
        elif end.verdict is Verdict.DONE and value is not None and not math.isfinite(value):
            state, reason = TrialState.FAILED, f"{self.options.metric} was {value} at the end"
        elif end.verdict is Verdict.DONE:
            state, reason = TrialState.DONE, ""
        else:
            again = f" (after {live.crashes} retries)" if live.crashes else ""
            state, reason = TrialState.FAILED, f"{end.reason}{again}"
            causes = [cause for cause in live.errors if not cause.is_peer_loss]
            if causes:
                collapsed = collapse(causes, world_size=self.services.job.trial.options.workers)
                error = f"{collapsed.traceback}\n{collapsed.message}".strip()
        if value is not None and not math.isfinite(value):
            value = None
        return ev.TrialEnded(
            at=time.time(),
            trial=live.number,
            state=state,
            value=value,
            reason=reason,
            error=error,
            reached=live.reached,
        )

    def _value(self, live: _Live) -> float | None:
        """The value that counts: what the cell returned, or else the last or best report."""
        if self.options.metric in live.returned:
            return live.returned[self.options.metric]
        if set(live.returned) == {"value"}:
            return live.returned["value"]
        return live.best if self.options.score == "best" else live.last

    def _never_said(self, live: _Live) -> str:
        said = ", ".join(sorted(live.said | set(live.returned))) or "no metric at all"
        return (
            f"{self.options.metric} was never reported; the cell said {said}: name one of those, report it with "
            f"hops.report({self.options.metric}=...), or make it the cell's last expression"
        )

    def _check_limits(self, ended: ev.TrialEnded) -> None:
        if ended.state is TrialState.FAILED:
            self._check_fail_fast(ended)
        if reason := self.limits.reason(self._losses, time.time() - self._began):
            self._finish(RunState.DONE, reason)

    def _check_fail_fast(self, ended: ev.TrialEnded) -> None:
        never_said = ended.reason.startswith(f"{self.options.metric} was never reported")
        if never_said and not any(trial.curve.count or trial.has_value for trial in self.study.trials.values()):
            self._finish(RunState.FAILED, ended.reason)
        self._first_errors[ended.reason] += 1
        count = self._first_errors[ended.reason]
        if self.options.fail_fast and count == self._ended == self.options.fail_fast:
            self._finish(RunState.FAILED, f"the first {count} trials failed with the same error: {ended.reason}")

    # -- the end of the study ------------------------------------------------------------------------------------------

    def _finish(self, state: RunState, reason: str) -> None:
        """End the study for a reason of its own; trials that still run are stopped."""
        if self._final is None and not self.services.stopping.is_set():
            self._final = ev.StateChanged(state=state, reason=reason)
            self.services.stop(reason)

    async def _stop_when_asked(self) -> None:
        await self.services.stopping.wait()
        self._suggestions.close()
        for _, command in list(self._live.values()):
            command.stop(self.services.stop_reason)

    async def _watch_clock(self) -> None:
        if self.options.budget_s is None:
            return
        while not (reason := self.limits.reason([], time.time() - self._began)):
            await asyncio.sleep(min(1.0, self.options.budget_s / 10))
        self._finish(RunState.DONE, reason)

    def _offer(self, live: _Live, command: TrialCommand) -> None:
        if command.result:
            self.services.keep_result(command.result)
        if live.result is not None:
            self.services.say(live.result)

    async def _keep_best(self) -> None:
        """Make the best trial's model the study's, for the record takes it from there."""
        if not self.options.keeps or self._best is None:
            return
        model = self._folder(self._best[1]) / "model"
        if model.is_dir():
            await asyncio.to_thread(shutil.move, model, run_folder(self.services.run_id) / "model")
