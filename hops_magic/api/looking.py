"""Looks for changes: at the cluster, the stores, and the journals of runs that this process cannot follow.

One thread looks once a second, as long as a viewer has asked for anything of late. It does what no request does: it opens
the registry ahead of them, which takes seconds the first time, and closes the records of runs whose cluster is gone.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.errors import HopsError

if TYPE_CHECKING:
    from hops_magic.api.context import Context

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
ROWS_EVERY_S = 2.0
RECONCILE_EVERY_S = 30.0
MOST_WATCHED = 64
# figures that move all the time are told when they have moved by so much
_CPU_STEP_PERCENT = 10
_MEMORY_STEP_BYTES = 16 << 20


class Looker:
    """Notices what changes without a message, and says so; threads may share it.

    Parameters
    ----------
    clock : callable
        Seconds that only go forward.
    """

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._clock = context, clock
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamps: dict[str, Any] = {}
        self._journals: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._rows_at = -math.inf
        self._reconciled_at = -math.inf

    def watch(self) -> None:
        """See to it that changes are noticed."""
        self._context.changes.hear()
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._look_often, name="hops-look", daemon=True)
                self._thread.start()

    def watch_journal(self, run_id: str) -> None:
        """Say when there is more of a run that is followed by its record alone; until it is final or long not asked for."""
        with self._lock:
            self._journals.setdefault(run_id, _stamp(self._journal(run_id)))
            self._journals.move_to_end(run_id)
            while len(self._journals) > MOST_WATCHED:
                self._journals.popitem(last=False)

    def forget_journal(self, run_id: str) -> None:
        """Look at a run's journal no more."""
        with self._lock:
            self._journals.pop(run_id, None)

    def journal_grew_at(self, run_id: str) -> float | None:
        """Return when a run's journal here was last written to, in seconds since the epoch; None if there is none."""
        changed_ns, _ = _stamp(self._journal(run_id))
        return changed_ns / 1e9 if changed_ns else None

    def is_row_due(self) -> bool:
        """Whether lists of runs may be told again; they are told at most every two seconds, however many runs live."""
        with self._lock:
            if self._clock() - self._rows_at < ROWS_EVERY_S:
                return False
            self._rows_at = self._clock()
            return True

    def look(self) -> None:
        """Look once, and say what has changed."""
        topics: list[str] = []
        for name, look in (("cluster", self._cluster), ("features", self._catalog), ("runs", self._registry)):
            stamp = _told(look)
            known = self._stamps.get(name, _NOTHING)
            if stamp == known:
                continue
            if known is not _NOTHING:
                if name == "runs" and not self.is_row_due():
                    # it stays another, and is told at one of the next looks
                    continue
                topics.append(name)
            if name == "cluster":
                self._reconcile_soon(known, stamp)
            if name == "runs":
                topics += self._models_topic()
            self._stamps[name] = stamp
        self._context.changes.say(topics + self._grown(is_recorded="runs" in topics))

    def reconcile(self) -> None:
        """Close the records of runs whose cluster is gone, at most every half minute."""
        if self._clock() - self._reconciled_at < RECONCILE_EVERY_S:
            return
        self._reconciled_at = self._clock()
        assert self._context.registry  # opened ahead: it can take seconds, in which nobody waits for the cluster
        with self._context.cluster_lock:
            # a connection that broke would look like a cluster without runs
            _told(self._context.cluster)
            lost = self._context.session.reconcile()
        if lost:
            self._context.changes.say(["runs", *(f"run/{run_id}" for run_id in lost)])

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _look_often(self) -> None:
        while not self._closing.is_set():
            if self._context.changes.is_heard:
                for step in (self.look, self.reconcile):
                    try:
                        step()
                    # whatever a store or a cluster comes to: the next look may find it better
                    except Exception:
                        log.warning("looking for changes failed", exc_info=True)
            self._closing.wait(LOOK_EVERY_S)

    def _reconcile_soon(self, known: Any, stamp: Any) -> None:
        was, now = (each[0] if isinstance(each, tuple) else None for each in (known, stamp))
        if was is not None and was != now:
            self._reconciled_at = -math.inf

    def _models_topic(self) -> list[str]:
        stamp = _told(self._context.registry.models_state)
        known = self._stamps.get("models", _NOTHING)
        self._stamps["models"] = stamp
        return ["models"] if known is not _NOTHING and known != stamp else []

    def _grown(self, *, is_recorded: bool) -> list[str]:
        """Return the topics of watched runs whose journals are longer, or, of those without one here, may be."""
        topics = []
        with self._lock:
            for run_id, known in self._journals.items():
                now = _stamp(self._journal(run_id))
                if now != known or (now == _MISSING and is_recorded):
                    self._journals[run_id] = now
                    topics.append(f"run/{run_id}")
        return topics

    def _journal(self, run_id: str) -> Path:
        return self._context.session.settings.runs / run_id / "events.jsonl"

    def _cluster(self) -> Any:
        status = self._context.live.find()
        if status is None:
            return None
        workers = [
            (
                worker.name,
                worker.slots_free,
                round(worker.cpu_percent / _CPU_STEP_PERCENT),
                worker.memory_bytes // _MEMORY_STEP_BYTES,
            )
            for worker in status.workers
        ]
        ranks = [
            (rank.worker, _steps(rank.cpu_percent, 5 * _CPU_STEP_PERCENT), _steps(rank.memory_bytes, 4 * _MEMORY_STEP_BYTES))
            for rank in self._context.live.ranks()
        ]
        return status.address, workers, status.runs, ranks

    def _catalog(self) -> Any:
        return self._context.features.catalog.state()

    def _registry(self) -> Any:
        return self._context.registry.state()


def _told(look: Callable[[], Any]) -> Any:
    """Return what is seen, or the sentence that says why nothing is: it is told to whoever asks for the thing itself."""
    try:
        return look()
    except HopsError as error:
        return str(error)


def _steps(value: float | None, step: int) -> int | None:
    return None if value is None else round(value / step)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return _MISSING
    return found.st_mtime_ns, found.st_size


_MISSING = (0, 0)
_NOTHING = object()
