"""The engine's services for a study: places for its trials, ranks, events and the way to viewers.

A study lives as a run's supervisor does: in the event loop of a worker, kept alive by one Dask task. How trials are
chosen and stopped is not known here; that is the business of what conducts the study.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Worker

from hops_magic.engine.handing_back import drop_drafts
from hops_magic.engine.job import RESULT_NAME, Job, StudyJob, described, run_folder, trial_folder
from hops_magic.engine.journal import Journal, read_journal
from hops_magic.engine.publisher import Publisher
from hops_magic.engine.rank_host import RankHost, everywhere
from hops_magic.engine.supervising import Leaving, conduct, is_leaving
from hops_magic.engine.trial_command import Gang, TrialCommand
from hops_magic.errors import HopsError
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, Trial, recalled

logger = logging.getLogger(__name__)

RECORD_WITHIN_S = 600.0

PASS_ON_EVERY_S = 0.5
"""How often a place asks whether another run waits for it: trials may last milliseconds."""


@dataclass(frozen=True)
class _Held:
    """A place's slots, and when they were last offered to others."""

    gang: Gang
    asked_at: float


def supervise_study(job: StudyJob) -> None:
    """Conduct a study from its first trial to its record; the Dask task behind it."""
    conduct(lambda worker, host: StudyServices(job, worker, host))


