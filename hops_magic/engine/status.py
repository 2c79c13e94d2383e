"""What a cluster is doing, as tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hops_magic.engine.gangs import owner


class ClusterKind(Enum):
    """How this session came by its cluster."""

    EMBEDDED = "embedded"
    """The user's own, started on this machine when first needed."""
    CONNECTED = "connected"
    """Reached by its address; runs on when this session leaves."""
    BORROWED = "borrowed"
    """A client or cluster object of the notebook."""

    @property
    def is_ours(self) -> bool:
        """Whether this package may end it."""
        return self is ClusterKind.EMBEDDED


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A worker; ``cpu_percent`` of one core and ``memory_bytes`` are those of its own process, not of its ranks."""

    name: str
    address: str
    host: str
    threads: int
    slots: int
    slots_free: int
    gpus: tuple[str, ...]
    cpu_percent: float
    memory_bytes: int
    memory_limit_bytes: int
    """0 for none."""


@dataclass(frozen=True, kw_only=True)
class RunningRun:
    """A run that is not over: it holds slots, or waits for them at ``queue_position`` (counted from 1)."""

    run_id: str
    name: str
    world_size: int
    slots: int
    queue_position: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """A cluster at one moment."""

    kind: ClusterKind
    address: str
    workers: tuple[WorkerStatus, ...] = ()
    runs: tuple[RunningRun, ...] = ()
    dashboard: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    started_at: float | None = None
    """Seconds since the epoch."""

    @property
    def slots(self) -> int:
        """Ranks that can run at once."""
        return sum(worker.slots for worker in self.workers)

    @property
    def slots_free(self) -> int:
        """Slots that no run holds."""
        return sum(worker.slots_free for worker in self.workers)


def status_from(
    kind: ClusterKind,
    scheduler: Mapping[str, Any],
    state: Mapping[str, Any],
    *,
    dashboard: str = "",
    versions: Mapping[str, str] | None = None,
) -> ClusterStatus:
    """Put together what Dask's scheduler and our placement say.

    Parameters
    ----------
    scheduler
        ``Client.scheduler_info()``.
    state
        Answer of placement's ``hops_state``; empty if the cluster has none.
    """
    held = state.get("held", {})
    taken: dict[str, int] = {}
    for address in (address for gang in held.values() for rank in gang for address in rank):
        taken[address] = taken.get(address, 0) + 1
    workers = [
        _worker(address, described, state, taken.get(address, 0))
        for address, described in scheduler.get("workers", {}).items()
    ]
    return ClusterStatus(
        kind=kind,
        address=str(scheduler.get("address", "")),
        workers=tuple(sorted(workers, key=lambda worker: (len(worker.name), worker.name))),
        runs=_runs(state, held),
        dashboard=dashboard,
        versions=versions or {},
        started_at=scheduler.get("started"),
    )


def _worker(address: str, described: Mapping[str, Any], state: Mapping[str, Any], taken: int) -> WorkerStatus:
    slots = int(state.get("slots", {}).get(address, 0))
    metrics = described.get("metrics", {})
    return WorkerStatus(
        name=str(described.get("name", address)),
        address=address,
        host=str(described.get("host", "")),
        threads=int(described.get("nthreads", 0)),
        slots=slots,
        slots_free=max(0, slots - taken),
        gpus=tuple(state.get("gpus", {}).get(address, ())),
        cpu_percent=float(metrics.get("cpu", 0.0)),
        memory_bytes=int(metrics.get("memory", 0)),
        memory_limit_bytes=int(described.get("memory_limit") or 0),
    )


def _runs(state: Mapping[str, Any], held: Mapping[str, Any]) -> tuple[RunningRun, ...]:
    # a study holds and awaits places of its own, one per trial
    held_slots: dict[str, int] = {}
    for run_id, gang in held.items():
        held_slots[owner(run_id)] = held_slots.get(owner(run_id), 0) + sum(len(rank) for rank in gang)
    queue: dict[str, tuple[int, int]] = {}
    for position, (run_id, slots) in enumerate(state.get("queue", ()), start=1):
        queue.setdefault(owner(run_id), (position, slots))
    known = state.get("runs", {})
    alive = [run_id for run_id, info in known.items() if not info.get("is_final")]
    found = []
    for run_id in dict.fromkeys((*alive, *held_slots, *queue)):
        info = known.get(run_id, {})
        place, wanted = queue.get(run_id, (0, 0))
        slots = held_slots.get(run_id, wanted)
        found.append(
            RunningRun(
                run_id=run_id,
                name=str(info.get("name") or run_id),
                world_size=int(info.get("world_size", 0)),
                slots=slots,
                queue_position=None if run_id in held_slots else place or None,
            )
        )
    return tuple(found)
