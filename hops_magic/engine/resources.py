"""What a rank's process uses, and whether it still lives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from hops_magic.runs.events import Resources


class ResourceSampler:
    """Samples the CPU and the private memory of a rank; pages shared with the warm process are not counted again."""

    def __init__(self, pid: int, gpus: Sequence[int] = ()) -> None:
        self._gpus = _Gpus(gpus) if gpus else None
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)
            self._process.cpu_percent()  # the first call only sets the mark from which the next one counts

    def sample(self, rank: int) -> Resources | None:
        """Return what the rank uses now, None if it is gone."""
        if self._process is None:
            return None
        try:
            cpu, memory = self._process.cpu_percent(), self._process.memory_full_info().uss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
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


class _Gpus:
    """The GPUs of a rank, as NVIDIA's library tells of them."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._indices = indices
        self._handles: list[Any] | None = None

    def sample(self) -> tuple[float | None, int | None]:
        """Return how busy they are on average, and the bytes in use on all of them; None where that is not told."""
        try:
            import pynvml
        except ModuleNotFoundError:
            return None, None
        try:
            if self._handles is None:
                pynvml.nvmlInit()
                self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in self._indices]
            busy = [pynvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in self._handles]
            used = [pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in self._handles]
        except pynvml.NVMLError:
            return None, None
        return sum(busy) / len(busy), sum(used)


class Liveness:
    """Tells a hung rank from a busy one.

    A rank that holds the interpreter's lock in long C code sends no heartbeat, but it uses the CPU. Hung is what neither
    speaks nor computes.
    """

    def __init__(self, pid: int, *, hung_after_s: float) -> None:
        self._stat, self._hung_after_s = Path(f"/proc/{pid}/stat"), hung_after_s
        self._ticks, self._idle_since = -1, time.monotonic()

    def is_hung(self, silent_s: float) -> bool:
        """Judge by the seconds since the rank was heard last; call it about once a second."""
        now = time.monotonic()
        try:
            fields = self._stat.read_text().rpartition(")")[2].split()
        except OSError:
            return False  # gone: its exit is being told already
        ticks = int(fields[11]) + int(fields[12])
        if ticks != self._ticks:
            self._ticks, self._idle_since = ticks, now
        return silent_s > self._hung_after_s and now - self._idle_since > min(1.0, self._hung_after_s)


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
