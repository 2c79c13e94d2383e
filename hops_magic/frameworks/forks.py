"""What processes that fork do for one another."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; end at once if that has happened already."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_if_forked(pid: int) -> None:
    """End a process that came out of a fork in the user's code and has run on to the cell's end: it is no rank."""
    if os.getpid() != pid:
        os._exit(0)
