"""Tells an interrupt that asks for a stop from one that is the first half of a kernel's restart or shutdown."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator

SHUTDOWN_WITHIN_S = 1.0
_LOOK_S = 0.02


class KernelEnds(KeyboardInterrupt):
    """An interrupt that came with a kernel's end, raised when what it must not cut short was done."""


def is_shutting_down() -> bool:
    """Whether this kernel is being shut down, after an interrupt: waits up to a second for it to be said.

    Jupyter interrupts a kernel before it shuts it down or restarts it; the request to do so comes some milliseconds later,
    and ipykernel notes it in ``shell.exit_now`` from its control thread. Nothing of the kind follows a user's interrupt.

    Raises
    ------
    KeyboardInterrupt
        If a second interrupt comes meanwhile, which means a stop.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # in a terminal, or a script, Ctrl+C is nothing but a stop
    if shell is None or getattr(shell, "kernel", None) is None:
        return False
    ends = time.monotonic() + SHUTDOWN_WITHIN_S
    while not shell.exit_now and time.monotonic() < ends:
        time.sleep(_LOOK_S)
    return bool(shell.exit_now)


@contextlib.contextmanager
def uncut_by_shutdown() -> Iterator[None]:
    """Let a kernel's end wait for the block to be done, as long as Jupyter waits for the kernel; a stop cuts it short.

    Raises
    ------
    KernelEnds
        After the block, if the kernel is being shut down.
    KeyboardInterrupt
        In the block, at an interrupt that is no kernel's end.
    """
    # Python runs handlers of signals in its main thread alone; a handler of somebody else's stays as it is
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    ended = False

    def at_interrupt(*_: object) -> None:
        nonlocal ended
        # while it is looked whether the kernel ends, a second interrupt is a stop
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not is_shutting_down():
            raise KeyboardInterrupt
        ended = True

    signal.signal(signal.SIGINT, at_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if ended:
        raise KernelEnds
