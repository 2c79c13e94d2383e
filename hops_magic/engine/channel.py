"""How a run's events reach its journal, its record and its viewers.

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
from collections.abc import Iterator, Sequence
from typing import Any

from distributed import Client, Worker

from hops_magic.engine.job import Job, Recorder, run_folder
from hops_magic.engine.journal import Journal
from hops_magic.engine.placement import TOPIC_PREFIX
from hops_magic.errors import ClusterError, NotFoundError, RegistryError
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire
from hops_magic.runs.run import Run, advance, advance_all

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 0.1
SNAPSHOT_EVERY_S = 2.0
RECORD_WITHIN_S = 30.0


class Publisher:
    """A supervisor's way out; belongs to the worker's event loop."""

    def __init__(self, job: Job, worker: Worker) -> None:
        self.job, self._worker = job, worker
        options = job.options
        self.run = Run(
            run_id=job.run_id,
            name=job.name,
            experiment=job.experiment,
            world_size=options.workers,
            created_at=job.created_at,
        )
        self._sequence = 0
        self._pending: list[Wire] = []
        self._unrecorded: list[Event] = []
        self._snapshot_due = True
        self._snapshot_at = 0.0
        self._recorder: Recorder | None = None
        self._journal = Journal(run_folder(job.run_id))
        self._closing = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    def resume(self, run: Run, sequence: int) -> None:
        """Go on where an earlier supervisor was; viewers count a few numbers that it took along as lost."""
        self.run, self._sequence = run, sequence + 1_000

    def say_all(self, events: Sequence[Event]) -> None:
        """Fold events and queue them for everyone."""
        for event in events:
            self.run = advance(self.run, event)
            self._snapshot_due = self._snapshot_due or isinstance(event, ev.StateChanged | ev.Restarted | ev.ResultReady)
        self._pending.extend(ev.to_wire(event) for event in events)
        self._unrecorded.extend(events)

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
            await self._loop_task
        self.say_all([last])
        if self._opening is not None:
            await self._record_rest()
        await self._flush(result)
        self._journal.close()

    async def _open_recorder(self) -> None:
        if self.job.open_recorder is None:
            return
        try:
            self._recorder = await asyncio.to_thread(self.job.open_recorder, run_folder(self.job.run_id))
        except RegistryError as error:
            self.say_all([ev.Warned(at=time.time(), message=f"the run is not recorded: {error}")])

    async def _record_rest(self) -> None:
        assert self._opening is not None
        try:
            async with asyncio.timeout(RECORD_WITHIN_S):
                await self._opening
                if self._recorder is not None:
                    self._recorder.events(self._take_unrecorded())
                    await asyncio.to_thread(self._recorder.finish, self.run)
        except (RegistryError, TimeoutError) as error:
            text = str(error) or f"the registry did not answer within {RECORD_WITHIN_S:.0f} s"
            self.say_all([ev.Warned(at=time.time(), message=f"the record of the run is not complete: {text}")])

    def _take_unrecorded(self) -> list[Event]:
        events, self._unrecorded = self._unrecorded, []
        return events

    async def _publish_often(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), PUBLISH_EVERY_S)
            if self._pending or self._snapshot_due:
                await self._flush()

    async def _flush(self, result: dict[str, str] | None = None) -> None:
        batch, self._pending = self._pending, []
        self._sequence += len(batch)
        self._journal.write(batch)
        if self._recorder is not None:
            self._recorder.events(self._take_unrecorded())
        now = time.monotonic()
        snapshot = b""
        if result is not None or self._snapshot_due or now - self._snapshot_at > SNAPSHOT_EVERY_S:
            snapshot, self._snapshot_due, self._snapshot_at = pickle.dumps(self.run), False, now
        await self._worker.scheduler.hops_publish(
            run_id=self.job.run_id, sequence=self._sequence, events=batch, snapshot=snapshot, result=result
        )


class _Fanout:
    """A client has one handler per topic: it serves every follower of a run in this process."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []

    def __call__(self, event: tuple[float, dict[str, Any]]) -> None:
        for follower in list(self._followers):
            follower.on_batch(event[1])

    def join(self, follower: Follower) -> None:
        self._followers.append(follower)

    def leave(self, follower: Follower) -> bool:
        """Return whether nobody is left."""
        if follower in self._followers:
            self._followers.remove(follower)
        return not self._followers


class Follower:
    """A viewer's end: folds a run's events into summaries. Threads: Dask's loop feeds it, one other thread reads."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client, self.run_id, self._topic = client, run_id, TOPIC_PREFIX + run_id
        self._batches: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._sequence = -1
        self.run = Run(run_id=run_id)

    def open(self) -> None:
        """Catch up with what has been and subscribe to what comes.

        Raises
        ------
        NotFoundError
            If the cluster knows no such run.
        """
        self._subscribe()
        left = self._client.sync(self._client.scheduler.hops_snapshot, run_id=self.run_id)
        if left is None:
            self.close()
            raise NotFoundError(f"the cluster knows no run {self.run_id}: %attach lists those it knows")
        if left["snapshot"]:
            self.run, self._sequence = pickle.loads(left["snapshot"]), left["sequence"]
        else:
            info = left["info"]
            self.run = Run(
                run_id=self.run_id,
                name=info["name"],
                experiment=info["experiment"],
                world_size=info["world_size"],
                created_at=info["created_at"],
            )
            self._sequence = 0
        for _, batch in self._client.get_events(self._topic):
            self._fold(batch)

    def close(self) -> None:
        """Unsubscribe."""
        fanout = self._client._event_handlers.get(self._topic)
        if isinstance(fanout, _Fanout) and fanout.leave(self) and self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)

    def wake(self) -> None:
        """Make :meth:`updates` give its reader a turn now."""
        with self._news:
            self._news.notify_all()

    def updates(self, every_s: float = 0.2) -> Iterator[Run]:
        """Yield the summary whenever it changed, and at least each ``every_s`` seconds, until it is final.

        Raises
        ------
        ClusterError
            If the connection to the cluster is lost; the run itself goes on.
        """
        yield self.run
        while not self.run.state.is_final:
            with self._news:
                if not self._batches:
                    self._news.wait(every_s)
            while self._batches:
                self._fold(self._batches.popleft())
            if self._client.status not in ("running", "connecting"):
                raise ClusterError(f"the connection to the cluster was lost: %attach {self.run_id} follows the run again")
            yield self.run

    def _subscribe(self) -> None:
        fanout = self._client._event_handlers.get(self._topic)
        if not isinstance(fanout, _Fanout):
            fanout = _Fanout()
            self._client.subscribe_topic(self._topic, fanout)
        fanout.join(self)

    def on_batch(self, batch: dict[str, Any]) -> None:
        """Take a batch of events; called in Dask's loop."""
        with self._news:
            self._batches.append(batch)
            self._news.notify_all()

    def _fold(self, batch: dict[str, Any]) -> None:
        first, wires = batch["n"], batch["events"]
        skip = max(0, self._sequence - first)
        if skip >= len(wires):
            return
        self.run = advance_all(self.run, (ev.from_wire(wire) for wire in wires[skip:]))
        self._sequence = first + len(wires)
