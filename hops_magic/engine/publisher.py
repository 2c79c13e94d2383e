"""A supervisor's way out: the events of a run, or of a study, to its journal, its record and the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic

from distributed import Worker

from hops_magic.engine.channel import MANY_AT_ONCE
from hops_magic.engine.job import Recorder, run_folder
from hops_magic.engine.journal import MOST_WAITING, Journal
from hops_magic.engine.recording import AGAIN_AFTER_S, AGAIN_AT_LEAST_EVERY_S, Recording
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire
from hops_magic.runs.run import Run
from hops_magic.runs.summary import Summary, fold

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 0.1
SNAPSHOT_EVERY_S = 2.0
RECORD_WITHIN_S = 30.0
COMPLETE_WITHIN_S = 6 * 3600.0
"""How long what a full disk kept from the log and the record of a run is tried again after its end."""
MANY_EVENTS = 10_000
"""A record of so many events may take long to write; the end of a run does not wait for it."""


class Publisher(Generic[Summary]):
    """A supervisor's way out; belongs to the worker's event loop.

    Parameters
    ----------
    summary
        The run or study as it is before its first event.
    worker
        The supervisor's.
    open_recorder
        Opens the record, given the run's folder; None for no record.
    record_within_s
        How long the end may wait for the record to be whole.
    on_superseded
        Called when another supervisor has taken the run over.
    """

    def __init__(
        self,
        summary: Summary,
        worker: Worker,
        open_recorder: Callable[[Path], Recorder] | None,
        record_within_s: float = RECORD_WITHIN_S,
        on_superseded: Callable[[], None] = lambda: None,
    ) -> None:
        self.summary: Summary = summary
        self._worker, self._record_within_s = worker, record_within_s
        self._on_superseded = on_superseded
        self.term = 0
        """The supervisor's number among those of the run, given by the scheduler."""
        self._is_abandoned = False
        self._run_id = summary.run_id
        self._sequence = 0
        self._pending: list[Wire] = []
        self._snapshot_due = True
        self._snapshot_at = 0.0
        self._journal = Journal(run_folder(self._run_id))
        self._record: Recording[Summary] = Recording(
            self._run_id, open_recorder, self._journal, lambda event: self.say_all([event])
        )
        self._late: list[Journal] = []
        self._look_at_late_at = 0.0
        self._closing = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    def resume(self, summary: Summary, sequence: int, told: Sequence[Event] = ()) -> None:
        """Go on where an earlier supervisor was; viewers count a few numbers that it took along as lost.

        ``told`` is what it had said, of which its record may lack the last moments.
        """
        self.summary = summary
        self._record.recall(told)
        self._sequence = sequence + 1_000

    def say_all(self, events: Sequence[Event]) -> None:
        """Fold events and queue them for everyone."""
        if self._is_abandoned:
            return
        self.summary = fold(self.summary, events)
        self._snapshot_due = self._snapshot_due or any(
            isinstance(event, ev.StateChanged | ev.Restarted | ev.ResultReady) for event in events
        )
        wires = [ev.to_wire(event) for event in events]
        was_behind = self._journal.is_behind
        problem = self._journal.write(wires)
        self._pending.extend(wires)
        self._record.take(events)
        if problem:
            self.say_all([ev.Warned(at=time.time(), message=f"the log of the run is not complete: {problem}")])
        elif was_behind and not self._journal.is_behind and not self._journal.lost:
            self.say_all([ev.Noted(at=time.time(), message="the log of the run is complete again: there was room")])

    def adopt(self, journal: Journal) -> None:
        """Keep what a full disk did not take of the log of a trial that is over, and write it when there is room."""
        if sum(other.waiting for other in self._late) + journal.waiting <= MOST_WAITING:
            self._late.append(journal)

    @property
    def _is_log_behind(self) -> bool:
        return self._journal.is_behind or bool(self._late)

    def _write_late_logs(self) -> None:
        for journal in self._late:
            journal.close()
        self._late = [journal for journal in self._late if journal.is_behind]

    async def open(self) -> None:
        """Start to publish; the record opens beside it."""
        self._loop_task = asyncio.create_task(self._publish_often())
        self._record.begin()

    def hasten(self) -> None:
        """Let the end wait for the record only as long as somebody who stops the run would wait."""
        self._record.hasten()

    async def close(self, last: Event, result: dict[str, str]) -> None:
        """Publish and record all that is left.

        Viewers learn of the ``last`` event, the final state, together with where the result lies, and when the record is
        whole: what they look for then is there.
        """
        self._closing.set()
        if self._loop_task is not None:
            await asyncio.wait([self._loop_task])
        self.say_all([last])
        # the values of a run that said much wait for nothing; its record says that it goes on until it is whole
        is_long = isinstance(self.summary, Run) and self._sequence > MANY_EVENTS
        if is_long:
            self._record.postpone()
        else:
            await self._record.end(self.summary, self._record_within_s, is_log_behind=self._is_log_behind)
        await self._flush(result)
        self._journal.close()

    async def complete(self) -> None:
        """Write what could not be written of the log and the record of a run that is over, when that can be done.

        The end of a run does not wait for that: its values are handed out before.
        """
        until, pause_s = time.monotonic() + COMPLETE_WITHIN_S, AGAIN_AFTER_S
        record_at, was_recorded = time.monotonic() + pause_s, not self._record.is_behind
        while not self._is_abandoned and (self._is_log_behind or self._record.is_behind) and time.monotonic() < until:
            await asyncio.sleep(AGAIN_AFTER_S)
            was_behind = self._is_log_behind
            # the logs of trials first: whoever finds the study's end in its own takes them for whole
            self._write_late_logs()
            if not self._late:
                self._journal.close()
            # the record holds the logs; where they found room, it may do so too
            if self._record.is_behind and not self._is_log_behind and (was_behind or time.monotonic() >= record_at):
                await self._record.complete(self.summary, AGAIN_AT_LEAST_EVERY_S)
                pause_s = min(2 * pause_s, AGAIN_AT_LEAST_EVERY_S)
                record_at = time.monotonic() + pause_s
        if not was_recorded and not self._is_abandoned:
            with contextlib.suppress(OSError):  # then it is told for one that goes on a while longer
                await self._worker.scheduler.hops_recorded(run_id=self._run_id)

    def abandon(self) -> None:
        """Say and write nothing more: another supervisor does, or is about to."""
        self._is_abandoned = True
        self._closing.set()
        self._record.abandon()
        self._journal.close()

    def _look_after_what_waits(self) -> None:
        """Write logs of trials for which there is room by now, and open a record that could not be opened."""
        if self._late and time.monotonic() >= self._look_at_late_at:
            self._look_at_late_at = time.monotonic() + AGAIN_AFTER_S
            self._write_late_logs()
        self._record.hand_over()

    async def _publish_often(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), PUBLISH_EVERY_S)
            if not self._closing.is_set():
                self._look_after_what_waits()
            if (self._pending or self._snapshot_due) and not self._is_abandoned:
                try:
                    await self._flush()
                except OSError as error:
                    logger.warning("the scheduler cannot be reached from run %s: %s; trying again", self._run_id, error)

    async def _flush(self, result: dict[str, str] | None = None) -> None:
        batch, self._pending = self._pending, []
        self._sequence += len(batch)
        self._record.hand_over()
        now = time.monotonic()
        snapshot = b""
        is_due = self._snapshot_due or len(batch) > MANY_AT_ONCE or now - self._snapshot_at > SNAPSHOT_EVERY_S
        if result is not None or is_due:
            snapshot, self._snapshot_due, self._snapshot_at = pickle.dumps(self.summary), False, now
        try:
            answer = await self._worker.scheduler.hops_publish(
                run_id=self._run_id,
                sequence=self._sequence,
                events=batch,
                snapshot=snapshot,
                result=result,
                is_recorded=not self._record.is_behind,
                term=self.term,
            )
        except OSError:
            # said again under the same numbers, so that whoever did hear it does not count it twice
            self._pending, self._snapshot_due = batch + self._pending, True
            self._sequence -= len(batch)
            raise
        if answer == "superseded":
            self._on_superseded()
