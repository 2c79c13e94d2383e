"""The supervisor of a run: places the gang, starts ranks, watches them, restarts, stops, records.

It lives in the event loop of a worker, kept alive by one Dask task, :func:`supervise`. If that worker dies, Dask runs the
task again elsewhere, and the new supervisor starts a new attempt from the last checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import Worker

from hops_magic.engine.attempt import Attempt, AttemptEnd, Verdict
from hops_magic.engine.handing_back import drop_drafts
from hops_magic.engine.job import RESULT_NAME, Job, described, run_folder
from hops_magic.engine.journal import read_journal
from hops_magic.engine.publisher import Publisher
from hops_magic.engine.rank_host import RankHost, everywhere
from hops_magic.engine.supervising import Leaving, conduct, is_leaving
from hops_magic.errors import ClusterError, counted
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire
from hops_magic.runs.run import Run, advance
from hops_magic.runs.states import RunState

logger = logging.getLogger(__name__)


_LOST = "the supervisor's worker died"
LOOK_EVERY_S = 10.0
"""How often a run that waits for slots asks whether the cluster still has that many."""


def supervise(job: Job) -> None:
    """Run a job from queue to end; the Dask task behind a run."""
    conduct(lambda worker, host: Supervisor(job, worker, host))


class Supervisor:
    """One run, from its place in the queue to its record. Everything happens in the worker's event loop."""

    def __init__(self, job: Job, worker: Worker, host: RankHost) -> None:
        self.job, self.worker, self.host = job, worker, host
        self._leaving = Leaving()
        self.publisher = Publisher(job.beginning(), worker, job.open_recorder, on_superseded=self.abandon)
        self.token = secrets.token_bytes(32)
        self._attempt: Attempt | None = None
        self._granted: asyncio.Future[list[dict[str, Any]]] | None = None
        self._stop = asyncio.Event()
        self._queued_as: tuple[int | None, int | None] = (None, None)
        self.stop_reason = ""
        self._began_at = time.time()
        self._result: dict[str, str] = {}
        self._had_ended: AttemptEnd | None = None
        """How the run ended under an earlier supervisor, which died before it had told so."""

    # -- called by the rank host -----------------------------------------------------------------------------------

    def on_events(self, attempt: int, wires: list[Wire]) -> None:
        """Take what ranks say; what an earlier attempt still says is only recorded if it is output."""
        current = self._attempt
        if current is None or attempt != current.number:
            wires = [wire for wire in wires if wire["kind"] == ev.Output.kind]
        events = [ev.from_wire(wire) for wire in wires]
        self.publisher.say_all(events)
        if current is not None:
            for event in events:
                current.on_event(event)

    def on_notice(self, notice: dict[str, Any]) -> None:
        """Take what the scheduler says: a gang granted, a place in the queue, a worker lost, a stop asked for."""
        what = notice["what"]
        if what == "granted" and self._granted is not None and not self._granted.done():
            self._granted.set_result(notice.get("gang", []))
        elif what == "queued" and self._granted is not None:
            self._say_queued(notice)
        elif what == "worker-lost" and self._attempt is not None:
            self._attempt.on_worker_lost(notice["worker"])
        elif what == "stop":
            self.stop(notice["reason"])

    def stop(self, reason: str) -> None:
        """End the run soon: ranks get a moment to finish their step, write a checkpoint and hand back what they have."""
        if not self._stop.is_set():
            self.stop_reason = reason
            self._stop.set()
            self.publisher.hasten()
            if not self.publisher.summary.state.is_final:  # else only its record is waited for
                self.say(ev.StateChanged(at=time.time(), state=RunState.STOPPING, reason=reason))

    def abandon(self) -> None:
        """Fall silent at once: this worker leaves, or another supervisor has taken over."""
        self._leaving.leave()
        self.publisher.abandon()

    # -- the life of a run -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Supervise the run to its end."""
        self._leaving.begin()
        first = await self._take_over()
        if first is None:
            return
        try:
            await self.publisher.open()
            end = self._had_ended or await self._attempts(first)
        except ClusterError as error:
            end = AttemptEnd(Verdict.FAILED, str(error))
        except Exception as error:  # whatever went wrong here, the run must end and be seen to end
            if is_leaving(self.worker):
                self.abandon()
                raise  # elsewhere the run goes on
            logger.exception("the supervisor of run %s failed", self.job.run_id)
            end = AttemptEnd(Verdict.FAILED, f"the supervisor failed: {type(error).__name__}: {error}")
        await self._clean()
        await asyncio.to_thread(drop_drafts, run_folder(self.job.run_id))
        if end.verdict is Verdict.DONE:
            # nothing will start from them again; the trained model is in the record
            await asyncio.to_thread(_drop_checkpoints, self.job.run_id)
        final = ev.StateChanged(at=time.time(), state=end.verdict.state, reason=end.reason)
        await self.publisher.close(final, self._result)
        self.host.in_background(self.publisher.complete())
        self.host.supervisors.pop(self.job.run_id, None)

    async def _take_over(self) -> int | None:
        """Make this supervisor known; return the number of the attempt to begin with, None if the run is over."""
        run_id = self.job.run_id
        self.host.supervisors[run_id] = self
        left = await self.worker.scheduler.hops_register(
            run_id=run_id, supervisor=self.worker.address, info=described(self.job.beginning())
        )
        if left["is_final"]:
            # Dask computes a lost result again; a run that has ended must not be run again
            self.host.supervisors.pop(run_id, None)
            return None
        self.publisher.term = left["term"]
        if left["stop"]:
            self.stop_reason = left["stop"]
            self._stop.set()
            self.publisher.hasten()
        if not left["sequence"]:
            return 0
        before, end = await asyncio.to_thread(recall, self.job, pickle.loads(left["snapshot"]))
        self.publisher.resume(before, left["sequence"], list(read_journal(run_folder(run_id))))
        self._began_at = self.job.created_at
        await self._everywhere("end", reason=_LOST, before_attempt=before.attempt + 1)
        if end is not None and (kept := self._kept_result(before)) is not None:
            # only its record was missing
            self._result, self._had_ended = kept, end
            return before.attempt
        if before.state.is_waiting:
            return before.attempt  # nothing of it had begun
        if before.attempt < self.job.options.restarts and not self._stop.is_set():
            self.say(ev.Restarted(at=time.time(), attempt=before.attempt + 1, reason=_LOST))
        return before.attempt + 1

    async def _attempts(self, number: int) -> AttemptEnd:
        budget, timeout = self.job.options.restarts, self.job.options.timeout
        deadline = None if timeout is None else time.monotonic() + timeout - (time.time() - self._began_at)
        if self._stop.is_set():
            return AttemptEnd(Verdict.STOPPED, self.stop_reason)
        if number > budget:
            return _used_up(_LOST, budget)
        while True:
            end = await self._one_attempt(number, deadline)
            if end.verdict is not Verdict.LOST:
                return end
            if number >= budget:
                return _used_up(end.reason, number)
            number += 1
            self.say(ev.Restarted(at=time.time(), attempt=number, reason=end.reason))
            self.say(ev.StateChanged(at=time.time(), state=RunState.RESTARTING, reason=end.reason))

    async def _one_attempt(self, number: int, deadline: float | None) -> AttemptEnd:
        self._queued_as = (None, None)
        gang = await self._reserve(deadline)
        if not gang and self._stop.is_set():
            return AttemptEnd(Verdict.STOPPED, self.stop_reason)
        if not gang:
            reason = f"ended by --timeout {self.job.options.timeout:g} while it waited for slots"
            return AttemptEnd(Verdict.FAILED, reason)
        self.say(ev.StateChanged(at=time.time(), state=RunState.STARTING))
        attempt = self._attempt = Attempt(self, number, gang)
        try:
            return await attempt.run(self._stop, deadline)
        finally:
            self._result = attempt.result
            self._attempt = None
            await self._release()

    async def _reserve(self, deadline: float | None) -> list[dict[str, Any]]:
        """Wait for a gang; empty if the run is stopped, or its time is over, first."""
        left: float | None = None
        while not self._stop.is_set() and left != 0.0:
            self._granted = granted = asyncio.get_running_loop().create_future()
            standing = await self.worker.scheduler.hops_reserve(
                run_id=self.job.run_id, ranks=self.job.options.workers, slots_per_rank=self.job.slots_per_rank
            )
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if "gang" in standing:
                granted.set_result(standing["gang"])
            elif "position" in standing:
                self._say_queued(standing)
                await self._first_of(granted, _earlier(left, LOOK_EVERY_S))
                if not granted.done() and not self._stop.is_set():
                    self._warn_if_too_few(standing)
                    continue
            gang: list[dict[str, Any]] = granted.result() if granted.done() else []
            if gang:
                return gang
            if granted.done() or "lost" in standing:
                # a worker of the gang died before anything began there: ask for another
                await self._release()
        return []

    async def _first_of(self, granted: asyncio.Future[Any], timeout_s: float | None) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({granted, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    def _say_queued(self, standing: dict[str, Any]) -> None:
        told = (standing.get("position"), standing.get("free"))
        if told[0] is not None and told != self._queued_as:
            self._queued_as = told
            needed = self.job.options.workers * self.job.slots_per_rank
            self.say(ev.Queued(at=time.time(), position=standing["position"], needed=needed, free=standing["free"]))

    def _warn_if_too_few(self, standing: dict[str, Any]) -> None:
        """Say it when a run waits for slots that the cluster has no more: workers that died may not come back."""
        needed, total = self.job.options.workers * self.job.slots_per_rank, standing["total"]
        if needed > total:
            text = (
                f"the run waits for {counted(needed, 'slot')}, and the cluster has {total or 'none'} since workers left it: "
                "start workers, or stop the run"
            )
            self.say(ev.Warned(at=time.time(), message=text))

    def say(self, event: Event) -> None:
        """Record an event of the supervisor's own and tell viewers."""
        self.publisher.say_all([event])

    def keep_result(self, rank: dict[str, Any], ready: ev.ResultReady) -> dict[str, str]:
        """Describe where rank 0 left its values."""
        path = ready.place or str(self.job.home / RESULT_NAME)
        return {"worker": rank["worker"], "host": rank["host"], "path": path}

    def _kept_result(self, before: Run) -> dict[str, str] | None:
        """Describe where the values of a run that had come to its end can still be had; None if they are gone."""
        if before.result is None:
            return {}
        path = Path(before.result.place or self.job.home / RESULT_NAME)
        return {"worker": self.worker.address, "host": self.host.host, "path": str(path)} if path.is_file() else None

    async def _clean(self) -> None:
        await self._everywhere("clean", sweep=True)
        await self._release()

    async def _release(self) -> None:
        # the slots may be those of a supervisor that has taken over
        if not self._leaving.is_over:
            await self.worker.scheduler.hops_release(run_id=self.job.run_id, term=self.publisher.term)

    async def _everywhere(self, what: str, **message: Any) -> None:
        await everywhere(self.worker, what, run_id=self.job.run_id, **message)


def recall(job: Job, known: Run) -> tuple[Run, AttemptEnd | None]:
    """Return a run as its journal tells it, else as the scheduler knows it; and how it ended, if it did."""
    exits: dict[int, bool] = {}
    told = job.beginning()
    try:
        for event in read_journal(job.home):
            told = advance(told, event)
            if isinstance(event, ev.Restarted | ev.RankError):
                exits.clear()
            elif isinstance(event, ev.RankExited) and event.attempt == told.attempt:
                exits[event.rank] = event.code == 0
    except OSError:
        return known, None  # on a machine that does not see the run's folder
    if told.attempt < known.attempt or told.state is RunState.SUBMITTED:
        return known, None  # a disk that was full ended the journal
    if told.state.is_final:
        end = AttemptEnd(Verdict(told.state.value), told.reason)
        return replace(told, state=RunState.RUNNING, reason="", ended_at=None), end
    has_all = len(exits) == job.options.workers and all(exits.values()) and not told.errors
    return told, AttemptEnd(Verdict.DONE) if has_all and told.state is RunState.RUNNING else None


def _earlier(left_s: float | None, most_s: float) -> float:
    return most_s if left_s is None else min(left_s, most_s)


def _used_up(reason: str, restarts: int) -> AttemptEnd:
    used = f" (after {restarts} restarts)" if restarts else ""
    return AttemptEnd(Verdict.FAILED, f"{reason}{used}")


def _drop_checkpoints(run_id: str) -> None:
    folder = run_folder(run_id) / "checkpoints"
    for file in (*folder.glob("fit-*"), *folder.glob("loop-*")):
        file.unlink(missing_ok=True)
