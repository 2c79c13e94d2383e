"""The kernel's end of runs: bring the data, submit the supervisor, follow, stop, fetch what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

from distributed import Client, get_worker

from hops_magic.engine.buffers import PART_BYTES, write_buffer
from hops_magic.engine.channel import Follower
from hops_magic.engine.job import RESULT_NAME, Job, StudyJob, described, trial_folder
from hops_magic.engine.journal import read_journal
from hops_magic.engine.placement import TASK_PREFIX
from hops_magic.engine.rank_host import rank_host
from hops_magic.engine.results import Result, cluster_state, fetch, on_worker, own_node
from hops_magic.engine.studies import supervise_study
from hops_magic.engine.supervisor import supervise
from hops_magic.errors import ClusterError, NotFoundError, OptionError, UsageError
from hops_magic.interrupts import uncut_by_shutdown
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import STOPPED_BY_USER, RunState
from hops_magic.runs.study import Study
from hops_magic.runs.summary import Summary

_SLOTS_WITHIN_S = 15.0
_ASK_AGAIN_S = 1.0


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """A line of the table of runs that a cluster knows."""

    run_id: str
    name: str
    experiment: str
    world_size: int
    created_at: float
    is_final: bool
    is_study: bool = False
    state: RunState = RunState.DONE
    has_values: bool = True
    """Whether a final run's values wait to be brought back."""
    is_recorded: bool = True
    """Whether the record of a final run is not being written any more."""
    is_completing: bool = False
    """Whether the supervisor of a final run still lives, and writes what the record lacks."""


class Handle(Generic[Summary]):
    """A run or a study on a cluster, as the kernel that submitted it, or one that attached to it later, holds it."""

    def __init__(self, client: Client, run_id: str, unknown: Summary) -> None:
        self.client, self.run_id = client, run_id
        self.follower: Follower[Summary] = Follower(client, run_id, unknown)

    def stop(self, reason: str = STOPPED_BY_USER) -> None:
        """Ask the run to stop; returns at once, the run's state tells when it has."""
        # callable from any thread: a Stop button's handler must not wait
        self.client.loop.add_callback(self._stop_when_heard, reason)

    async def _stop_when_heard(self, reason: str) -> None:
        while self.client.status in ("running", "connecting"):
            try:
                await self.client.scheduler.hops_stop(run_id=self.run_id, reason=reason)
                return
            except OSError:  # the connection is lost: the wish is passed on when it is back
                await asyncio.sleep(_ASK_AGAIN_S)

    def result(self) -> Result | None:
        """Tell where rank 0 left its values, once the run is final; None if nothing came back.

        Raises
        ------
        ClusterError
            If the cluster has forgotten the run.
        """
        left = self.client.sync(self.client.scheduler.hops_snapshot, run_id=self.run_id)
        if left is None:
            raise ClusterError(
                f"the cluster has forgotten run {self.run_id}: %experiments show {self.run_id} has its record"
            )
        return Result(**left["result"]) if left["result"] else None

    def fetch(self, result: Result, into: Path) -> Path:
        """Return a local file with rank 0's values: the very file on this machine, or a copy in ``into``.

        Raises
        ------
        ClusterError
            If the values have been fetched before, or nobody can be asked for them.
        """
        return fetch(self.client, self.run_id, result, into)

    def forget(self) -> None:
        """Release the run's outcome on the cluster, when nobody will ask for it again."""
        self.follower.close()
        left = self.client.sync(self.client.scheduler.hops_snapshot, run_id=self.run_id)
        if left is not None and Path(left["result"].get("path", RESULT_NAME)).name != RESULT_NAME:
            # the run's folder goes when the user deletes the run; what is kept elsewhere goes now
            message = {"op": "hops_drop", "run_id": self.run_id}
            self.client.sync(self.client.scheduler.broadcast, msg=message, on_error="ignore")
        self.client.sync(self.client.scheduler.hops_collected, run_id=self.run_id)
        if self.run_id in _published(self.client):
            self.client.unpublish_dataset(_dataset(self.run_id))


class RunHandle(Handle[Run]):
    """A run on a cluster."""

    def __init__(self, client: Client, run_id: str) -> None:
        super().__init__(client, run_id, Run(run_id=run_id))


class StudyHandle(Handle[Study]):
    """A study on a cluster."""

    def __init__(self, client: Client, run_id: str) -> None:
        super().__init__(client, run_id, Study(run_id=run_id))

    def stop_trial(self, number: int) -> None:
        """Ask for the end of one trial; returns at once, from any thread."""
        notice = {"what": "stop-trial", "trial": number}
        self.client.loop.add_callback(self.client.scheduler.hops_command, run_id=self.run_id, notice=notice)

    def trial(self, number: int) -> Run | None:
        """Return all that a trial has said, folded; None if it has said nothing yet. Takes a moment."""
        left = self.client.sync(self.client.scheduler.hops_snapshot, run_id=self.run_id)
        if left is None or not left["supervisor"]:
            return None
        beginning = Run(run_id=f"{self.run_id}-{number}", world_size=self.follower.run.workers_per_trial)
        task = self.client.submit(
            _read_trial, self.run_id, number, beginning, workers=[left["supervisor"]], pure=False, priority=20
        )
        found: Run | None = task.result(timeout=10)
        return found


