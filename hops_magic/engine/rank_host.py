"""The engine's part of each worker: hosts ranks, carries their events to the supervisor, keeps the node's buffers.

A worker plugin. Its handlers are called by supervisors (``hops_prepare``, ``hops_spawn`` ...), by the scheduler
(``hops_notice``) and by other rank hosts (``hops_events``, ``hops_buffer``); all run in the worker's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import pickle
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from hops_magic.engine.buffers import BufferStore, node_folder, node_identity
from hops_magic.engine.handing_back import kept_name
from hops_magic.engine.job import Job, RankSpec
from hops_magic.engine.machine import gpus_of_worker
from hops_magic.engine.nursery import Nursery
from hops_magic.engine.processes import end_leftovers
from hops_magic.engine.rank_process import RankProcess
from hops_magic.errors import ClusterError
from hops_magic.frameworks import KERAS_MODULES, preload_modules
from hops_magic.frameworks.rendezvous import listen
from hops_magic.runs.events import RankExited, Wire

logger = logging.getLogger(__name__)

_OPERATIONS = ("prepare", "spawn", "tell", "end", "clean", "drop", "events", "notice", "buffer")
CALL_WITHIN_S = 3.0
"""How long rank hosts are waited for where something is to be cleaned up: they go on with it by themselves."""
_ORPHANED_AFTER_S = 10.0
_BATCH_S = 0.02
_MOST_LOAD = 10_000
_TEXT_OF_AN_EVENT = 200


class Supervising(Protocol):
    """What a rank host needs of a supervisor that lives on its worker."""

    def on_events(self, attempt: int, events: list[Wire]) -> None:
        """Take what ranks say."""
        ...

    def on_notice(self, notice: dict[str, Any]) -> None:
        """Take what the scheduler says."""
        ...

    def abandon(self) -> None:
        """Fall silent: its worker leaves the cluster."""
        ...


class _Outbox:
    """Events of a run's ranks on this worker, on their way to the supervisor in batches."""

    def __init__(self, host: RankHost, run_id: str, attempt: int, supervisor: str) -> None:
        self._host, self._run_id, self._attempt, self._supervisor = host, run_id, attempt, supervisor
        self._pending: list[Wire] = []
        self._load = 0
        self._wake, self._is_urgent = asyncio.Event(), asyncio.Event()
        self.ranks: dict[int, RankProcess] = {}
        self.task = asyncio.create_task(self._carry())

    def say(self, wire: Wire) -> None:
        last = self._pending[-1] if self._pending else None
        if last and wire["kind"] == last["kind"] == "output" and _voice(wire) == _voice(last):
            last["text"] += wire["text"]
        else:
            self._pending.append(wire)
        self._load += 1 + len(wire.get("text", "")) // _TEXT_OF_AN_EVENT
        self._wake.set()
        if wire["kind"] == RankExited.kind:
            # slots are held until it is known
            self._is_urgent.set()

    def is_crowded(self) -> bool:
        """Whether ranks say more than the supervisor takes."""
        return self._load > _MOST_LOAD

    async def _carry(self) -> None:
        failing_since = None
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._is_urgent.clear()
            batch, load, self._pending, self._load = self._pending, self._load, [], 0
            try:
                answer = await ask(
                    self._host.worker, self._supervisor, "events", run_id=self._run_id, attempt=self._attempt, events=batch
                )
                failing_since = None
                # the first event after a pause travels at once, those of the next moment together
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_urgent.wait(), _BATCH_S)
            except OSError:
                answer = "lost"
                failing_since = failing_since or time.monotonic()
                self._pending, self._load = batch + self._pending, load + self._load
                self._wake.set()
                await asyncio.sleep(_BATCH_S)
            if answer == "unknown" or (failing_since and time.monotonic() - failing_since > _ORPHANED_AFTER_S):
                # the supervisor has gone elsewhere and starts the run again: nobody waits for these ranks
                for rank in self.ranks.values():
                    rank.kill("the run's supervisor is gone")
                return


def _voice(wire: Wire) -> tuple[Any, Any]:
    return wire["rank"], wire["stream"]


