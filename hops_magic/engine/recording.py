"""A supervisor's way to the record of its run or study: it is opened, again if need be, told all, and ended in time.

A registry may be slow, away or hanging: the run goes on and ends without it, and its record is written when it can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hops_magic.engine.job import Recorder, run_folder
from hops_magic.engine.journal import Journal, read_journal
from hops_magic.errors import in_a_sentence
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event
from hops_magic.runs.summary import Summary

logger = logging.getLogger(__name__)

AGAIN_AFTER_S = 2.0
AGAIN_AT_LEAST_EVERY_S = 10.0
MOST_WAITING_EVENTS = 200_000
"""So many events wait in memory at most for a record that does not open; it is told more by the log of the run."""
STOPPED_WITHIN_S = 4.0
"""How long after a stop was asked for its run may wait for its record: a cell that was interrupted waits little longer."""
STOPPED_AT_ITS_END_WITHIN_S = 2.0
AT_LEAST_S = 1.0
"""A record always has so long: one that does not hang is written by then."""

Found = TypeVar("Found")


class Recording(Generic[Summary]):
    """The record of one run or study, as its supervisor sees it; belongs to the worker's event loop.

    Parameters
    ----------
    run_id
        Of the run or study.
    open_recorder
        Opens the record, given the run's folder; None for no record.
    journal
        Of the run, which has all that was said.
    say
        Tells viewers what becomes of the record.

    Attributes
    ----------
    is_behind : bool
        Whether the record of a run that is over is not whole yet.
    """

    def __init__(
        self,
        run_id: str,
        open_recorder: Callable[[Path], Recorder] | None,
        journal: Journal,
        say: Callable[[Event], None],
    ) -> None:
        self.is_behind = False
        self._run_id, self._record_with, self._journal, self._say = run_id, open_recorder, journal, say
        self._told_before: Sequence[Event] = ()
        self._waiting: list[Event] = []
        self._is_in_log_alone = False
        self._recorder: Recorder | None = None
        self._opening: asyncio.Task[None] | None = None
        self._opens_again_at, self._pause_s = 0.0, AGAIN_AFTER_S
        self._is_missing_told = False
        self._finishing: asyncio.Future[None] | None = None
        self._is_abandoned = self._is_ending = False
        self._hastened, self._hastened_until = asyncio.Event(), 0.0

    def recall(self, told: Sequence[Event]) -> None:
        """Take what an earlier supervisor had said, of which its record may lack the last moments."""
        self._told_before = told

    def take(self, events: Sequence[Event]) -> None:
        """Take what the run says, and is in its journal, or waits there for room."""
        self._waiting.extend(events)
        if self._recorder is None and len(self._waiting) > MOST_WAITING_EVENTS:
            self._waiting.clear()
            self._is_in_log_alone = True

    def begin(self) -> None:
        """Open the record beside all else, since its library takes a second to import."""
        if self._record_with is not None:
            self._open()

    def hand_over(self) -> None:
        """Give the record what it has not heard; open it, if that failed before and some time has passed."""
        if self._recorder is not None:
            self._recorder.events(self._take_waiting())
        elif self._opening is not None and time.monotonic() >= self._opens_again_at:
            self._open()

    def hasten(self) -> None:
        """Let the run end soon, with its record or without: somebody waits for its stop."""
        if not self._hastened.is_set():
            within_s = STOPPED_AT_ITS_END_WITHIN_S if self._is_ending else STOPPED_WITHIN_S
            self._hastened_until = time.monotonic() + within_s
            self._hastened.set()

    def abandon(self) -> None:
        """Write nothing more: another supervisor does."""
        self._is_abandoned = True
        if self._opening is not None:
            self._opening.cancel()

    # -- the end -----------------------------------------------------------------------------------------------------

    def postpone(self) -> None:
        """Let the end be written after the run's values are handed out, which writing much would hold up."""
        self.is_behind = self._opening is not None

    async def end(self, summary: Summary, within_s: float, *, is_log_behind: bool) -> None:
        """Write the end of a run, if that can be done in time; else it is behind, which viewers learn.

        ``is_log_behind`` says that a log, which the record holds, waits for room on its disk.
        """
        if self._opening is None:
            return
        self._is_ending, began = True, time.monotonic()
        self._open()
        await self._wait_for(self._opening, began + within_s)
        if self._recorder is not None and is_log_behind:
            self._failed("the log waits for room on the disk")
            return
        if self._recorder is not None:
            await self._wait_for(self._finish(summary), began + within_s)
        if self._finishing is not None and self._finishing.done():
            # whatever a store's library raises, the run's values must be handed out
            if isinstance(error := self._finishing.exception(), Exception):
                logger.warning("the record of run %s is not complete", self._run_id, exc_info=error)
                self._failed(in_a_sentence(error))
            return
        self.is_behind = True
        if self._recorder is not None or not self._is_missing_told:
            self._failed(f"{ev.NO_ANSWER} within {time.monotonic() - began:.0f} s")

    async def complete(self, summary: Summary, within_s: float) -> None:
        """Try again to write the end of a run that is over."""
        until = time.monotonic() + within_s
        self._open()
        assert self._opening is not None
        await asyncio.wait({self._opening}, timeout=within_s)
        if self._recorder is None:
            return
        finishing = self._finish(summary)
        await asyncio.wait({finishing}, timeout=max(AT_LEAST_S, until - time.monotonic()))
        self.is_behind = not finishing.done() or finishing.exception() is not None

    def _finish(self, summary: Summary) -> asyncio.Future[None]:
        going_on = self._finishing
        if going_on is None or (going_on.done() and going_on.exception() is not None):
            assert self._recorder is not None
            self._recorder.events(self._take_waiting())
            recorder = self._recorder
            # what it lacked is no more missing
            lacking = (ev.RECORD_NOT_COMPLETE, ev.NOT_RECORDED)
            whole = replace(summary, warnings=tuple(text for text in summary.warnings if not text.startswith(lacking)))
            going_on = self._finishing = _in_a_thread(lambda: recorder.finish(whole))
        return going_on

    async def _wait_for(self, work: asyncio.Future[None], until: float) -> None:
        hastened = asyncio.create_task(self._hastened.wait())
        began = time.monotonic()
        either: set[asyncio.Future[Any]] = {work, hastened}
        await asyncio.wait(either, timeout=max(0.0, until - began), return_when=asyncio.FIRST_COMPLETED)
        hastened.cancel()
        if self._hastened.is_set():
            until = min(until, max(self._hastened_until, began + AT_LEAST_S))
            await asyncio.wait({work}, timeout=max(0.0, until - time.monotonic()))

    def _failed(self, why: str) -> None:
        self.is_behind = True
        self._say(ev.Warned(at=time.time(), message=f"{ev.RECORD_NOT_COMPLETE}: {why}"))

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the record now, unless it is open or somebody is at it."""
        if self._is_in_log_alone and self._journal.is_behind:
            return  # the log does not have all yet that the record must be told
        if self._recorder is None and not self._is_abandoned and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self._try_to_open())

    async def _try_to_open(self) -> None:
        record_with = self._record_with
        assert record_with is not None
        self._opens_again_at = float("inf")
        try:
            recorder = await _in_a_thread(lambda: record_with(run_folder(self._run_id)))
            if told := await self._told():
                recorder.recall(told)
            # at once: a run that says nothing for hours must not be behind in its record for so long
            recorder.events(self._take_waiting())
        except Exception as error:  # whatever a store's library raises, the run goes on without its record
            logger.warning("run %s is not recorded", self._run_id, exc_info=error)
            self._opens_again_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, AGAIN_AT_LEAST_EVERY_S)
            if not self._is_missing_told:
                self._is_missing_told = True
                self._say(ev.Warned(at=time.time(), message=f"{ev.NOT_RECORDED}: {in_a_sentence(error)}"))
            return
        self._recorder = recorder
        if self._is_missing_told:
            self._say(ev.Noted(at=time.time(), message="the run is recorded now, with all that it had said"))

    async def _told(self) -> Sequence[Event]:
        """Return what the record must be told before all that waits."""
        if not self._is_in_log_alone:
            told, self._told_before = self._told_before, ()
            return told
        # what waits now is in the log as well; what is said from now on waits
        self._waiting.clear()
        self._is_in_log_alone = False
        size = self._journal.size
        return await asyncio.to_thread(lambda: list(read_journal(run_folder(self._run_id), size)))

    def _take_waiting(self) -> list[Event]:
        events, self._waiting = self._waiting, []
        return events


def _in_a_thread(work: Callable[[], Found]) -> asyncio.Future[Found]:
    """Do something that may never end: its thread does not keep the worker's process from ending, as a pool's would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Found] = loop.create_future()
    # looked at later, or by nobody if the worker ends before
    done.add_done_callback(lambda future: future.cancelled() or future.exception())

    def settle(found: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(found)
        else:
            done.set_exception(error)

    def run() -> None:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = work(), None
        except BaseException as error:  # noqa: BLE001 (it is raised where the outcome is awaited)
            outcome = None, error
        with contextlib.suppress(RuntimeError):  # the worker has ended meanwhile
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="hops-record", daemon=True).start()
    return done