def submit(client: Client, job: Job, buffers: Mapping[str, memoryview]) -> RunHandle:
    """Start a run and return at once.

    Raises
    ------
    OptionError
        If the cluster has fewer slots than the run needs.
    ClusterError
        If the data cannot be brought to the cluster.
    """
    state = _state_with_slots(client, job)
    _check_slots(job, state)
    handle = RunHandle(client, job.run_id)
    with _wholly(client, job.run_id):
        source = _bring(client, job.run_id, buffers, state)
        job = replace(job, buffers={digest: data.nbytes for digest, data in buffers.items()}, buffer_source=source)
        _begin(client, state, job.beginning(), supervise, job)
        handle.follower.open()
    return handle


def submit_study(client: Client, job: StudyJob, buffers: Mapping[str, memoryview]) -> StudyHandle:
    """Start a study and return at once.

    Raises
    ------
    OptionError
        If the cluster has fewer slots than one trial needs.
    ClusterError
        If the data cannot be brought to the cluster.
    """
    state = _state_with_slots(client, job.trial)
    _check_slots(job.trial, state, of_trials=True)
    run_id = job.beginning.run_id
    sizes = {digest: data.nbytes for digest, data in buffers.items()}
    handle = StudyHandle(client, run_id)
    # a study that is continued has been here before, and its outcome may never have been fetched
    handle.forget()
    client.sync(client.scheduler.hops_forget, run_id=run_id)
    with _wholly(client, run_id):
        trial = replace(job.trial, buffers=sizes, buffer_source=_bring(client, run_id, buffers, state), data_of=run_id)
        _begin(client, state, job.beginning, supervise_study, replace(job, trial=trial))
        handle.follower.open()
    return handle


@contextlib.contextmanager
def _wholly(client: Client, run_id: str) -> Iterator[None]:
    """Leave nothing of a run on the cluster, if its start fails or is interrupted; a kernel's end lets it be started."""
    with uncut_by_shutdown():
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError, TimeoutError):  # the first error says more
                client.sync(client.scheduler.hops_abandon, run_id=run_id, reason="interrupted at its start")
                client.sync(client.scheduler.broadcast, msg={"op": "hops_clean", "run_id": run_id}, on_error="ignore")
            raise


def _begin(
    client: Client, state: dict[str, Any], beginning: Run | Study, supervise: Callable[[Any], None], job: Any
) -> None:
    """Make a run or study known to the cluster and start its supervisor there."""
    run_id = beginning.run_id
    # a key of its own each time: Dask takes what it knows under an old one for the answer
    task = f"{TASK_PREFIX}{run_id}/{secrets.token_hex(4)}"
    snapshot = pickle.dumps(beginning)
    client.sync(client.scheduler.hops_submitted, run_id=run_id, info=described(beginning), snapshot=snapshot, task=task)
    # one worker supervises as long as it lives: it has imported the registry's library and opened the store
    usual = min(state["slots"])
    future = client.submit(supervise, job, key=task, pure=False, priority=10, workers=[usual], allow_other_workers=True)
    # published, the task outlives this kernel
    client.publish_dataset(future, name=_dataset(run_id), override=True)


