"""How the events of a run, or of a study, reach its journal, its record and its viewers.

The supervisor numbers events and publishes them in batches; the scheduler keeps the last batches and the newest summary. A
viewer takes the summary, then every batch after its number, and folds the same ``advance``.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic

from distributed import Client

from hops_magic.engine.attach import EmbeddedClient, SteadyClient
from hops_magic.engine.placement import TOPIC_PREFIX
from hops_magic.errors import ClusterError, NotFoundError
from hops_magic.runs import events as ev
from hops_magic.runs.study import Study
from hops_magic.runs.summary import Summary, fold

LOOK_WHEN_QUIET_S = 2.0
LOOK_AT_LEAST_EVERY_S = 30.0
MOST_BEHIND = 10
"""Batches that wait to be folded at most: more are skipped, by the summary that includes them."""
MANY_AT_ONCE = 1_000
"""Events of one batch that are folded at most: the summary of who said them, which comes with more, takes less time."""


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

    @property
    def silent_since(self) -> float | None:
        """When the cluster was last heard, seconds since the epoch, if the connection is lost and looked for again."""
        return self._client.silent_since if isinstance(self._client, SteadyClient) else None

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
            has_news = bool(self._batches)
            if len(self._batches) > MOST_BEHIND:
                self._jump()
            while self._batches:
                batch = self._batches.popleft()
                if batch["n"] > self._sequence:
                    # some were lost on the way, or a supervisor that took over knows better what there was
                    with contextlib.suppress(OSError):
                        self._catch_up()
                self._fold(batch)
            self._check_connection()
            if not self.is_connected:
                look_at = time.monotonic()  # at once, when it is again
            elif has_news:
                look_at = time.monotonic() + pause
            elif time.monotonic() >= look_at:
                self._look()
                pause = min(2 * pause, LOOK_AT_LEAST_EVERY_S)
                look_at = time.monotonic() + pause
            yield self.run

    def _check_connection(self) -> None:
        if isinstance(self._client, SteadyClient) and self._client.has_new_scheduler:
            raise ClusterError(
                f"the scheduler was started anew, and knows run {self.run_id} no more: "
                f"%experiments show {self.run_id} has its record{self._way_on()}"
            )
        if self._client.status in ("running", "connecting"):
            return
        if isinstance(self._client, EmbeddedClient):
            raise ClusterError(
                f"the embedded cluster has ended, and with it run {self.run_id}: %experiments show {self.run_id} has its "
                f"record{self._way_on()}"
            )
        raise ClusterError(f"the connection to the cluster was lost: %attach {self.run_id} follows the run again")

    def _way_on(self) -> str:
        name = self.run.name or self.run_id
        return f", --resume {name} goes on with its trials" if isinstance(self.run, Study) else ", run the cell again"

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

    def _jump(self) -> None:
        """Take the newest summary, so that a run that says more than can be followed is shown, and ends, as it stands."""
        with contextlib.suppress(OSError):
            left = self._client.sync(self._client.scheduler.hops_snapshot, run_id=self.run_id)
            if left is not None and left["snapshot"] and left["sequence"] > self._sequence:
                self._sequence, self.run = left["sequence"], pickle.loads(left["snapshot"])

    def _fold(self, batch: dict[str, Any]) -> None:
        first, wires = batch["n"], batch["events"]
        skip = max(0, self._sequence - first)
        if len(wires) - skip > MANY_AT_ONCE:
            self._jump()
            skip = max(0, self._sequence - first)
        if skip >= len(wires):
            return
        self.run = fold(self.run, [ev.from_wire(wire) for wire in wires[skip:]])
        self._sequence = first + len(wires)