class RankHost(WorkerPlugin):
    """Hosts the ranks of runs on a worker."""

    name = "hops-rank-host"
    idempotent = True

    async def setup(self, worker: Worker) -> None:
        """Take note of the worker, register the handlers and start importing frameworks."""
        self.worker = worker
        self.supervisors: dict[str, Supervising] = {}
        self.parcels: dict[str, bytearray] = {}
        """Values of runs for which there was room on no disk."""
        self._outboxes: dict[tuple[str, int], _Outbox] = {}
        self._listeners: dict[tuple[str, int, int], socket.socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: dict[asyncio.Task[None], tuple[str, int]] = {}
        """Data on their way here, and the run and attempt that they are for."""
        folder = node_folder(Path(worker.local_directory))
        self.buffers = BufferStore(folder, self._fetch)
        self.host = node_identity(folder)
        self.gpus = gpus_of_worker()
        slots = int(worker.state.total_resources.get("slot", 0)) or max(1, len(self.gpus))
        threads = str(max(1, worker.state.nthreads // slots))
        env = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        # TensorFlow writes lines that look like errors: when it finds no GPU, and when it reads what XLA compiled before
        env["TF_CPP_MIN_LOG_LEVEL"] = "3"
        self._env = {**env, **(_on_gpus(Path(worker.local_directory)) if self.gpus else {})}
        self.nursery = Nursery((*_ALWAYS, *preload_modules()), self._env)
        self._light: dict[tuple[str, ...], Nursery] = {}
        self._standing_by: dict[str, Nursery] = {}
        for op in _OPERATIONS:
            worker.handlers[f"hops_{op}"] = getattr(self, f"on_{op}")
        self.nursery.start()
        await worker.scheduler.hops_worker(
            address=worker.address,
            host=self.host,
            slots=slots,
            gpus=list(self.gpus),
            threads=worker.state.nthreads,
            node_dir=str(folder),
        )

    async def teardown(self, worker: Worker) -> None:
        """End every rank and the warm processes; supervisors go on elsewhere."""
        for supervisor in list(self.supervisors.values()):
            # before their ranks die, which they would take for a loss of their own
            supervisor.abandon()
        for nursery in (self.nursery, *self._light.values()):
            nursery.close()
        for task in [*self._tasks, *(outbox.task for outbox in self._outboxes.values())]:
            task.cancel()
        for listener in self._listeners.values():
            listener.close()
        for name in _OPERATIONS:
            worker.handlers.pop(f"hops_{name}", None)
        self.buffers.close()

    # -- called by supervisors -------------------------------------------------------------------------------------

    async def on_prepare(self, run_id: str, attempt: int, rank: int, across_hosts: bool) -> Any:
        """Bind the socket on which a rank will hear its peers; return its address."""
        place = self.worker.address.rpartition("//")[2].rpartition(":")[0] if across_hosts else self._sockets(run_id)
        listener, address = listen(place)
        self._listeners[run_id, attempt, rank] = listener
        return address

    async def on_spawn(self, supervisor: str, spec: bytes) -> str:
        """Start a rank; what it says goes to ``supervisor`` until its exit has been said."""
        described: RankSpec = pickle.loads(spec)
        job = described.job
        key = (job.run_id, described.attempt)
        await self._provide(key, job)
        if key not in self._outboxes:
            self._outboxes[key] = _Outbox(self, *key, supervisor)
        outbox = self._outboxes[key]
        keep = functools.partial(self._keep_part, job.run_id)
        rank = RankProcess(described, self.worker.address, socket.gethostname(), outbox.say, outbox.is_crowded, keep)
        outbox.ranks[described.rank] = rank
        listener = self._listeners.pop((*key, described.rank), None)
        nursery = self._nursery_for(job)
        self.in_background(rank.run(nursery, listener))
        return "OK"

    async def on_tell(self, run_id: str, command: dict[str, Any]) -> str:
        """Send a command to the run's ranks here."""
        for rank in self._ranks(run_id):
            rank.tell(command)
        return "OK"

    async def on_end(self, run_id: str, reason: str, before_attempt: int | None = None) -> list[int]:
        """Kill the run's ranks here (only those of earlier attempts, if said); return those whose exits will be told."""
        ended: list[int] = []
        for (other, attempt), outbox in list(self._outboxes.items()):
            if other == run_id and (before_attempt is None or attempt < before_attempt):
                for rank in outbox.ranks.values():
                    rank.kill(reason)
                ended.extend(outbox.ranks)
        self._give_up_data(run_id, before_attempt)
        return ended

    async def on_clean(self, run_id: str, *, sweep: bool = False) -> str:
        """Forget a run: its events' way, sockets and buffers; with ``sweep`` also end what its ranks had started."""
        for key in [key for key in self._outboxes if key[0] == run_id]:
            outbox = self._outboxes.pop(key)
            for rank in outbox.ranks.values():
                rank.kill("the run has ended")  # nobody hears any more what it says
            outbox.task.cancel()
        self._give_up_data(run_id)
        for place in [place for place in self._listeners if place[0] == run_id]:
            self._listeners.pop(place).close()
        self._stop_waiting_for(run_id)
        await asyncio.to_thread(self.buffers.drop, run_id)
        if sweep:
            await asyncio.to_thread(end_leftovers, run_id)
        return "OK"

    async def on_drop(self, run_id: str) -> str:
        """Forget the values of a run, or of a study's trials, that are kept here since the disk of their folder was full."""
        for kept in [kept for kept in self.parcels if kept == run_id or kept.startswith(f"{run_id}-")]:
            del self.parcels[kept]
        for name in (kept_name(run_id), kept_name(f"{run_id}-*")):
            for file in self.buffers.root.glob(name):
                file.unlink(missing_ok=True)
        return "OK"

    # -- called by the scheduler and other rank hosts ----------------------------------------------------------------

    async def on_events(self, run_id: str, attempt: int, events: list[Wire]) -> str:
        """Hand events to the run's supervisor, if it lives here."""
        supervisor = self.supervisors.get(run_id)
        if supervisor is None:
            return "unknown"
        supervisor.on_events(attempt, [dict(event) for event in events])
        return "OK"

    async def on_notice(self, run_id: str, notice: dict[str, Any]) -> str:
        """Hand a notice of the scheduler to the run's supervisor, if it lives here."""
        if supervisor := self.supervisors.get(run_id):
            supervisor.on_notice(notice)
        return "OK"

    async def on_buffer(self, run_id: str, digest: str, offset: int, length: int) -> bytes:
        """Give a part of a buffer to a rank host on another node."""
        return await asyncio.to_thread(self.buffers.part, run_id, digest, offset, length)

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _provide(self, key: tuple[str, int], job: Job) -> None:
        arriving = asyncio.create_task(self.buffers.provide(job.buffers_id, job.buffers, job.buffer_source))
        self._arriving[arriving] = key
        try:
            await asyncio.wait({arriving})
        finally:
            self._arriving.pop(arriving)
            arriving.cancel()
        if arriving.cancelled():
            raise ClusterError(f"{job.name} was ended before its data had come")
        arriving.result()

    def _give_up_data(self, run_id: str, before_attempt: int | None = None) -> None:
        for arriving, (other, attempt) in self._arriving.items():
            if other == run_id and (before_attempt is None or attempt < before_attempt):
                arriving.cancel()

    def _nursery_for(self, job: Job) -> Nursery:
        """Return the warm process for a job's ranks, which from now on holds as many ready as the job wants."""
        nursery = self.nursery
        modules = _needed_modules(job)
        if modules is not None:
            nursery = self._light.get(modules) or self._light.setdefault(modules, Nursery((*_ALWAYS, *modules), self._env))
        if job.trial is not None:
            # known even if none is to be held ready: a warm process of a study's own ends with the study
            self._standing_by[job.buffers_id] = nursery
            if job.trial.standby:
                nursery.stand_by(job.trial.standby)
        return nursery

    def _stop_waiting_for(self, run_id: str) -> None:
        nursery = self._standing_by.pop(run_id, None)
        if nursery is None or nursery in self._standing_by.values():
            return
        nursery.stand_by(0)
        if nursery is not self.nursery:
            # a warm process of a study's own goes with it
            self._light = {modules: other for modules, other in self._light.items() if other is not nursery}
            nursery.close()

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside all else, as long as the worker lives."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep_part(self, run_id: str, offset: int, part: bytes) -> None:
        parcel = self.parcels.setdefault(run_id, bytearray())
        # a later attempt begins anew
        parcel[offset:] = part

    def _ranks(self, run_id: str) -> list[RankProcess]:
        return [rank for (other, _), box in self._outboxes.items() if other == run_id for rank in box.ranks.values()]

    def _sockets(self, run_id: str) -> Path:
        folder = self.buffers.folder(run_id) / "sockets"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    async def _fetch(self, source: str, run_id: str, digest: str, offset: int, length: int) -> bytes:
        part: bytes = await self.worker.rpc(source).hops_buffer(run_id=run_id, digest=digest, offset=offset, length=length)
        return part


def rank_host(worker: Worker) -> RankHost:
    """Return the plugin of a worker.

    Raises
    ------
    ClusterError
        If the worker has none.
    """
    plugin = worker.plugins.get(RankHost.name)
    if not isinstance(plugin, RankHost):
        raise ClusterError(f"worker {worker.address} runs no hops_magic: connect to the cluster with %cluster connect")
    return plugin


async def ask(worker: Worker, address: str, what: str, **message: Any) -> Any:
    """Call the rank host of a worker, that of ``worker`` itself without the way over a connection.

    Raises
    ------
    OSError
        If there is no way to the other worker.
    """
    if address == worker.address:
        return await getattr(rank_host(worker), f"on_{what}")(**message)
    return await getattr(worker.rpc(address), f"hops_{what}")(**message)


async def everywhere(worker: Worker, what: str, **message: Any) -> None:
    """Call every rank host of the cluster; one that is just dying needs no call, one that does not answer no waiting."""
    call = worker.scheduler.broadcast(msg={"op": f"hops_{what}", **message}, on_error="ignore")
    try:
        await asyncio.wait_for(call, CALL_WITHIN_S)
    except TimeoutError:
        logger.info("a worker did not answer hops_%s for run %s in time", what, message.get("run_id"))


_ALWAYS = ("hops_magic.engine.rank", "hops_magic.frameworks.plain", "numpy.random", "IPython.display")
"""What every rank needs, so that none has to import it again."""
_FOR_TORCH = ("torch", "torch.utils.data", "hops_magic.frameworks.torch.loaders")
_SAFE_TO_PRELOAD = ("numpy", "scipy", "pandas", "sklearn", "xgboost", "lightgbm", "torch")
"""Modules that start no thread when they are imported, so that their process can be forked."""


def _needed_modules(job: Job) -> tuple[str, ...] | None:
    """Return what a warm process of its own imports; None for the worker's, which has imported TensorFlow.

    PyTorch has one for all runs. A study's own is forked and ended many times as fast as one with TensorFlow, which counts
    where trials are short.
    """
    if job.framework == "torch" and job.trial is None:
        return _FOR_TORCH
    if job.trial is None or not job.program.frameworks.isdisjoint(KERAS_MODULES) or job.framework == "keras":
        return None
    return tuple(name for name in _SAFE_TO_PRELOAD if name in job.program.frameworks)


def _on_gpus(folder: Path) -> dict[str, str]:
    """TensorFlow's settings for ranks on a GPU, unless the user has some; what they keep goes with the worker."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "tf_xla_persistent_cache_directory" not in flags:
        # Keras compiles a rank of its own there, for many seconds: trials of a study train much the same program, each in a
        # process of its own
        flags = f"{flags} --tf_xla_persistent_cache_directory={folder / 'xla'}".strip()
    # the memory of a rank that was killed comes back late; what another took of it at its start would be all it ever gets
    grows = os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    return {"TF_XLA_FLAGS": flags, "TF_FORCE_GPU_ALLOW_GROWTH": grows}