def trials_at_once(client: Client, slots_per_trial: int, wanted: int | None) -> int:
    """Return how many trials of a study run side by side: as many as wanted, else as the cluster has slots for.

    Slots of workers that have only just come are waited for.

    Raises
    ------
    OptionError
        If more are wanted than fit.
    """
    state = _state_with_slots(client)
    fitting = max(1, sum(state["slots"].values()) // slots_per_trial)
    if wanted is not None and wanted > fitting:
        remedy = _way_to_slots(wanted * slots_per_trial, state)
        raise OptionError("parallel", f"must be at most {fitting} (what fits on the cluster)", wanted, remedy)
    return wanted or fitting


def attach(client: Client, run_id: str) -> RunHandle | StudyHandle:
    """Follow a run or study that another kernel, or this one in an earlier life, submitted.

    Raises
    ------
    NotFoundError
        If the cluster knows no such run.
    UsageError
        If several answer to the name.
    """
    matches = [run for run in live_runs(client) if run.run_id.startswith(run_id) or run.name == run_id]
    if len(matches) > 1:
        raise UsageError(f"several runs on the cluster answer to {run_id!r}: %attach lists them with their ids")
    if not matches:
        raise NotFoundError(f"no run on the cluster answers to {run_id!r}: %attach lists those it knows")
    found = matches[0]
    handle = StudyHandle(client, found.run_id) if found.is_study else RunHandle(client, found.run_id)
    handle.follower.open()
    return handle


def live_runs(client: Client) -> list[LiveRun]:
    """Return the runs that the cluster knows, newest first."""
    runs = [
        LiveRun(
            run_id=run_id,
            name=info["name"],
            experiment=info["experiment"],
            world_size=info["world_size"],
            created_at=info["created_at"],
            is_final=info["is_final"],
            is_study=info.get("kind") == "study",
            state=RunState(info["state"]),
            has_values=info["has_values"],
            is_recorded=info.get("is_recorded", True),
            is_completing=info.get("is_completing", False),
        )
        for run_id, info in cluster_state(client)["runs"].items()
    ]
    return sorted(runs, key=lambda run: -run.created_at)


def _state_with_slots(client: Client, job: Job | None = None) -> dict[str, Any]:
    """Return placement's view of the cluster, when there are the slots that a job needs, or no more are to come."""
    # workers offer their slots a moment after they have come; on a busy machine, or after a restart, it is a long one
    ends = time.monotonic() + _SLOTS_WITHIN_S
    ranks, per_rank = (job.options.workers, job.slots_per_rank) if job else (1, 1)
    while True:
        state = cluster_state(client)
        is_all = any(state["slots"].values()) and not state["coming"]
        if is_all or _most_ranks(state, per_rank) >= ranks or time.monotonic() > ends:
            return state
        time.sleep(0.1)


def _most_ranks(state: dict[str, Any], per_rank: int) -> int:
    """Count the ranks that the whole cluster can run at once: the slots of each lie on one host."""
    return sum(count // per_rank for count in _slots_by_host(state).values())


def _slots_by_host(state: dict[str, Any]) -> Counter[str]:
    slots: Counter[str] = Counter()
    for address, count in state["slots"].items():
        slots[state["nodes"][address]["host"]] += count
    return slots


def _check_slots(job: Job, state: dict[str, Any], *, of_trials: bool = False) -> None:
    option, gpus_option = ("workers_per_trial", "gpus_per_trial") if of_trials else ("workers", "gpus_per_rank")
    total, per_rank = sum(state["slots"].values()), job.slots_per_rank
    if job.options.gpus_per_rank and not any(state["gpus"].values()):
        remedy = "leave it out, or connect to a cluster with GPUs"
        gpus = job.options.gpus_per_rank * (job.options.workers if of_trials else 1)
        raise OptionError(gpus_option, "must be 0 on a cluster without GPUs", gpus, remedy)
    widest = max(_slots_by_host(state).values(), default=0)
    if any(state["gpus"].values()) and per_rank > widest:
        remedy = "give the rank fewer, or connect to a cluster with more"
        whose = "the cluster's GPUs" if widest == total else "the GPUs of one machine"
        raise OptionError(gpus_option, f"must be at most {widest} ({whose})", per_rank, remedy)
    most = _most_ranks(state, per_rank)
    if job.options.workers > most:
        remedy = _way_to_slots(job.options.workers * per_rank, state)
        raise OptionError(option, f"must be at most {most} (the cluster's slots)", job.options.workers, remedy)


def _way_to_slots(count: int, state: dict[str, Any]) -> str:
    if any(state["gpus"].values()):
        # a worker of the embedded cluster is a GPU: there may be none to add
        return (
            "each slot is a GPU; ask for fewer, connect to a cluster with more GPUs, or set CUDA_VISIBLE_DEVICES to "
            "nothing before the cluster starts, for CPU workers"
        )
    return f"add workers with %cluster scale {count}"


def _bring(client: Client, run_id: str, buffers: Mapping[str, memoryview], state: dict[str, Any]) -> str:
    """Bring buffers to one node; the others fetch them from there. Return the address of a worker of that node."""
    own = own_node(state)
    for address, node in state["nodes"].items():
        if node["host"] == own:
            for digest, data in buffers.items():
                write_buffer(Path(node["node_dir"]), run_id, digest, data)
            return str(address)
    address = next(iter(state["nodes"]))
    for digest, data in buffers.items():
        for offset in range(0, data.nbytes, PART_BYTES):
            part = bytes(data[offset : offset + PART_BYTES])
            on_worker(client, str(address), _store_part, run_id, digest, offset, part)
    return str(address)


def _store_part(run_id: str, digest: str, offset: int, part: bytes) -> None:
    rank_host(get_worker()).buffers.store_part(run_id, digest, offset, part)


def _read_trial(run_id: str, number: int, beginning: Run) -> Run | None:
    folder = trial_folder(run_id, number)
    try:
        return advance_all(beginning, read_journal(folder))
    except FileNotFoundError:
        return None


def _dataset(run_id: str) -> str:
    return f"hops/{run_id}"


def _published(client: Client) -> set[str]:
    return {str(name).removeprefix("hops/") for name in client.list_datasets()}
