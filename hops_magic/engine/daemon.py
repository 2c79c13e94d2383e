"""The embedded cluster's process: a scheduler and the nannies of its workers, detached from whoever started it.

Started by :mod:`hops_magic.engine.embedded`, which waits on a socket for what it says first: a connection or a reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
from distributed import LocalCluster
from distributed.deploy.spec import SpecCluster
from distributed.http.routing import DirectoryHandler
from distributed.utils import format_dashboard_link
from tornado.ioloop import IOLoop

from hops_magic.engine import machine
from hops_magic.engine.connection import Connection, ConnectionFile, Process
from hops_magic.engine.embedded import take_over
from hops_magic.engine.machine import Machine, Sizing
from hops_magic.engine.security import generate
from hops_magic.engine.versions import installed
from hops_magic.errors import ClusterError, HopsError

logger = logging.getLogger(__name__)

_CHECK_IDLE_S = 1.0
WORKERS_WITHIN_S = 60.0
_CLOSE_WITHIN_S = 10.0
_CHECK_WORKERS_S = 1.0

CONFIG: Mapping[str, Any] = {
    # cells run in processes of their own: sampling the worker's threads a hundred times a second would show nothing
    "distributed.worker.profile.enabled": False,
    # nor need an idle cluster wake up fifty times a second to see whether its loops are late
    "distributed.admin.tick.interval": "500ms",
    # a paused or restarted worker would take its ranks along; what Dask itself holds still goes to disk
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.require-encryption": True,
    "distributed.scheduler.idle-timeout": None,
    # their metrics are on the scheduler's pages, whose path is secret; their own servers would show them to everybody
    "distributed.worker.http.routes": [],
}


class Daemon:
    """The embedded cluster, from start to end.

    Parameters
    ----------
    folder
        Private folder, removed at the end.
    file
        Where kernels look for it; removed at the end.
    workers, threads
        As asked for; None for what the machine suggests.
    idle_s
        Ends after so many seconds in which nothing ran and nobody came.
    """

    def __init__(
        self, folder: Path, file: ConnectionFile, *, workers: int | None, threads: int | None, idle_s: float
    ) -> None:
        self.folder, self.file, self.idle_s = folder, file, idle_s
        self.machine: Machine = machine.this_machine()
        self.sizing: Sizing = machine.plan(self.machine, workers, threads)
        self.started_at = time.time()
        # None until it has been started
        self.cluster: Any = None
        self._prefix = secrets.token_urlsafe(12)

    async def start(self) -> Connection:
        """Bring scheduler and workers up; return how to reach them."""
        dask.config.set({**CONFIG, "temporary-directory": str(self.folder)})
        security = generate(self.folder).security()
        os.environ.update({name: str(self.sizing.threads) for name in _THREAD_VARIABLES if name not in os.environ})
        options: dict[str, Any] = {
            "n_workers": self.sizing.workers,
            "threads_per_worker": self.sizing.threads,
            "memory_limit": self.sizing.memory_bytes,
            "host": "127.0.0.1",
            "scheduler_port": 0,
            "dashboard_address": "127.0.0.1:0",
            # other users of the machine can reach the port, but not guess the path
            "scheduler_kwargs": {"dashboard": False, "http_prefix": f"/{self._prefix}"},
            "security": security,
            "asynchronous": True,
            # a machine that is busy with other work takes long to start processes
            "death_timeout": WORKERS_WITHIN_S,
            "preload": ["hops_magic.engine.embedded_worker"],
        }
        self.cluster = _make(self.sizing, options)
        await self.cluster
        _hide_sitemap(self.cluster.scheduler.http_application)
        self.cluster.scheduler.handlers["hops_scale"] = self.scale
        await self._wait_for_workers(self.sizing.workers)
        return self._connection()

    def _connection(self) -> Connection:
        process = Process.of(os.getpid())
        assert process is not None
        return Connection(
            address=self.cluster.scheduler_address,
            process=process,
            folder=str(self.folder),
            prefix=sys.prefix,
            home=str(self.file.home),
            started_at=self.started_at,
            versions=installed(),
            dashboard=self._dashboard_link(),
        )

    def _dashboard_link(self) -> str:
        try:
            import bokeh  # noqa: F401
        except ImportError:
            return ""
        # the user's setting ``distributed.dashboard.link`` may lead through a proxy
        link: str = format_dashboard_link("127.0.0.1", self.cluster.scheduler.http_server.port)
        return f"{link.removesuffix('/status')}/{self._prefix}/status"

    async def _wait_for_workers(self, count: int) -> None:
        scheduler = self.cluster.scheduler
        deadline = time.monotonic() + WORKERS_WITHIN_S
        while len(scheduler.workers) < count:
            if time.monotonic() > deadline:
                raise ClusterError(f"only {len(scheduler.workers)} of {count} workers came up within {WORKERS_WITHIN_S:g} s")
            await asyncio.sleep(0.02)

    async def scale(self, workers: int) -> dict[str, Any]:
        """Change the number of workers; handler of the scheduler. Says ``refused`` for more than there are GPUs."""
        cluster = self.cluster
        if self.sizing.gpus and workers > len(self.sizing.gpus):
            return {"refused": workers, "gpus": len(self.sizing.gpus)}
        if not self.sizing.gpus:
            each = min(self.sizing.threads, machine.threads_each(self.machine.cores, workers))
            cluster.new_spec["options"] = {**cluster.new_spec["options"], "nthreads": each}
        cluster.scale(workers)
        try:
            await cluster
        # what Dask says, in so many ways, of a worker that did not come up
        except (AssertionError, OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(f"a worker did not start ({type(error).__name__}: {error}): try again") from error
        await self._wait_for_workers(workers)
        return {"workers": len(cluster.scheduler.workers)}

    async def show_dashboard(self) -> None:
        """Add Dask's pages to the scheduler's server; bokeh takes a second to import, for which no cell should wait."""
        try:
            pages = await asyncio.to_thread(_import_dashboard)
        except ImportError:
            return
        scheduler = self.cluster.scheduler
        # not the library's own connect(): that adds a redirection from / which tells the path to everybody
        application = pages.BokehApplication(
            pages.applications,
            scheduler,
            prefix=f"/{self._prefix}",
            template_variables=pages.template_variables(scheduler),
        )
        scheduler.http_application.add_application(application)
        application.initialize(IOLoop.current())

    async def watch_idle(self) -> None:
        """Return when nothing has run, and no kernel has come, for ``idle_s``."""
        scheduler = self.cluster.scheduler
        seen: tuple[Any, ...] = ()
        since = time.monotonic()
        while time.monotonic() - since < self.idle_s:
            now = (scheduler.transition_counter, frozenset(scheduler.clients), _runs_alive(scheduler))
            busy = bool(scheduler.queued or scheduler.unrunnable or any(w.processing for w in scheduler.workers.values()))
            if busy or now != seen or now[2]:
                seen, since = now, time.monotonic()
            await asyncio.sleep(min(_CHECK_IDLE_S, self.idle_s / 10))
        logger.info("nothing ran for %g s", self.idle_s)

    async def keep_workers(self) -> None:
        """Start workers anew that Dask has given up, since they were not back soon enough after their process died."""
        cluster = self.cluster
        while True:
            await asyncio.sleep(_CHECK_WORKERS_S)
            given_up = set(cluster.worker_spec) - set(cluster.workers)
            if not given_up:
                continue
            logger.info("workers %s are started anew", sorted(map(str, given_up)))
            cluster.scale(len(cluster.worker_spec))
            try:
                await cluster
            # the machine may be better off the next time
            except (AssertionError, OSError, RuntimeError, TimeoutError) as error:
                logger.warning("a worker did not start (%s: %s)", type(error).__name__, error)

    async def close(self) -> None:
        """End the workers and the scheduler, and remove every trace."""
        process = Process.of(os.getpid())
        if process is not None:
            # first of all, so that no kernel finds what is about to go
            self.file.remove(process)
        if self.cluster is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.cluster.close(), _CLOSE_WITHIN_S)


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _make(sizing: Sizing, options: dict[str, Any]) -> SpecCluster:
    if not sizing.gpus:
        return LocalCluster(**options)
    try:
        from hops_magic.engine.gpu_cluster import GpuCluster
    except ImportError as error:
        raise ClusterError(
            f"this machine has NVIDIA GPUs, but Dask-CUDA cannot be imported ({error}): install hops_magic[cuda], "
            "or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU"
        ) from error
    return GpuCluster(CUDA_VISIBLE_DEVICES=list(sizing.gpus), **options)


def _hide_sitemap(application: Any) -> None:
    """Take away the page that lists all paths, the secret one among them."""
    router = application.default_router
    router.rules[:] = [
        rule
        for rule in router.rules
        if not any(inner.target is DirectoryHandler for inner in getattr(rule.target, "rules", ()))
    ]


def _import_dashboard() -> Any:
    import distributed.dashboard.scheduler

    return distributed.dashboard.scheduler


def _runs_alive(scheduler: Any) -> bool:
    placement = scheduler.plugins.get("hops-placement")
    # a run that is over may have a record that waits for its registry
    return placement is not None and any(
        not run.is_final or (not run.is_recorded and run.supervisor in scheduler.workers) for run in placement.runs.values()
    )


def serve(channel: socket.socket, folder: Path, file: ConnectionFile, **sizing: Any) -> None:
    """Run the embedded cluster until it is idle, told to end, or nobody took note of its start."""
    take_over(folder)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        asyncio.run(_serve(channel, folder, file, **sizing))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(channel: socket.socket, folder: Path, file: ConnectionFile, **sizing: Any) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    daemon = None
    try:
        daemon = Daemon(folder, file, **sizing)
        connection = await daemon.start()
        if await _announce(channel, {"connection": connection.to_json()}):
            await _run_until(daemon, ended)
    except HopsError as error:
        await _announce(channel, {"error": str(error)})
    except Exception as error:
        logger.exception("the embedded cluster failed")
        await _announce(channel, {"error": f"{type(error).__name__}: {error}"})
    finally:
        if daemon is not None:
            await daemon.close()


async def _run_until(daemon: Daemon, ended: asyncio.Event) -> None:
    waiting = [
        asyncio.create_task(ended.wait()),
        asyncio.create_task(daemon.watch_idle()),
        asyncio.create_task(daemon.cluster.scheduler.finished()),
    ]
    beside = [asyncio.create_task(daemon.show_dashboard()), asyncio.create_task(daemon.keep_workers())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in (*waiting, *beside):
        task.cancel()


async def _announce(channel: socket.socket, message: dict[str, str]) -> bool:
    """Tell the starter; whether it has taken note. A starter that is gone means a cluster that nobody would find."""
    channel.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(channel, json.dumps(message).encode() + b"\n")
        return bool(await loop.sock_recv(channel, 1))
    except OSError:
        return False
    finally:
        channel.close()