class StudyServices:
    """What a study uses of the engine. Everything happens in the worker's event loop.

    Attributes
    ----------
    stopping : asyncio.Event
        Set when the study is to end; ``stop_reason`` says why.
    on_stop_trial : callable
        Called with a trial's number when a user asks for its stop; whoever conducts the study sets it.
    resumed : bool
        Whether an earlier supervisor of this study has died, so that :attr:`study` already has trials.
    """

    def __init__(self, job: StudyJob, worker: Worker, host: RankHost) -> None:
        self.job, self.worker, self.host = job, worker, host
        self.run_id = job.beginning.run_id
        self._leaving = Leaving()
        self.publisher: Publisher[Study] = Publisher(
            job.beginning, worker, job.open_recorder, RECORD_WITHIN_S, on_superseded=self.abandon
        )
        self.stopping = asyncio.Event()
        self.stop_reason = ""
        self.on_stop_trial: Callable[[int], None] = lambda _: None
        self.resumed = False
        self._granted: dict[str, asyncio.Future[Gang]] = {}
        self._held: dict[str, _Held] = {}
        self._commands: dict[str, TrialCommand] = {}
        self._result: dict[str, str] = {}
        self.kept_elsewhere: set[str] = set()
        """Trials whose values lie outside their folders."""

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return self.publisher.summary

    def say(self, *events: Event) -> None:
        """Record events and tell viewers."""
        self.publisher.say_all(events)

    # -- called by the rank host ---------------------------------------------------------------------------------------

    def on_events(self, attempt: int, events: list[Wire]) -> None:
        """A study has no ranks of its own."""

    def on_notice(self, notice: dict[str, Any]) -> None:
        """Take what the scheduler says: a place granted, a worker lost, a stop asked for."""
        what, place = notice["what"], notice.get("place", "")
        if what == "granted":
            granted = self._granted.get(place)
            if granted is not None and not granted.done():
                granted.set_result(notice.get("gang", []))
        elif what == "queued" and notice.get("position") is not None:
            self._say_queued(notice)
        elif what == "worker-lost":
            self._held.pop(place, None)
            for command in self._commands.values():
                if command.place == place:
                    command.on_worker_lost(notice["worker"])
        elif what == "stop":
            self.stop(notice["reason"])
        elif what == "stop-trial":
            self.on_stop_trial(int(notice["trial"]))

    def stop(self, reason: str) -> None:
        """End the study soon."""
        if not self.stopping.is_set():
            self.stop_reason = reason
            self.stopping.set()
            self.publisher.hasten()
            if not self.study.state.is_final:  # else only its record is waited for
                self.say(ev.StateChanged(at=time.time(), state=RunState.STOPPING, reason=reason))

    def abandon(self) -> None:
        """Fall silent at once: this worker leaves, or another supervisor has taken over."""
        self._leaving.leave()
        self.publisher.abandon()
        for command in self._commands.values():
            command.abandon()

    # -- the life of a study -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Conduct the study to its end."""
        self._leaving.begin()
        if not await self._take_over():
            return
        try:
            await self.publisher.open()
            final = await self.job.conduct(self)
        except HopsError as error:
            final = _failed(str(error))
        except Exception as error:  # whatever went wrong here, the study must end and be seen to end
            if is_leaving(self.worker):
                self.abandon()
                raise  # elsewhere the study goes on
            logger.exception("the supervisor of study %s failed", self.run_id)
            final = _failed(f"the supervisor failed: {type(error).__name__}: {error}")
        for command in list(self._commands.values()):
            await command.end("the study has ended")
        await self.everywhere("clean", run_id=self.run_id)
        await self._release(self.run_id)
        # a study that failed has cut its trials off
        running = [trial.number for trial in self.study.trials.values() if not trial.state.is_final]
        self.say(*(_cut_off(number) for number in running))
        await self.publisher.close(final, self._result)
        self.host.in_background(self.publisher.complete())
        self.host.supervisors.pop(self.run_id, None)

    async def _take_over(self) -> bool:
        """Make this supervisor known; False if the study is over."""
        self.host.supervisors[self.run_id] = self
        left = await self.worker.scheduler.hops_register(
            run_id=self.run_id, supervisor=self.worker.address, info=described(self.job.beginning)
        )
        if left["is_final"]:
            self.host.supervisors.pop(self.run_id, None)
            return False
        self.publisher.term = left["term"]
        if left["stop"]:
            self.stop_reason = left["stop"]
            self.stopping.set()
            self.publisher.hasten()
        if left["sequence"]:
            self.resumed = True
            # the scheduler's summary may be some moments old; where the journal can be seen, it has what came after
            told = list(read_journal(run_folder(self.run_id)))
            whole = recalled(self.job.beginning, told)
            known: Study = pickle.loads(left["snapshot"])
            self.publisher.resume(whole if len(whole.ended()) >= len(known.ended()) else known, left["sequence"], told)
            self.say(
                ev.Restarted(at=time.time(), attempt=len(self.study.restarts) + 1, reason="the supervisor's worker died")
            )
        return True

    # -- places --------------------------------------------------------------------------------------------------------

    async def hold(self, place: int, *, again: bool = False) -> Gang:
        """Wait for a place for one trial; empty if the study is stopped first.

        Parameters
        ----------
        place
            Number of the place, from 0.
        again
            Whether the place is held already, and is only to be passed on if another run waits for slots.
        """
        key = f"{self.run_id}/{place}"
        held = self._held.get(key)
        if again and held is not None and time.monotonic() - held.asked_at < PASS_ON_EVERY_S:
            return held.gang
        gang = await self._ask_for(key, again=again)
        self._held[key] = _Held(gang, time.monotonic())
        return gang

    async def _ask_for(self, key: str, *, again: bool) -> Gang:
        wish = {"ranks": self.job.trial.options.workers, "slots_per_rank": self.job.trial.slots_per_rank}
        self._granted[key] = granted = asyncio.get_running_loop().create_future()
        scheduler = self.worker.scheduler
        ask = scheduler.hops_pass_on if again else scheduler.hops_reserve
        standing = await ask(run_id=key, **wish)
        if standing.get("lost"):
            await self._release(key)
            standing = await scheduler.hops_reserve(run_id=key, **wish)
        if "gang" in standing:
            gang: Gang = standing["gang"]
            return gang
        if self.study.places == 0:
            self._say_queued(standing)
        stopped = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({granted, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        return granted.result() if granted.done() else []

    async def release(self, place: int) -> None:
        """Give a place back."""
        self._held.pop(f"{self.run_id}/{place}", None)
        await self._release(f"{self.run_id}/{place}")

    async def _release(self, key: str) -> None:
        # the slots may be those of a supervisor that has taken over
        if not self._leaving.is_over:
            await self.worker.scheduler.hops_release(run_id=key, term=self.publisher.term)

    def _say_queued(self, standing: dict[str, Any]) -> None:
        if standing.get("position") is not None and self.study.places == 0 and not self.study.trials:
            needed = self.job.trial.options.workers * self.job.trial.slots_per_rank
            self.say(ev.Queued(at=time.time(), position=standing["position"], needed=needed, free=standing["free"]))

    # -- trials --------------------------------------------------------------------------------------------------------

    def command(self, job: Job, attempt: int, place: int, gang: Gang, on_event: Callable[[Event], None]) -> TrialCommand:
        """Prepare one attempt at a trial on a place; ``on_event`` is called with what its ranks say, except their output."""
        return TrialCommand(self, job, attempt, f"{self.run_id}/{place}", gang, on_event)

    def started(self, command: TrialCommand) -> None:
        """Take note of a trial that begins, whose ranks' events are to be brought to it."""
        self._commands[command.job.run_id] = command
        self.host.supervisors[command.job.run_id] = command

    def ended(self, command: TrialCommand) -> None:
        """Forget a trial whose processes are gone."""
        self._commands.pop(command.job.run_id, None)
        self.host.supervisors.pop(command.job.run_id, None)

    def keep_log(self, journal: Journal) -> None:
        """Take over a trial's log for which there is no room yet."""
        self.publisher.adopt(journal)

    def keep_result(self, result: dict[str, str]) -> None:
        """Offer a trial's values as the study's result."""
        self._result = result

    async def drop_files(self, trial: int, *, keep_model: bool) -> None:
        """Delete what a trial that is over leaves beside its journal: checkpoints; values and model if another is better."""
        folder, run_id = trial_folder(self.run_id, trial), f"{self.run_id}-{trial}"
        await asyncio.to_thread(_drop_files, folder, keep_model=keep_model)
        if run_id in self.kept_elsewhere and not keep_model:
            self.kept_elsewhere.discard(run_id)
            await self.everywhere("drop", run_id=run_id)

    async def find_result(self, trial: Trial) -> None:
        """Offer the values that a trial has left under an earlier supervisor, where they can still be had."""
        path = trial_folder(self.run_id, trial.number) / RESULT_NAME
        if path.is_file():
            # this worker may have come so lately that the scheduler does not know it yet
            self.keep_result({"worker": self.worker.address, "host": self.host.host, "path": str(path)})
        elif node := (await self.worker.scheduler.hops_state())["nodes"].get(trial.place):
            self.keep_result({"worker": trial.place, "host": node["host"], "path": str(path)})

    async def slots(self) -> int:
        """Return how many slots the cluster has now."""
        return sum((await self.worker.scheduler.hops_state())["slots"].values())

    async def everywhere(self, what: str, **message: Any) -> None:
        """Call every rank host of the cluster; a worker that is just dying needs no call."""
        await everywhere(self.worker, what, **message)


def _drop_files(folder: Path, *, keep_model: bool) -> None:
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    drop_drafts(folder)
    if not keep_model:
        shutil.rmtree(folder / "model", ignore_errors=True)
        (folder / RESULT_NAME).unlink(missing_ok=True)


def _cut_off(number: int) -> ev.TrialEnded:
    return ev.TrialEnded(at=time.time(), trial=number, state=TrialState.STOPPED, reason="the study ended")


def _failed(reason: str) -> ev.StateChanged:
    return ev.StateChanged(at=time.time(), state=RunState.FAILED, reason=reason)
