"""One attempt at a trial of a study: its ranks are started, listened to and ended; its journal is kept."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Protocol

from distributed import Worker

from hops_magic.engine.attempt import Attempt, AttemptEnd, Verdict
from hops_magic.engine.job import RESULT_NAME, Job
from hops_magic.engine.journal import Journal
from hops_magic.engine.rank_host import CALL_WITHIN_S, ask
from hops_magic.errors import ClusterError
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire

logger = logging.getLogger(__name__)

Gang = list[dict[str, Any]]


class OfStudy(Protocol):
    """What an attempt at a trial uses of its study."""

    worker: Worker
    kept_elsewhere: set[str]

    def say(self, *events: Event) -> None:
        """Record events and tell viewers."""
        ...

    def keep_log(self, journal: Journal) -> None:
        """Take over a log for which there is no room yet."""
        ...

    def started(self, command: TrialCommand) -> None:
        """Take note of a trial that begins."""
        ...

    def ended(self, command: TrialCommand) -> None:
        """Forget a trial whose processes are gone."""
        ...

    async def everywhere(self, what: str, **message: Any) -> None:
        """Call every rank host of the cluster."""
        ...


class TrialCommand:
    """One attempt at a trial: the ranks' events in, a verdict out."""

    def __init__(
        self,
        services: OfStudy,
        job: Job,
        attempt: int,
        place: str,
        gang: Gang,
        on_event: Callable[[Event], None],
    ) -> None:
        self.job, self.worker, self.place = job, services.worker, place
        self.token = secrets.token_bytes(32)
        self.stop_reason = ""
        self._services, self._gang, self._on_event = services, gang, on_event
        # a trial that is cut short has nothing to hand back: its processes end at once, and the place is free
        self._attempt = Attempt(self, attempt, gang, stop_grace_s=0.0)
        self._stop = asyncio.Event()
        self._journal: Journal | None = None
        self._is_abandoned = False

    @property
    def result(self) -> dict[str, str]:
        """Where rank 0 left its values, if it did."""
        return self._attempt.result

    def stop(self, reason: str) -> None:
        """End the trial now."""
        if not self._stop.is_set():
            self.stop_reason = reason
            self._stop.set()

    async def run(self) -> AttemptEnd:
        """Run the trial's ranks; return when no process of them is left."""
        self._services.started(self)
        self._journal = Journal(self.job.home)
        try:
            return await self._attempt.run(self._stop, None)
        except ClusterError as error:
            return AttemptEnd(Verdict.LOST, str(error))
        finally:
            try:
                if not self._is_abandoned:
                    await self._clean()
            finally:
                # also if its study is cut off while a worker does not answer
                self._services.ended(self)
                self._close_journal()

    def abandon(self) -> None:
        """Fall silent: the study is conducted by another supervisor, or about to be."""
        self._is_abandoned = True
        self._close_journal()

    def _close_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            problem = journal.settle()
            journal.close()
            if not self._is_abandoned:
                self._tell(problem)
                if journal.is_behind:
                    self._services.keep_log(journal)

    async def end(self, reason: str) -> None:
        """Kill what is left of the trial, when its study has failed."""
        self.stop(reason)
        await self._services.everywhere("end", run_id=self.job.run_id, reason=reason)

    async def _clean(self) -> None:
        for worker in {place["worker"] for place in self._gang}:
            try:
                await asyncio.wait_for(ask(self.worker, worker, "clean", run_id=self.job.run_id), CALL_WITHIN_S)
            except OSError:
                logger.info("worker %s cannot be reached, nor what trial %s left there", worker, self.job.run_id)

    # -- called by the rank host and the attempt -----------------------------------------------------------------------

    def on_events(self, attempt: int, events: list[Wire]) -> None:
        """Take what ranks say; what an earlier attempt still says is only recorded if it is output."""
        if attempt != self._attempt.number:
            events = [wire for wire in events if wire["kind"] == ev.Output.kind]
        self._keep(events)
        for wire in events:
            event = ev.from_wire(wire)
            self._attempt.on_event(event)
            if not isinstance(event, ev.Output):
                self._on_event(event)

    def on_notice(self, notice: dict[str, Any]) -> None:
        """Notices go to the study."""

    def on_worker_lost(self, worker: str) -> None:
        """Take note that a worker died."""
        self._attempt.on_worker_lost(worker)

    def say(self, event: Event) -> None:
        """Write an event of the attempt's own to the trial's journal."""
        self._keep([ev.to_wire(event)])

    def _keep(self, wires: list[Wire]) -> None:
        if self._journal is not None:
            self._tell(self._journal.write(wires))

    def _tell(self, problem: str) -> None:
        if problem:
            # the same sentence for all of them, so that it is read once
            self._services.say(ev.Warned(at=time.time(), message=f"the logs of trials are not complete: {problem}"))

    def keep_result(self, rank: dict[str, Any], ready: ev.ResultReady) -> dict[str, str]:
        """Describe where rank 0 left its values."""
        if ready.place:
            self._services.kept_elsewhere.add(self.job.run_id)
        path = ready.place or str(self.job.home / RESULT_NAME)
        return {"worker": rank["worker"], "host": rank["host"], "path": path}
