"""Homes of users, kernels in them, and facts to wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from hops_magic.engine.connection import Connection, ConnectionFile


@dataclass(frozen=True)
class Place:
    """A user's home and runtime directory, as kernels see it."""

    root: Path

    @property
    def file(self) -> ConnectionFile:
        return ConnectionFile(self.root / "home", self.root / "runtime")

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "HOPS_HOME": str(self.root / "home"),
            "JUPYTER_RUNTIME_DIR": str(self.root / "runtime"),
            "TMPDIR": str(self.root / "tmp"),
            **more,
        }

    def kernel(self, code: str, **more: str) -> subprocess.Popen[str]:
        """Run code in a process that stands for a kernel."""
        command = [sys.executable, "-c", f"from hops_magic.engine.cluster import Clusters\n{code}"]
        return subprocess.Popen(
            command,
            env=self.environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        command = [sys.executable, "-m", "hops_magic", "cluster", *words]
        return subprocess.run(
            command, env=self.environment(**more), capture_output=True, text=True, cwd="/", timeout=120, check=False
        )

    def scratch(self) -> list[Path]:
        """What daemons have left in the temporary directory."""
        return list((self.root / "tmp").glob("hops-*"))


def until(fact: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, "the fact did not come true in time"
        time.sleep(0.02)


def family(connection: Connection) -> list[psutil.Process]:
    """Return the daemon and all that it has started."""
    daemon = psutil.Process(connection.process.pid)
    return [daemon, *daemon.children(recursive=True)]


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def shared_memory() -> set[Path]:
    """Return the shared memory that Python's processes could have left; other programs have theirs beside it."""
    return {path for path in Path("/dev/shm").iterdir() if path.name.startswith(("psm_", "sem.", "hops"))}
