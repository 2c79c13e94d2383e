"""Follows the runs that live on the cluster in use, a thread for each, and says when they change."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hops_magic.errors import HopsError
from hops_magic.runs.run import RankView, Run
from hops_magic.runs.study import Study

if TYPE_CHECKING:
    from hops_magic.api.context import Context
    from hops_magic.engine.status import ClusterStatus
    from hops_magic.engine.submit import RunHandle, StudyHandle

log = logging.getLogger(__name__)

TELL_EVERY_S = 0.1
MOST_KEPT = 64


class LiveRuns:
    """The runs of the cluster in use, as they are now; threads may share it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: OrderedDict[str, RunHandle | StudyHandle] = OrderedDict()
        self._recorded: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def handle(self, run_id: str) -> RunHandle | StudyHandle | None:
        """Return the way to a run that is followed."""
        with self._lock:
            return self._handles.get(run_id)

    def summary(self, run_id: str) -> Run | Study | None:
        """Return a run that is followed, as it is now."""
        handle = self.handle(run_id)
        return None if handle is None else handle.follower.run

    def is_heard(self, run_id: str) -> bool:
        """Whether news of a run come from its cluster: it is followed, and the connection stands."""
        handle = self.handle(run_id)
        return handle is not None and handle.follower.is_connected

    def summaries(self) -> dict[str, Run | Study]:
        """Return all runs that are followed and not over."""
        with self._lock:
            found = {run_id: handle.follower.run for run_id, handle in self._handles.items()}
        return {run_id: run for run_id, run in found.items() if not run.state.is_final}

    def unrecorded(self) -> list[Run | Study]:
        """Return the runs that are followed and have no record yet."""
        from hops_magic.api.beginning import is_recorded

        found = []
        for run_id, run in self.summaries().items():
            if run_id not in self._recorded:
                if is_recorded(self._context, run_id):
                    self._recorded.add(run_id)
                else:
                    found.append(run)
        return found

    def ranks(self) -> list[RankView]:
        """Return the ranks that live, of runs; those of trials say nothing here."""
        runs = [run for run in self.summaries().values() if isinstance(run, Run)]
        return [rank for run in runs for rank in run.ranks.values() if rank.alive]

    def find(self) -> ClusterStatus | None:
        """Begin to follow the runs of the cluster in use that are not followed yet; return its status."""
        from hops_magic.engine.submit import live_runs

        with self._context.cluster_lock:
            cluster = self._context.cluster()
            if cluster is None:
                return None
            status, known = cluster.status(), live_runs(cluster.client)
            for run in known:
                if not run.is_final and self.handle(run.run_id) is None:
                    self._follow(run.run_id)
        return status

    def close(self) -> None:
        """Follow nothing more."""
        self._closing.set()
        with self._lock:
            handles = list(self._handles.values())
            self._handles.clear()
        for handle in handles:
            handle.follower.close()
            handle.follower.wake()

    # -- following -------------------------------------------------------------------------------------------------

    def _follow(self, run_id: str) -> None:
        from hops_magic.engine.submit import attach

        cluster = self._context.cluster()
        if cluster is None:
            return
        handle = attach(cluster.client, run_id)
        with self._lock:
            self._handles[run_id] = handle
            while len(self._handles) > MOST_KEPT:
                oldest = next((key for key, kept in self._handles.items() if kept.follower.run.state.is_final), None)
                if oldest is None:
                    break
                del self._handles[oldest]
        threading.Thread(target=self._tell, args=(handle,), name=f"hops-follow-{run_id}", daemon=True).start()
        self._context.changes.say(["runs"])

    def _tell(self, handle: RunHandle | StudyHandle) -> None:
        """Say each change of a run, at most ten times a second, and of its row in lists now and then."""
        state = None
        try:
            for run in self._changes_of(handle):
                topics = [f"run/{handle.run_id}"]
                if run.state is not state or self._context.looker.is_row_due():
                    state = run.state
                    topics.append("runs")
                self._context.changes.say(topics)
        except HopsError as error:
            log.info("run %s is followed no more: %s", handle.run_id, error)
            with self._lock:
                self._handles.pop(handle.run_id, None)
            self._context.changes.say([f"run/{handle.run_id}", "runs", "cluster"])
        finally:
            handle.follower.close()

    def _changes_of(self, handle: RunHandle | StudyHandle) -> Iterator[Run | Study]:
        last: Run | Study | None = None
        for run in handle.follower.updates():
            if self._closing.is_set():
                return
            if run is not last:
                last = run
                yield run
                if not run.state.is_final:
                    # what comes meanwhile is told together
                    self._closing.wait(TELL_EVERY_S)
