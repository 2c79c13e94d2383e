"""A shadow of rank 0: a forked process that makes the first step as one process would, with all rows of the batch.

It tells by which rule the ranks' gradients of each ``backward()`` are joined, and what of the step is not one process's. It
runs the user's own code up to the next batch, can neither write files nor send anything, and ends there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import stat
import struct
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hops_magic.frameworks.forks import die_with_parent

_SIZE = struct.Struct("<Q")
LEAST_S = 120.0
TIMES_OWN = 30.0


@dataclass
class Shadow:
    """The shadow, as seen from rank 0; on the other ranks there is only the knowledge that it is there.

    Parameters
    ----------
    pid, source
        Of the process, and what it says; 0 and -1 where it is another rank's, or cannot be asked any more.
    """

    pid: int = 0
    source: int = -1
    began: float = 0.0

    def receive(self) -> Any:
        """Return what the shadow says next; None if it has ended or does not answer in a time that its work can take."""
        if self.source < 0:
            return None
        # it computes on one thread what all ranks share
        until = time.monotonic() + max(LEAST_S, TIMES_OWN * (time.monotonic() - self.began))
        head = self._exactly(_SIZE.size, until)
        body = self._exactly(_SIZE.unpack(head)[0], until) if head else None
        return pickle.loads(body) if body else None

    def _exactly(self, size: int, until: float) -> bytes | None:
        parts, missing = [], size
        while missing:
            ready, _, _ = select.select([self.source], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self.source, min(missing, 1 << 20)) if ready else b""
            if not part:
                return None
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        """End the process."""
        if self.source < 0:
            return
        os.close(self.source)
        self.source = -1
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Said:
    """The shadow's way to rank 0."""

    def __init__(self, target: int) -> None:
        self._target = target

    def say(self, message: Any) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        left = memoryview(_SIZE.pack(len(data)) + data)
        while left:
            left = left[os.write(self._target, left) :]


def fork() -> Shadow | Said:
    """Fork; return the shadow to rank 0, and to the shadow its way to say what it finds."""
    source, target = os.pipe()
    with warnings.catch_warnings():
        # its other threads talk with the host and with other ranks, which the shadow does not
        warnings.filterwarnings("ignore", r".*multi-threaded, use of fork", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(target)
        return Shadow(pid, source, time.monotonic())
    os.close(source)
    _become_shadow(target)
    return Said(target)


def leave() -> None:
    """End the shadow: nothing that its process would do at its end may happen twice."""
    os._exit(0)


def _become_shadow(target: int) -> None:
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for entry in list(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        if number not in (target, nothing) and _leads_out(number):
            os.dup2(nothing, number)
    import torch

    # threads do not come along, and whoever waits for them waits for ever
    torch.set_num_threads(1)


def _leads_out(descriptor: int) -> bool:
    """Whether what is written there would be seen by others."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
        return True
    return stat.S_ISREG(mode) and _is_writable(descriptor)


def _is_writable(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
