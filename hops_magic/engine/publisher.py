"""A supervisor's way out: the events of a run, or of a study, to its journal, its record and the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic

from distributed import Worker

from hops_magic.engine.job import Recorder, run_folder
from hops_magic.engine.journal import MOST_WAITING, Journal, read_journal
from hops_magic.errors import in_a_sentence
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
RECORD_OF_MANY_WITHIN_S = 0.5
COMPLETE_EVERY_S = 2.0
COMPLETE_AT_LEAST_EVERY_S = 10.0
OPEN_AGAIN_EVERY_S = 10.0
NOT_RECORDED = "the run is not recorded"


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
        self._worker, self._record_with = worker, open_recorder
        self._record_within_s = record_within_s
        self._on_superseded = on_superseded
        self.term = 0
        """The supervisor's number among those of the run, given by the scheduler."""
        self._is_abandoned = False
        self._run_id = summary.run_id
        self._sequence = 0
        self._pending: list[Wire] = []
        self._unrecorded: list[Event] = []
        self._told_before: Sequence[Event] = ()
        self._snapshot_due = True
        self._snapshot_at = 0.0
        self._recorder: Recorder | None = None
        self._is_record_behind = False
        self._open_again_at = 0.0
        self._opened_late: Recorder | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._journal = Journal(run_folder(self._run_id))
        self._late: list[Journal] = []
        self._look_at_late_at = 0.0
        self._closing = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    def resume(self, summary: Summary, sequence: int, told: Sequence[Event] = ()) -> None:
        """Go on where an earlier supervisor was; viewers count a few numbers that it took along as lost.

        ``told`` is what it had said, of which its record may lack the last moments.
        """
        self.summary = summary
        self._told_before = told
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
        self._unrecorded.extend(events)
        if problem:
            self._warn(f"the log of the run is not complete: {problem}")
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

    def _warn(self, message: str) -> None:
        self.say_all([ev.Warned(at=time.time(), message=message)])

    async def open(self) -> None:
        """Start to publish; the record opens beside it, since its library takes a second to import."""
        self._loop_task = asyncio.create_task(self._publish_often())
        self._opening = asyncio.create_task(self._open_recorder())

    async def close(self, last: Event, result: dict[str, str]) -> None:
        """Publish and record all that is left.

        Viewers learn of the ``last`` event, the final state, together with where the result lies, and when the record is
        whole: what they look for then is there.
        """
        self._closing.set()
        if self._loop_task is not None:
            await asyncio.wait([self._loop_task])
        self.say_all([last])
        if self._opening is not None:
            await self._record_rest()
        await self._flush(result)
        self._journal.close()

    async def complete(self) -> None:
        """Write what could not be written of the log and the record of a run that is over, when there is room again.

        The end of a run does not wait for that: its values are handed out before.
        """
        until, pause_s = time.monotonic() + COMPLETE_WITHIN_S, COMPLETE_EVERY_S
        record_at = time.monotonic() + pause_s
        while not self._is_abandoned and (self._is_log_behind or self._is_record_behind) and time.monotonic() < until:
            await asyncio.sleep(COMPLETE_EVERY_S)
            was_behind = self._is_log_behind
            self._journal.close()
            self._write_late_logs()
            # the record holds the logs; where they found room, it may do so too
            if self._is_record_behind and not self._is_log_behind and (was_behind or time.monotonic() >= record_at):
                await self._finish_late()
                pause_s = min(2 * pause_s, COMPLETE_AT_LEAST_EVERY_S)
                record_at = time.monotonic() + pause_s

    async def _finish_late(self) -> None:
        if self._recorder is None:
            await self._open_late()
        if self._finishing is None or (self._finishing.done() and self._finishing.exception() is not None):
            # what it lacked is no more missing
            told = tuple(text for text in self.summary.warnings if not text.startswith(ev.RECORD_NOT_COMPLETE))
            self._begin_to_finish(replace(self.summary, warnings=told))
        if self._finishing is None:
            return  # the registry does not even open
        await asyncio.wait({self._finishing})
        if self._finishing.exception() is None:
            self._is_record_behind = False
            with contextlib.suppress(OSError):  # then it is told for one that goes on a while longer
                await self._worker.scheduler.hops_recorded(run_id=self._run_id)

    def abandon(self) -> None:
        """Say and write nothing more: another supervisor does, or is about to."""
        self._is_abandoned = True
        self._closing.set()
        self._journal.close()

    async def _open_recorder(self) -> None:
        if self._record_with is None:
            return
        recorder, problem = await self._opened(self._record_with)
        if recorder is None:
            self._is_record_behind = True
            self._warn(f"{NOT_RECORDED}: {problem}")
            return
        if self._told_before:
            recorder.recall(self._told_before)
            self._told_before = ()
        # at once: a run that says nothing for hours must not be behind in its record for so long
        recorder.events(self._take_unrecorded())
        self._recorder = recorder

    async def _open_late(self) -> None:
        """Try again to open a record that could not be opened; what was said since is in the log."""
        assert self._record_with is not None
        if self._opened_late is None:
            self._opened_late, _ = await self._opened(self._record_with)
        if self._opened_late is not None and not self._journal.is_behind:
            self._take_unrecorded()
            self._recorder = self._opened_late
            self._recorder.recall(list(read_journal(run_folder(self._run_id))))

    async def _opened(self, record_with: Callable[[Path], Recorder]) -> tuple[Recorder | None, str]:
        """Open the record, or say why it cannot be."""
        self._open_again_at = time.monotonic() + OPEN_AGAIN_EVERY_S
        try:
            return await asyncio.to_thread(record_with, run_folder(self._run_id)), ""
        except Exception as error:  # whatever a store's library raises, the run goes on without its record
            logger.warning("run %s is not recorded", self._run_id, exc_info=error)
            return None, in_a_sentence(error)

    async def _look_after_what_waits(self) -> None:
        """Write logs of trials for which there is room by now, and open a record that could not be opened."""
        now = time.monotonic()
        if self._late and now >= self._look_at_late_at:
            self._look_at_late_at = now + COMPLETE_EVERY_S
            self._write_late_logs()
        if self._recorder is None and self._is_record_behind:
            # the log has it
            del self._unrecorded[:]
            if now >= self._open_again_at and not self._journal.is_behind:
                await self._open_late()

    async def _record_rest(self) -> None:
        assert self._opening is not None
        within_s = RECORD_OF_MANY_WITHIN_S if self._is_long else self._record_within_s
        until = time.monotonic() + within_s
        await asyncio.wait({self._opening}, timeout=within_s)
        if self._recorder is not None and self._is_log_behind:
            # the record holds the log
            self._record_failed("the log waits for room on the disk")
            return
        if self._recorder is not None:
            self._begin_to_finish(self.summary)
            assert self._finishing is not None
            await asyncio.wait({self._finishing}, timeout=max(0.0, until - time.monotonic()))
            if self._finishing.done():
                # whatever a store's library raises, the run's values must be handed out
                if isinstance(error := self._finishing.exception(), Exception):
                    logger.warning("the record of run %s is not complete", self._run_id, exc_info=error)
                    self._record_failed(in_a_sentence(error))
                return
        if self._is_long:
            # its values wait for nothing; the record says that it goes on until it is whole
            self._is_record_behind = True
        elif not self._is_record_behind and (self._recorder is not None or not self._opening.done()):
            self._record_failed(f"the registry did not answer within {within_s:.0f} s")

    @property
    def _is_long(self) -> bool:
        return isinstance(self.summary, Run) and self._sequence > MANY_EVENTS

    def _begin_to_finish(self, summary: Summary) -> None:
        if self._recorder is not None:
            # it is by now, if it could not be opened at first
            told = tuple(text for text in summary.warnings if not text.startswith(NOT_RECORDED))
            summary = replace(summary, warnings=told)
            self._recorder.events(self._take_unrecorded())
            self._finishing = asyncio.create_task(asyncio.to_thread(self._recorder.finish, summary))
            # looked at later, or by nobody if the worker ends before
            self._finishing.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _record_failed(self, why: str) -> None:
        self._is_record_behind = True
        self._warn(f"{ev.RECORD_NOT_COMPLETE}: {why}")

    def _take_unrecorded(self) -> list[Event]:
        events, self._unrecorded = self._unrecorded, []
        return events

    async def _publish_often(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), PUBLISH_EVERY_S)
            if not self._closing.is_set():
                await self._look_after_what_waits()
            if (self._pending or self._snapshot_due) and not self._is_abandoned:
                try:
                    await self._flush()
                except OSError as error:
                    logger.warning("the scheduler cannot be reached from run %s: %s; trying again", self._run_id, error)

    async def _flush(self, result: dict[str, str] | None = None) -> None:
        batch, self._pending = self._pending, []
        self._sequence += len(batch)
        if self._recorder is not None:
            self._recorder.events(self._take_unrecorded())
        now = time.monotonic()
        snapshot = b""
        if result is not None or self._snapshot_due or now - self._snapshot_at > SNAPSHOT_EVERY_S:
            snapshot, self._snapshot_due, self._snapshot_at = pickle.dumps(self.summary), False, now
        try:
            answer = await self._worker.scheduler.hops_publish(
                run_id=self._run_id,
                sequence=self._sequence,
                events=batch,
                snapshot=snapshot,
                result=result,
                is_recorded=not self._is_record_behind,
                term=self.term,
            )
        except OSError:
            # said again under the same numbers, so that whoever did hear it does not count it twice
            self._pending, self._snapshot_due = batch + self._pending, True
            self._sequence -= len(batch)
            raise
        if answer == "superseded":
            self._on_superseded()
