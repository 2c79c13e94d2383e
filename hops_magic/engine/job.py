"""What travels from the kernel to the supervisor, and from there to each rank."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hops_magic.cells.program import Program
from hops_magic.runs.events import Event
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.settings import home_folder

RESULT_NAME = "result.parcel"


class Recorder(Protocol):
    """Where a supervisor writes what happens; the registry provides it. No method blocks for long."""

    def events(self, events: list[Event]) -> None:
        """Take events in order, to be written in batches."""
        ...

    def finish(self, run: Run) -> None:
        """Write what is left and close the record. Blocks until that is done."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run as the kernel asks for it.

    Attributes
    ----------
    buffers : mapping of str to int
        Size in bytes of each large buffer of the program, by content hash.
    buffer_source : str
        Address of a worker whose node has the buffers.
    open_recorder : callable or None
        Called once on the supervisor's worker with the run's folder.
    """

    run_id: str
    name: str
    experiment: str
    program: Program
    options: DistributedOptions
    framework: str
    strategy: str
    seed: int
    created_at: float
    buffers: Mapping[str, int] = field(default_factory=dict)
    buffer_source: str = ""
    folder: str = ""
    """The notebook's folder, where ranks work if they can see it."""
    open_recorder: Callable[[Path], Recorder] | None = None

    @property
    def slots_per_rank(self) -> int:
        """Slots that each rank takes: its GPUs, or one."""
        return max(1, self.options.gpus_per_rank or 1)


@dataclass(frozen=True, kw_only=True)
class RankSpec:
    """All that a rank's process is told at its start."""

    job: Job
    attempt: int
    rank: int
    threads: int
    gpus: tuple[int, ...]
    addresses: tuple[Any, ...]
    token: bytes
    buffer_dir: str
    run_dir: str
    security: Any = None
    """``distributed.Security`` with the cluster's credentials, when ranks talk across hosts."""

    def pickled(self) -> bytes:
        """Return the bytes that the rank reads first."""
        import cloudpickle

        data: bytes = cloudpickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL)
        return data


def run_folder(run_id: str) -> Path:
    """Folder of a run under ``HOPS_HOME`` of this machine: checkpoints, journal, result."""
    return home_folder() / "runs" / run_id
