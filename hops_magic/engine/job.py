"""What travels from the kernel to the supervisor, and from there to each rank."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hops_magic.cells.program import Program
from hops_magic.frameworks.ablating import AblationSpec
from hops_magic.runs.events import Event
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.settings import home_folder

RESULT_NAME = "result.parcel"


class Recorder(Protocol):
    """Where a supervisor writes what happens; the registry provides it. No method blocks for long."""

    def events(self, events: list[Event]) -> None:
        """Take events in order, to be written in batches."""
        ...

    def recall(self, events: Sequence[Event]) -> None:
        """Take, before any other events, what an earlier supervisor has said, of which the record may lack something."""
        ...

    def finish(self, summary: Any) -> None:
        """Write what is left of a run, or a study, and close its record. Blocks until that is done."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What makes a run a trial of a study.

    Attributes
    ----------
    number : int
        Of the trial, from 0.
    values : mapping
        Hyperparameters by variable, as the cell sees them.
    ablation : AblationSpec or None
        What is left out, for a trial of an ablation.
    keeps : bool
        Whether rank 0 leaves its values and its model behind, in case that this trial is the best.
    standby : int
        Processes that each worker holds ready for the next trials.
    """

    number: int
    values: Mapping[str, Any]
    ablation: AblationSpec | None = None
    keeps: bool = False
    standby: int = 0


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
    data_of: str = ""
    """The run whose buffers these are, if it is another: the study of a trial."""
    trial: TrialJob | None = None
    framework_settings: Mapping[str, Any] = field(default_factory=dict)
    """Global settings of the framework, as they were in the notebook."""

    @property
    def buffers_id(self) -> str:
        """The run under whose id the buffers lie on nodes."""
        return self.data_of or self.run_id

    @property
    def home(self) -> Path:
        """Folder of the run on the machine where it is used: checkpoints, journal, result."""
        return trial_folder(self.buffers_id, self.trial.number) if self.trial else run_folder(self.run_id)

    def beginning(self) -> Run:
        """Return the run as it is before its first event."""
        return Run(
            run_id=self.run_id,
            name=self.name,
            experiment=self.experiment,
            world_size=self.options.workers,
            created_at=self.created_at,
        )

    @property
    def slots_per_rank(self) -> int:
        """Slots that each rank takes: its GPUs, or one."""
        return max(1, self.options.gpus_per_rank or 1)


@dataclass(frozen=True, kw_only=True)
class StudyJob:
    """One study as the kernel asks for it.

    Attributes
    ----------
    beginning : Study
        The study before its first event.
    trial : Job
        What every trial is, but for its values: the program, the options, the seed.
    conduct : callable
        Conducts the study with the services of the engine; a coroutine function that travels by pickle. It returns the final
        event, which says how the study ended.
    open_recorder : callable or None
        As for a run.
    """

    beginning: Study
    trial: Job
    conduct: Callable[[Any], Awaitable[Event]]
    open_recorder: Callable[[Path], Recorder] | None = None


@dataclass(frozen=True, kw_only=True)
class RankSpec:
    """All that a rank's process is told at its start."""

    job: Job
    attempt: int
    rank: int
    threads: int
    gpus: tuple[str, ...]
    addresses: tuple[Any, ...]
    token: bytes
    buffer_dir: str
    run_dir: str
    security: Any = None
    """``distributed.Security`` with the cluster's credentials, when ranks talk across hosts."""

    def environment(self) -> dict[str, str]:
        """Return the variables that a rank's process sets for itself and what it starts."""
        env = {"HOPS_RUN_ID": self.job.run_id, "HOPS_RANK": str(self.rank), "PYTHONUNBUFFERED": "1"}
        if self.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        elif self.job.options.gpus_per_rank == 0:
            env["CUDA_VISIBLE_DEVICES"] = ""  # those that the rank's worker may use
        return env

    def pickled(self) -> bytes:
        """Return the bytes that the rank reads first."""
        import cloudpickle

        data: bytes = cloudpickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL)
        return data


def described(beginning: Run | Study) -> dict[str, Any]:
    """Return what the cluster's tables say of a run or study."""
    info = {"name": beginning.name, "experiment": beginning.experiment, "created_at": beginning.created_at}
    if isinstance(beginning, Study):
        return {**info, "world_size": beginning.workers_per_trial, "kind": "study"}
    return {**info, "world_size": beginning.world_size}


def run_folder(run_id: str) -> Path:
    """Folder of a run under ``HOPS_HOME`` of this machine: checkpoints, journal, result."""
    return home_folder() / "runs" / run_id


def trial_folder(study_id: str, number: int) -> Path:
    """Folder of a trial inside that of its study."""
    return run_folder(study_id) / "trials" / str(number)
