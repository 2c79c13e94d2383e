"""What this machine offers, and how an embedded cluster is cut from it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from hops_magic.errors import OptionError

_FEWEST_WORKERS_BY_DEFAULT = 2  # so that a cell can train on two ranks wherever it is tried
_MOST_WORKERS_BY_DEFAULT = 4
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The part of a machine that this process may use.

    Attributes
    ----------
    cores : int
        Physical cores within the process's affinity and its container's quota, at least 1.
    memory_bytes : int
        Memory within the container's limit.
    gpus : tuple of str
        Index (or MIG identifier) of each NVIDIA GPU that ``CUDA_VISIBLE_DEVICES`` leaves visible.
    """

    cores: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """How many workers an embedded cluster starts with, and what each gets.

    Attributes
    ----------
    memory_bytes : int
        What Dask's own data may take in a worker before it goes to disk. Half of the memory stays for the ranks, which are
        processes of their own.
    """

    workers: int
    threads: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


def this_machine() -> Machine:
    """Look at the machine under this process."""
    import psutil
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    # hyperthreads share the units that training needs; a container may count fewer logical than physical ones
    threads_per_core = max(1, logical // physical)
    return Machine(cores=max(1, CPU_COUNT // threads_per_core), memory_bytes=int(MEMORY_LIMIT), gpus=visible_gpus())


def plan(machine: Machine, workers: int | None = None, threads: int | None = None) -> Sizing:
    """Choose workers and their threads: one worker per GPU; without GPUs 2 to 4, which share the cores.

    Raises
    ------
    OptionError
        If a number is below 1 or there are more workers than GPUs.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise OptionError(name, "must be at least 1", value)
    if machine.gpus:
        check_gpus(machine.gpus, workers or 1)
    by_cores = min(max(machine.cores, _FEWEST_WORKERS_BY_DEFAULT), _MOST_WORKERS_BY_DEFAULT)
    count = workers or len(machine.gpus) or by_cores
    return Sizing(
        workers=count,
        threads=threads or threads_each(machine.cores, count),
        memory_bytes=int(machine.memory_bytes * _SHARE_OF_MEMORY) // count,
        gpus=machine.gpus,
    )


def threads_each(cores: int, workers: int) -> int:
    """Threads per worker that do not oversubscribe the cores."""
    return max(1, cores // max(1, workers))


def check_gpus(gpus: tuple[str, ...], workers: int) -> None:
    """Refuse more workers than GPUs.

    Raises
    ------
    OptionError
    """
    if workers > len(gpus):
        rule = f"must be at most {len(gpus)} (one per GPU of this machine)"
        raise OptionError("workers", rule, workers, "set CUDA_VISIBLE_DEVICES to nothing for a cluster of CPU workers")


def visible_gpus() -> tuple[str, ...]:
    """Return the NVIDIA GPUs of this process, without touching any of them; none without a driver."""
    with _driver() as is_there:
        if not is_there:
            return ()
        import pynvml

        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        if chosen is None:
            return tuple(str(index) for index in range(pynvml.nvmlDeviceGetCount()))
        named = [part.strip() for part in chosen.split(",")]
        return tuple(_index(name) for name in named if name and name != "-1")


def gpus_of_worker() -> tuple[str, ...]:
    """Return the GPU of a Dask-CUDA worker, which has its own first in ``CUDA_VISIBLE_DEVICES``; none of other workers."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if not (first.isdigit() or first.startswith(("GPU-", "MIG-"))):
        return ()
    with _driver() as is_there:
        return (_index(first) if is_there else first,)


@contextlib.contextmanager
def _driver() -> Iterator[bool]:
    """Whether NVIDIA's library answers, in the time of the block."""
    is_there = False
    with contextlib.suppress(ImportError):
        import pynvml

        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            is_there = True
    try:
        yield is_there
    finally:
        if is_there:
            pynvml.nvmlShutdown()


def _index(name: str) -> str:
    """``GPU-3f…`` -> ``"0"``; an index or a MIG identifier stays what it is."""
    import pynvml

    if not name.startswith("GPU-"):
        return name
    return str(pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(name)))
