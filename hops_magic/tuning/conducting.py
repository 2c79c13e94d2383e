"""Conducts a study where it lives: takes suggestions, runs them as trials, stops the hopeless, tells the search."""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path

from hops_magic.engine.attempt import AttemptEnd, Verdict
from hops_magic.engine.job import RESULT_NAME, Job, TrialJob, run_folder, trial_folder
from hops_magic.engine.journal import read_journal
from hops_magic.engine.studies import StudyServices
from hops_magic.engine.trial_command import Gang, TrialCommand
from hops_magic.errors import UsageError
from hops_magic.runs import events as ev
from hops_magic.runs.states import STOPPED_BY_USER, RunState, TrialState
from hops_magic.runs.study import Study, Trial
from hops_magic.tuning.live import Live, is_silence
from hops_magic.tuning.plan import StudyPlan, plain
from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.suggestions import Suggestions

LOOK_EVERY_S = 2.0
"""How often a study looks whether workers have come to the cluster."""


class Conductor:
    """One study in progress. Everything happens in the event loop of the worker where it lives."""

    def __init__(self, plan: StudyPlan, services: StudyServices) -> None:
        self.plan, self.options, self.services = plan, plan.options, services
        self.rule, self.limits = plan.make_rule(), plan.make_limits()
        self._again: deque[Live] = deque()
        self._live: dict[int, tuple[Live, TrialCommand]] = {}
        self._first_errors: Counter[tuple[str, ...]] = Counter()
        self._ended = 0
        self._final: ev.StateChanged | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._opened = 0
        self._places = 0
        self._has_no_more = False
        self._best: tuple[float, int] | None = None
        self._since_best = 0
        self._read: set[ev.FeaturesRead] = set()
        # the time of an earlier supervisor counts, that of a study which is continued after its end does not
        self._began = self.study.started_at if services.resumed else None
        self._suggestions = Suggestions(
            plan.make_search,
            first=1 + max(self.study.trials, default=-1),
            limit=plan.options.trials,
            ahead=_ahead(plan.parallel),
        )

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return self.services.study

    @property
    def _elapsed_s(self) -> float:
        """Seconds since the first trial began: what was spent on waiting for slots is nobody's budget."""
        return 0.0 if self._began is None else time.time() - self._began

    async def run(self) -> ev.Event:
        """Conduct the study to its end; return its final event."""
        services = self.services
        services.on_stop_trial = self._stop_trial
        await self._recall()
        self._suggestions.start()
        stopping = asyncio.create_task(self._stop_when_asked())
        clock = asyncio.create_task(self._watch_clock())
        self._open_places(self.plan.parallel)
        try:
            await self._serve_all()
        finally:
            ending = (stopping, clock, *self._serving)
            for task in ending:
                task.cancel()
            self._suggestions.close()
            # a place gives its slots back before the study's own end does
            await asyncio.gather(*ending, return_exceptions=True)
        await self._keep_best()
        if self._final is not None:
            return replace(self._final, at=time.time())
        if services.stopping.is_set():
            if self.options.register and (run_folder(services.run_id) / "model").is_dir():
                wanted = f"%models register {self.options.register} --run {self.study.name}"
                text = f"the study was stopped, so its best model was not registered: {wanted} does it"
                services.say(ev.Warned(at=time.time(), message=text))
            return ev.StateChanged(at=time.time(), state=RunState.STOPPED, reason=services.stop_reason)
        if silent := self._never_said():
            return ev.StateChanged(at=time.time(), state=RunState.FAILED, reason=silent)
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
            live = Live(trial.number, trial.point, self.plan.space.values(trial.point), self.options, trial.attempt + 1)
            live.again = reason
            live.recall(trial, await asyncio.to_thread(_journal_of, self._folder(trial.number)))
            self._again.append(live)
            self._suggestions.begin(trial.number, trial.point)
            self._report_curve(trial)
        if not self.services.resumed:
            self._since_best = 0  # who continues a study wants to see more trials
        if self.options.keeps and self._best is not None and (self.services.resumed or self._has_values(self._best[1])):
            await self.services.find_result(self.study.trials[self._best[1]])

    def _has_values(self, number: int) -> bool:
        """Whether a trial's values lie here still: of a study that is continued they may have been brought back before."""
        return (self._folder(number) / RESULT_NAME).is_file()

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
        if state is not TrialState.DONE or (self._best is not None and loss >= self._best[0]):
            self._since_best += 1
            return False
        self._best, self._since_best = (loss, number), 0
        return True

    def _report_curve(self, trial: Trial) -> None:
        for step, value in zip(trial.curve.steps, trial.curve.values, strict=True):
            self.rule.report(trial.number, step, self.options.direction.loss(value))

    # -- places --------------------------------------------------------------------------------------------------------

    def _open_places(self, count: int) -> None:
        for _ in range(count):
            self._serving.add(asyncio.create_task(self._serve(self._opened)))
            self._opened += 1

    async def _serve_all(self) -> None:
        """Run trials on all places until there is no more to do; the first place that fails ends the study."""
        while self._serving:
            done, _ = await asyncio.wait(self._serving, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            self._serving -= done
            for place in done:
                place.result()
            if not done and self.options.parallel is None:
                await self._grow()

    async def _grow(self) -> None:
        """Open places for workers that have come to the cluster, as far as there are trials for them."""
        left = self.options.trials - len(self.study.trials) + len(self._again)
        if self._has_no_more or left <= 0 or not self._has_work():
            return
        job = self.services.job.trial
        try:
            fitting = await self.services.slots() // (job.options.workers * job.slots_per_rank)
        except OSError:
            return  # the scheduler does not answer just now
        if (more := min(fitting - len(self._serving), left)) > 0:
            self._open_places(more)
            self._suggestions.prepare(_ahead(len(self._serving)))
            self._say_places()

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
        self._say_places()

    def _say_places(self) -> None:
        self.services.say(ev.Places(at=time.time(), held=self._places, wanted=len(self._serving)))

    def _has_work(self) -> bool:
        return not self.services.stopping.is_set() and (bool(self._again) or not self._has_no_more)

    async def _next(self) -> Live | None:
        if self._again:
            return self._again.popleft()
        taken = await self._suggestions.take()
        if taken is None or self.services.stopping.is_set():
            self._has_no_more = True
            return None
        number, point = taken
        return Live(number, point, self.plan.space.values(point), self.options)

    # -- one trial -----------------------------------------------------------------------------------------------------

    async def _one(self, live: Live, place: int, gang: Gang) -> None:
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
        self._began = self._began or started.at
        if self.services.stopping.is_set():
            command.stop(self.services.stop_reason)
        try:
            end = live.worn_out(self.options.retries) or await command.run()
        finally:
            self._live.pop(live.number, None)
        if end.verdict is Verdict.LOST and live.crashes < self.options.retries and not self.services.stopping.is_set():
            live.begin_again(end.reason)
            self._again.append(live)
            return
        await self._end(live, command, end)

    def _job(self, live: Live) -> Job:
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

    def _hear(self, live: Live, event: ev.Event) -> None:
        step = live.hear(event)
        if isinstance(event, ev.Warned | ev.Parameters):
            self.services.say(live.told(event))
        elif isinstance(event, ev.FeaturesRead):
            self._hear_of_reading(event)
        elif isinstance(event, ev.Metrics) and step is not None:
            self._hear_metrics(live, event, step)

    def _hear_of_reading(self, event: ev.FeaturesRead) -> None:
        """Say once what trials read of the feature store: each of them reads the same, as a rule."""
        read = replace(event, at=0.0, rank=0)
        if read not in self._read:
            self._read.add(read)
            self.services.say(event)

    def _hear_metrics(self, live: Live, event: ev.Metrics, step: int) -> None:
        self.services.say(live.reported(event, step))
        value = event.values.get(self.options.metric)
        if value is None:
            return
        if not math.isfinite(value):
            live.is_broken = True
            self._stop_live(live, f"{self.options.metric} was {value} at step {step}")
            return
        try:
            reason = self.rule.report(live.number, step, self.options.direction.loss(value))
        except UsageError as error:
            self._finish(RunState.FAILED, str(error))
            return
        if reason:
            self._stop_live(live, reason)

    def _stop_live(self, live: Live, reason: str) -> None:
        live.stop_reason = reason
        if live.number in self._live:
            self._live[live.number][1].stop(reason)

    def _stop_trial(self, number: int) -> None:
        if number in self._live:
            self._stop_live(self._live[number][0], STOPPED_BY_USER)

    # -- the end of a trial --------------------------------------------------------------------------------------------

    async def _end(self, live: Live, command: TrialCommand, end: AttemptEnd) -> None:
        ended = live.judged(end, self.services.stop_reason)
        self.services.say(ended)
        before = self._best
        is_best = self._count(live.number, live.point, ended.state, ended.value, step=live.step, reached=live.reached)
        if is_best and self.options.keeps:
            self._offer(live, command)
            if before is not None:
                await self.services.drop_files(before[1], keep_model=False)
        await self.services.drop_files(live.number, keep_model=is_best and self.options.keeps)
        self._check_limits(live, ended)

    def _check_limits(self, live: Live, ended: ev.TrialEnded) -> None:
        if ended.state is TrialState.FAILED:
            self._check_fail_fast(live, ended)
        best = None if self._best is None else self._best[0]
        if reason := self.limits.reason(best, self._since_best, self._elapsed_s):
            self._finish(RunState.DONE, reason)

    def _check_fail_fast(self, live: Live, ended: ev.TrialEnded) -> None:
        if self.study.is_ablation and is_silence(ended.reason, self.options.metric):
            self._finish(RunState.FAILED, ended.reason)  # there is nothing to compare the other trials with
        fault = live.fault(ended)
        self._first_errors[fault] += 1
        count = self._first_errors[fault]
        if self.options.fail_fast and count == self._ended == self.options.fail_fast:
            self._finish(RunState.FAILED, f"the first {count} trials failed with the same error: {ended.reason}")

    def _never_said(self) -> str:
        """Return why a study has nothing to show after all of its trials: none of them ever said the metric."""
        trials = self.study.trials.values()
        if any(trial.curve.count or trial.has_value for trial in trials):
            return ""
        return next((trial.reason for trial in trials if is_silence(trial.reason, self.options.metric)), "")

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
        while not (reason := self.limits.reason(None, 0, self._elapsed_s)):
            await asyncio.sleep(min(1.0, self.options.budget_s / 10))
        self._finish(RunState.DONE, reason)

    def _offer(self, live: Live, command: TrialCommand) -> None:
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


def _ahead(places: int) -> int:
    """Return how many suggestions are kept ready: enough for several places that become free in the same moment."""
    return max(1, math.ceil(places / 4))


def _journal_of(folder: Path) -> list[ev.Event]:
    """Return what a trial has said; nothing where its journal cannot be seen."""
    try:
        return list(read_journal(folder))
    except FileNotFoundError:
        return []
