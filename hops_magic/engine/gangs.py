"""Who holds which slots: all of a gang or none, first come first served. A pure state machine without Dask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Slots:
    """What a worker offers.

    Attributes
    ----------
    worker : str
        Address of the worker.
    host : str
        Identity of its machine: workers that share it share memory and local sockets.
    count : int
        Ranks that may run there at once.
    gpus : tuple of str
        GPUs of the worker, one per slot; empty on CPUs.
    threads : int
        CPU threads of the worker, shared by its slots.
    """

    worker: str
    host: str
    count: int
    gpus: tuple[str, ...] = ()
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run's wish: ``ranks`` processes of ``slots_per_rank`` slots each, a rank's slots on one host."""

    run_id: str
    ranks: int
    slots_per_rank: int = 1

    @property
    def slots(self) -> int:
        """Slots in all."""
        return self.ranks * self.slots_per_rank


Gang = tuple[tuple[str, ...], ...]
"""For each rank, the workers whose slots it holds; the first of them hosts its process."""


def owner(run_id: str) -> str:
    """Return the run behind an id: a study asks for its places under ids of their own, ``study/0``, ``study/1`` ..."""
    return run_id.partition("/")[0]


def belongs(run_id: str, to: str) -> bool:
    """Whether an id is a run's own or that of one of its places."""
    return run_id == to or run_id.startswith(f"{to}/")


@dataclass
class Gangs:
    """The slots of a cluster, the gangs that hold them and the queue."""

    workers: dict[str, Slots] = field(default_factory=dict)
    held: dict[str, Gang] = field(default_factory=dict)
    queue: list[Request] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Slots of all workers."""
        return sum(slots.count for slots in self.workers.values())

    def free(self) -> dict[str, int]:
        """Free slots by worker; workers without any are left out."""
        left = {address: slots.count for address, slots in self.workers.items()}
        for gang in self.held.values():
            for address in (a for rank in gang for a in rank):
                if address in left:
                    left[address] -= 1
        return {address: count for address, count in left.items() if count > 0}

    def reserve(self, request: Request) -> list[str]:
        """Queue a request; return the ids of the runs that got their gang by it. Asking twice changes nothing."""
        if request.run_id not in self.held and all(q.run_id != request.run_id for q in self.queue):
            self.queue.append(request)
        return self._grant()

    def release(self, run_id: str) -> list[str]:
        """Give back a run's slots and its places in the queue; return the ids of the runs that got theirs by it."""
        self.held = {other: gang for other, gang in self.held.items() if not belongs(other, run_id)}
        self.queue = [request for request in self.queue if not belongs(request.run_id, run_id)]
        return self._grant()

    def pass_on(self, request: Request) -> list[str]:
        """Give back a study's place if another run waits, and queue for it again; return the ids that got theirs by it."""
        if all(owner(waiting.run_id) == owner(request.run_id) for waiting in self.queue):
            return self.reserve(request)
        self.held.pop(request.run_id, None)
        self.queue.append(request)
        return self._grant()

    def add(self, slots: Slots) -> list[str]:
        """Take a worker in, or take note of its new slots."""
        self.workers[slots.worker] = slots
        return self._grant()

    def remove(self, worker: str) -> list[str]:
        """Forget a worker; return the ids of the runs that held a slot of it (they hold the rest until they release)."""
        self.workers.pop(worker, None)
        return [run_id for run_id, gang in self.held.items() if any(worker in rank for rank in gang)]

    def position(self, run_id: str) -> int | None:
        """Place in the queue from 1, None for a run that is not waiting."""
        for place, request in enumerate(self.queue, start=1):
            if request.run_id == run_id:
                return place
        return None

    def _grant(self) -> list[str]:
        # strictly in order: a wide run is never starved by narrow ones behind it
        granted = []
        while self.queue:
            gang = place(self.queue[0], self.free(), self.workers)
            if gang is None:
                break
            request = self.queue.pop(0)
            self.held[request.run_id] = gang
            granted.append(request.run_id)
        return granted


def place(request: Request, free: Mapping[str, int], workers: Mapping[str, Slots]) -> Gang | None:
    """Choose slots on as few hosts as possible, neighbours next to each other; None if they do not all fit now."""
    by_host: dict[str, list[str]] = {}
    for address in sorted(free):
        by_host.setdefault(workers[address].host, []).extend([address] * free[address])
    per_rank = request.slots_per_rank
    hosts = sorted(by_host.values(), key=lambda slots: -(len(slots) // per_rank))
    # one host that holds all of the gang is best, and the tightest such host leaves the others whole
    whole = [slots for slots in hosts if len(slots) // per_rank >= request.ranks]
    chosen: list[tuple[str, ...]] = []
    for slots in whole[-1:] or hosts:
        chosen.extend(tuple(part) for part in _parts(slots, per_rank))
    return tuple(chosen[: request.ranks]) if len(chosen) >= request.ranks else None


def _parts(slots: list[str], size: int) -> Iterable[list[str]]:
    return (slots[i : i + size] for i in range(0, len(slots) - size + 1, size))
