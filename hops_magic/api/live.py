"""Follows what lives: runs on the cluster, the registry, the catalog; and says what has changed.

One thread looks once a second, as long as a viewer has asked for anything of late; one more follows each run that lives.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hops_magic.errors import HopsError
from hops_magic.runs.run import Run
from hops_magic.runs.study import Study

if TYPE_CHECKING:
    from hops_magic.api.context import Context
    from hops_magic.engine.submit import RunHandle, StudyHandle

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
TELL_EVERY_S = 0.1
ROWS_EVERY_S = 1.0
MOST_KEPT = 64


class LiveRuns:
    """The runs of the cluster in use, as they are now; threads may share it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: OrderedDict[str, RunHandle | StudyHandle] = OrderedDict()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._looker: threading.Thread | None = None
        self._stamps: dict[str, Any] = {}

    def handle(self, run_id: str) -> RunHandle | StudyHandle | None:
        """Return the way to a run that is followed."""
        with self._lock:
            return self._handles.get(run_id)

    def summary(self, run_id: str) -> Run | Study | None:
        """Return a run that is followed, as it is now."""
        handle = self.handle(run_id)
        return None if handle is None else handle.follower.run

    def summaries(self) -> dict[str, Run | Study]:
        """Return all runs that are followed and not over."""
        with self._lock:
            found = {run_id: handle.follower.run for run_id, handle in self._handles.items()}
        return {run_id: run for run_id, run in found.items() if not run.state.is_final}

    def watch(self) -> None:
        """See to it that changes are noticed."""
        self._context.changes.hear()
        with self._lock:
            if self._looker is None and not self._closing.is_set():
                self._looker = threading.Thread(target=self._look_often, name="hops-look", daemon=True)
                self._looker.start()

    def look(self) -> None:
        """Look once, and say what has changed."""
        topics: list[str] = []
        for name, look in (("cluster", self._look_at_cluster), ("features", self._catalog), ("runs", self._registry)):
            try:
                stamp = look()
            except HopsError as error:
                # told to whoever asks for it; here only that it became so
                stamp = str(error)
            if self._stamps.get(name, _NOTHING) != stamp:
                topics += [] if name not in self._stamps else ["runs", "models"] if name == "runs" else [name]
                self._stamps[name] = stamp
        self._context.changes.say(topics)

    def close(self) -> None:
        """Follow nothing more."""
        self._closing.set()
        with self._lock:
            handles = list(self._handles.values())
            self._handles.clear()
        for handle in handles:
            handle.follower.close()
            handle.follower.wake()
        if self._looker is not None:
            self._looker.join(timeout=5)

    # -- looking ---------------------------------------------------------------------------------------------------

    def _look_often(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            if not self._context.changes.is_heard:
                continue
            try:
                self.look()
            # whatever a store or a cluster comes to: the next look may find it better
            except Exception:
                log.warning("looking for changes failed", exc_info=True)

    def _look_at_cluster(self) -> Any:
        from hops_magic.engine.submit import live_runs

        with self._context.cluster_lock:
            cluster = self._context.cluster()
            if cluster is None:
                return None
            status, known = cluster.status(), live_runs(cluster.client)
            for run in known:
                if not run.is_final and self.handle(run.run_id) is None:
                    self._follow(run.run_id)
        workers = [(worker.name, worker.slots_free, worker.memory_bytes >> 24) for worker in status.workers]
        return cluster.address, workers, status.runs

    def _catalog(self) -> Any:
        return self._context.features.catalog.state()

    def _registry(self) -> Any:
        return self._context.registry.state()

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
        """Say each change of a run, at most ten times a second, and of its row in lists once a second."""
        row_at = 0.0
        state = None
        try:
            for run in self._changes_of(handle):
                topics = [f"run/{handle.run_id}"]
                if run.state is not state or time.monotonic() - row_at >= ROWS_EVERY_S:
                    state, row_at = run.state, time.monotonic()
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


_NOTHING = object()
