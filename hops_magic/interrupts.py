"""Tells an interrupt that asks for a stop from one that is the first half of a kernel's restart or shutdown."""

from __future__ import annotations

import sys
import time

SHUTDOWN_WITHIN_S = 1.0
_LOOK_S = 0.02


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
