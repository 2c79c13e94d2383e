"""What a rank's process uses, and whether it still lives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from hops_magic.runs.events import Resources

_DISK_S = 60.0


class ResourceSampler:
    """Samples the CPU and the private memory of a rank and of what it started; shared pages are not counted again."""

    def __init__(self, pid: int, gpus: Sequence[str] = ()) -> None:
        self._gpus = _Gpus(gpus) if gpus else None
        self._pid = pid
        self._known: dict[int, psutil.Process] = {}
        self._processes()

    def sample(self, rank: int) -> Resources | None:
        """Return what the rank uses now, None if it is gone."""
        cpu, memory, is_there = 0.0, 0, False
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                cpu += process.cpu_percent()
                memory += process.memory_full_info().uss
                is_there = is_there or process.pid == self._pid
        if not is_there:
            return None
        gpu_percent, gpu_memory = self._gpus.sample() if self._gpus is not None else (None, None)
        return Resources(
            at=time.time(),
            rank=rank,
            cpu_percent=cpu,
            memory_bytes=memory,
            gpu_percent=gpu_percent,
            gpu_memory_bytes=gpu_memory,
        )

    def _processes(self) -> list[psutil.Process]:
        """The rank and its descendants, the same objects each time: CPU use is counted from one call to the next."""
        pids, known = _tree(self._pid), self._known
        self._known = {}
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._known[pid] = process = known.get(pid) or psutil.Process(pid)
                if pid not in known:
                    process.cpu_percent()  # the first call only sets the mark from which the next one counts
        return list(self._known.values())


def _tree(pid: int) -> list[int]:
    """A process and its descendants, read off the kernel's lists of children instead of a walk over all processes."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in children.read_text().split())
    return found


class _Gpus:
    """The GPUs of a rank, as NVIDIA's library tells of them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._handles: list[Any] | None = None

    def sample(self) -> tuple[float | None, int | None]:
        """Return how busy they are on average, and the bytes in use on all of them; None where that is not told."""
        try:
            import pynvml
        except ModuleNotFoundError:
            return None, None

        def told(ask: Callable[[Any], int]) -> list[int] | None:
            try:
                if self._handles is None:
                    pynvml.nvmlInit()
                    self._handles = [_handle(name) for name in self._names]
                return [ask(handle) for handle in self._handles]
            except pynvml.NVMLError:
                return None

        # each for itself: of a slice of a GPU (MIG) it tells the memory alone
        busy = told(lambda handle: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))
        used = told(lambda handle: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used))
        return None if busy is None else sum(busy) / len(busy), None if used is None else sum(used)


def _handle(name: str) -> Any:
    import pynvml

    return pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(name)


class Liveness:
    """Tells a hung rank from a busy one.

    A rank that holds the interpreter's lock in long C code sends no heartbeat, but it uses the CPU, or would if there were
    one free, or waits for a disk. Hung is what neither speaks nor computes.
    """

    def __init__(self, pid: int, *, hung_after_s: float) -> None:
        self._process, self._hung_after_s = Path(f"/proc/{pid}"), hung_after_s
        self._ticks, self._idle_since = -1, time.monotonic()

    def is_hung(self, silent_s: float) -> bool:
        """Judge by the seconds since the rank was heard last; call it about once a second."""
        now = time.monotonic()
        try:
            _, ticks = _stat(self._process)
        except OSError:
            return False  # gone: its exit is being told already
        if ticks != self._ticks or (silent_s > self._hung_after_s and self._would_run(silent_s)):
            self._ticks, self._idle_since = ticks, now
        return silent_s > self._hung_after_s and now - self._idle_since > min(1.0, self._hung_after_s)

    def _would_run(self, silent_s: float) -> bool:
        """Whether a thread waits for a CPU, or for a disk or network folder, if not for too long."""
        waits = "R" if silent_s > _DISK_S else "RD"
        for thread in (self._process / "task").glob("*"):
            with contextlib.suppress(OSError):
                if _stat(thread)[0] in waits:
                    return True
        return False


def _stat(place: Path) -> tuple[str, int]:
    """State and CPU ticks of a process or thread, see ``proc_pid_stat(5)``."""
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def oom_kills() -> int:
    """How often the kernel killed a process of our memory cgroup for want of memory; 0 where that is not told."""
    for place in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(place).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
