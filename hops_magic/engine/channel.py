"""How the events of a run, or of a study, reach its journal, its record and its viewers.

The supervisor numbers events and publishes them in batches; the scheduler keeps the last batches and the newest summary. A
viewer takes the summary, then every batch after its number, and folds the same ``advance``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

from distributed import Client, Worker

from hops_magic.engine.job import Recorder, run_folder
from hops_magic.engine.journal import Journal
from hops_magic.engine.placement import TOPIC_PREFIX
from hops_magic.errors import ClusterError, NotFoundError, in_a_sentence
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire
from hops_magic.runs.summary import Summary, fold

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 0.1
SNAPSHOT_EVERY_S = 2.0
RECORD_WITHIN_S = 30.0
LOOK_WHEN_QUIET_S = 2.0
LOOK_AT_LEAST_EVERY_S = 30.0


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
    """

    def __init__(
        self,
        summary: Summary,
        worker: Worker,
        open_recorder: Callable[[Path], Recorder] | None,
        record_within_s: float = RECORD_WITHIN_S,
    ) -> None:
        self.summary: Summary = summary
        self._worker, self._record_with = worker, open_recorder
        self._record_within_s = record_within_s
        self._run_id = summary.run_id
        self._sequence = 0
        self._pending: list[Wire] = []
        self._unrecorded: list[Event] = []
        self._snapshot_due = True
        self._snapshot_at = 0.0
        self._recorder: Recorder | None = None
        self._journal = Journal(run_folder(self._run_id))
        self._closing = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    def resume(self, summary: Summary, sequence: int) -> None:
        """Go on where an earlier supervisor was; viewers count a few numbers that it took along as lost."""
        self.summary = summary
        self._sequence = sequence + 1_000

    def say_all(self, events: Sequence[Event]) -> None:
        """Fold events and queue them for everyone."""
        self.summary = fold(self.summary, events)
        self._snapshot_due = self._snapshot_due or any(
            isinstance(event, ev.StateChanged | ev.Restarted | ev.ResultReady) for event in events
        )
        wires = [ev.to_wire(event) for event in events]
        problem = self._journal.write(wires)
        self._pending.extend(wires)
        self._unrecorded.extend(events)
        if problem:
            self._warn(f"the log of the run is not complete: {problem}")

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

    async def _open_recorder(self) -> None:
        if self._record_with is None:
            return
        try:
            self._recorder = await asyncio.to_thread(self._record_with, run_folder(self._run_id))
        except Exception as error:  # whatever a store's library raises, the run goes on without its record
            logger.warning("run %s is not recorded", self._run_id, exc_info=error)
            self._warn(f"the run is not recorded: {in_a_sentence(error)}")

    async def _record_rest(self) -> None:
        assert self._opening is not None
        try:
            async with asyncio.timeout(self._record_within_s):
                await self._opening
                if self._recorder is not None:
                    self._recorder.events(self._take_unrecorded())
                    await asyncio.to_thread(self._recorder.finish, self.summary)
        except TimeoutError as error:
            text = str(error) or f"the registry did not answer within {self._record_within_s:.0f} s"
            self._warn(f"the record of the run is not complete: {text}")
        except Exception as error:  # whatever a store's library raises, the run's values must be handed out
            logger.warning("the record of run %s is not complete", self._run_id, exc_info=error)
            self._warn(f"the record of the run is not complete: {in_a_sentence(error)}")

    def _take_unrecorded(self) -> list[Event]:
        events, self._unrecorded = self._unrecorded, []
        return events

    async def _publish_often(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), PUBLISH_EVERY_S)
            if self._pending or self._snapshot_due:
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
            await self._worker.scheduler.hops_publish(
                run_id=self._run_id, sequence=self._sequence, events=batch, snapshot=snapshot, result=result
            )
        except OSError:
            # said again under the same numbers, so that whoever did hear it does not count it twice
            self._pending, self._snapshot_due = batch + self._pending, True
            self._sequence -= len(batch)
            raise


class _Fanout:
    """A client has one handler per topic: it serves every follower of a run in this process."""

    def __init__(self) -> None:
        self._followers: list[Follower[Any]] = []

    def __call__(self, event: tuple[float, dict[str, Any]]) -> None:
        for follower in list(self._followers):
            follower.on_batch(event[1])

    @property
    def is_empty(self) -> bool:
        """Whether nobody follows."""
        return not self._followers

    def join(self, follower: Follower[Any]) -> None:
        self._followers.append(follower)

    def leave(self, follower: Follower[Any]) -> bool:
        """Return whether nobody is left."""
        if follower in self._followers:
            self._followers.remove(follower)
        return not self._followers


