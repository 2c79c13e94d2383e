"""The embedded cluster as kernels see it: find it, start it, end it.

The kernel waits on a socket pair for what the daemon says first, writes the connection file, and acknowledges; a daemon
that gets no acknowledgement ends itself. So however a kernel dies on the way, no cluster is left that nobody can find.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

import dask
import psutil
from filelock import Timeout

from hops_magic.engine import machine
from hops_magic.engine.connection import Connection, ConnectionFile, Process
from hops_magic.engine.processes import CLUSTER_FOLDER, end_cluster
from hops_magic.errors import ClusterError

logger = logging.getLogger(__name__)

IDLE_S = 1800.0
_START_WITHIN_S = 90.0
_STOP_WITHIN_S = 20.0
_KILL_WITHIN_S = 5.0
_LOOK_S = 0.02
_OWNER_WITHIN_S = 60.0
_OWNER = "owner.json"


def find_or_start(file: ConnectionFile, workers: int | None = None, threads: int | None = None) -> Connection:
    """Return the user's embedded cluster; start it if there is none. Kernels that ask at once get the same.

    Raises
    ------
    ClusterError
        If it cannot be started; the sentence carries the daemon's own reason.
    OptionError
        If the sizes make no sense on this machine.
    """
    try:
        with file.lock(_START_WITHIN_S):
            connection = file.live()
            if connection is None:
                reclaim(file)
                connection = _start(file, workers, threads)
            return connection
    except Timeout as error:
        raise ClusterError(
            f"another process has been starting the embedded cluster for {_START_WITHIN_S:g} s; it holds {error.lock_file}"
        ) from error
    except OSError as error:
        raise ClusterError(f"the embedded cluster could not start: {error}") from error


def end(file: ConnectionFile) -> bool:
    """End the embedded cluster, and return when its last process is gone; False if there was none.

    Raises
    ------
    ClusterError
        If it does not go even when killed.
    """
    connection = file.live()
    if connection is None:
        with file.lock(_START_WITHIN_S):
            reclaim(file)
        return False
    process = connection.process
    family = _family(process.pid)
    for number, within_s in ((signal.SIGTERM, _STOP_WITHIN_S), (signal.SIGKILL, _KILL_WITHIN_S)):
        process.signal(number)
        if not _alive_after([process], within_s):
            break
    else:
        raise ClusterError(f"the embedded cluster's process {process.pid} cannot be ended")
    for straggler in _alive_after(family, _KILL_WITHIN_S):
        straggler.signal(signal.SIGKILL)
    with file.lock(_START_WITHIN_S):
        reclaim(file)
    return True


def reclaim(file: ConnectionFile) -> None:
    """Remove what daemons that are gone have left: connection file, private folders, and what their ranks had started.

    Call under the file's lock.
    """
    connection = file.read()
    if connection is None or not connection.process.is_alive():
        file.path.unlink(missing_ok=True)
    for folder in _base().glob(_prefix(file) + "*"):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            continue
        if not _is_owned(folder):
            logger.info("removing %s, whose cluster is gone", folder)
            end_cluster(folder)
            shutil.rmtree(folder, ignore_errors=True)


def idle_s() -> float:
    """Seconds without work after which an embedded cluster ends: ``HOPS_CLUSTER_IDLE_S``, by default half an hour.

    Raises
    ------
    ClusterError
        If the setting is no positive number.
    """
    text = os.environ.get("HOPS_CLUSTER_IDLE_S", "")
    try:
        value = float(text or IDLE_S)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ClusterError(f"HOPS_CLUSTER_IDLE_S must be a number of seconds above 0, got {text!r}")
    return value


def take_over(folder: Path) -> None:
    """Note that the calling process now owns ``folder``: it is kept as long as that lives."""
    draft = folder / f"{_OWNER}.draft"
    draft.write_text(json.dumps(asdict(Process.of(os.getpid()) or _nobody())))
    draft.replace(folder / _OWNER)


def log_path(home: Path) -> Path:
    """Where a daemon writes what happens to it; kept after its end."""
    return home / "cluster.log"


def _nobody() -> Process:
    return Process(pid=0, started=0, boot="")


def _is_owned(folder: Path) -> bool:
    try:
        return Process(**json.loads((folder / _OWNER).read_text())).is_alive()
    except (OSError, ValueError, TypeError):
        # its maker may be between making the folder and signing it
        return time.time() - folder.stat().st_mtime < _OWNER_WITHIN_S


def _base() -> Path:
    # short, because sockets' paths are limited to 108 bytes
    return Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir()).absolute()


def _prefix(file: ConnectionFile) -> str:
    return f"hops-{os.getuid()}-{file.digest}-"


def _start(file: ConnectionFile, workers: int | None, threads: int | None) -> Connection:
    sizing = machine.plan(machine.this_machine(), workers, threads)
    words = ["--idle-s", f"{idle_s():g}"]
    words += ["--workers", f"{sizing.workers}"] if workers else []
    words += ["--threads", f"{sizing.threads}"] if threads else []
    file.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=_prefix(file), dir=_base()))
    try:
        take_over(folder)
        ours, theirs = socket.socketpair()
        with ours, _open_log(file.home) as log:
            with theirs:
                command = [sys.executable, "-m", "hops_magic", "cluster", "serve", f"{theirs.fileno()}", f"{folder}", *words]
                _spawn(command, theirs, log, file, folder)
            connection = _hear(ours, file.home)
            file.write(connection)
            ours.sendall(b"1")
    except BaseException:
        # the daemon that gets no acknowledgement removes its folder too; whoever comes second finds nothing
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return connection


def _spawn(command: list[str], channel: socket.socket, log: IO[bytes], file: ConnectionFile, folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JPY_", "PYDEVD_"))}
    environment["HOPS_HOME"] = str(file.home)
    environment["JUPYTER_RUNTIME_DIR"] = str(file.path.parent)
    environment[CLUSTER_FOLDER] = str(folder)
    starter = subprocess.Popen(  # noqa: S603 (our own module)
        command,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[channel.fileno()],
        start_new_session=True,
    )
    # it forks and ends at once, so that the daemon is no child of the kernel
    starter.wait()


def _open_log(home: Path) -> IO[bytes]:
    return os.fdopen(os.open(log_path(home), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "ab")


def _hear(channel: socket.socket, home: Path) -> Connection:
    channel.settimeout(_START_WITHIN_S)
    log = log_path(home)
    try:
        with channel.makefile("rb") as lines:
            line = lines.readline()
    except TimeoutError as error:
        raise ClusterError(f"the embedded cluster did not start within {_START_WITHIN_S:g} s: see {log}") from error
    if not line:
        written = log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
        raise ClusterError(f"the embedded cluster could not start: {written[-1].strip()} (more in {log})")
    message = json.loads(line)
    if "error" in message:
        raise ClusterError(f"the embedded cluster could not start: {message['error']}")
    return Connection.from_json(message["connection"])


def _family(pid: int) -> list[Process]:
    try:
        found = [Process.of(child.pid) for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return [process for process in found if process is not None]


def _alive_after(processes: list[Process], within_s: float) -> list[Process]:
    """Wait for the end of processes that are not our children; return those that are left."""
    deadline = time.monotonic() + within_s
    # a container's init may not reap: only is_alive() tells an exit that nobody collects from a process that runs
    while (left := [process for process in processes if process.is_alive()]) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return left