class Follower(Generic[Summary]):
    """A viewer's end: folds events into summaries. Threads: Dask's loop feeds it, one other thread reads.

    Parameters
    ----------
    client
        Of the cluster where the run is.
    run_id
        The run's or the study's.
    unknown
        What to show of it before anything is known.
    """

    def __init__(self, client: Client, run_id: str, unknown: Summary) -> None:
        self._client, self.run_id, self._topic = client, run_id, TOPIC_PREFIX + run_id
        self._batches: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._sequence = -1
        self.run: Summary = unknown

    @property
    def is_connected(self) -> bool:
        """Whether news can come: not while the connection to the scheduler is lost."""
        return bool(self._client.status == "running")

    def open(self) -> None:
        """Catch up with what has been and subscribe to what comes.

        Raises
        ------
        NotFoundError
            If the cluster knows no such run.
        """
        self._subscribe()
        if not self._catch_up():
            self.close()
            raise NotFoundError(f"the cluster knows no run {self.run_id}: %attach lists those it knows")

    def close(self) -> None:
        """Unsubscribe."""
        fanout = self._client._event_handlers.get(self._topic)
        if isinstance(fanout, _Fanout) and fanout.leave(self) and self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)

    def wake(self) -> None:
        """Make :meth:`updates` give its reader a turn now."""
        with self._news:
            self._news.notify_all()

    def updates(self, every_s: float = 0.2) -> Iterator[Summary]:
        """Yield the summary whenever it changed, and at least each ``every_s`` seconds, until it is final.

        Raises
        ------
        ClusterError
            If the connection to the cluster is lost; the run itself goes on.
        """
        yield self.run
        pause, look_at = LOOK_WHEN_QUIET_S, time.monotonic() + LOOK_WHEN_QUIET_S
        while not self.run.state.is_final:
            with self._news:
                if not self._batches:
                    self._news.wait(every_s)
            if self._batches:
                look_at = time.monotonic() + pause
            elif time.monotonic() >= look_at:
                self._look()
                pause = min(2 * pause, LOOK_AT_LEAST_EVERY_S)
                look_at = time.monotonic() + pause
            while self._batches:
                batch = self._batches.popleft()
                if batch["n"] > self._sequence:
                    # some were lost on the way, or a supervisor that took over knows better what there was
                    with contextlib.suppress(OSError):
                        self._catch_up()
                self._fold(batch)
            if self._client.status not in ("running", "connecting"):
                raise ClusterError(f"the connection to the cluster was lost: %attach {self.run_id} follows the run again")
            yield self.run

    def _subscribe(self) -> None:
        fanout = self._client._event_handlers.get(self._topic)
        if not isinstance(fanout, _Fanout) or fanout.is_empty:
            # Dask keeps the handler of a topic that is unsubscribed, so one that is left over says nothing
            fanout = _Fanout()
            self._client.subscribe_topic(self._topic, fanout)
        fanout.join(self)

    def on_batch(self, batch: dict[str, Any]) -> None:
        """Take a batch of events; called in Dask's loop."""
        with self._news:
            self._batches.append(batch)
            self._news.notify_all()

    def _look(self) -> None:
        """See whether anything was said unheard: just before a subscription began, or while a connection was lost."""
        with contextlib.suppress(OSError):
            if self._client.sync(self._client.scheduler.hops_last, run_id=self.run_id) > self._sequence:
                self._catch_up()

    def _catch_up(self) -> bool:
        """Take the newest summary and what was told after it; False if the cluster knows no such run."""
        left = self._client.sync(self._client.scheduler.hops_snapshot, run_id=self.run_id)
        if left is None:
            return False
        if left["sequence"] > self._sequence:
            self._sequence = left["sequence"]
            if left["snapshot"]:
                self.run = pickle.loads(left["snapshot"])
        for _, batch in self._client.get_events(self._topic):
            self._fold(batch)
        return True

    def _fold(self, batch: dict[str, Any]) -> None:
        first, wires = batch["n"], batch["events"]
        skip = max(0, self._sequence - first)
        if skip >= len(wires):
            return
        self.run = fold(self.run, [ev.from_wire(wire) for wire in wires[skip:]])
        self._sequence = first + len(wires)
