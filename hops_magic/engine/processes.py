"""Process groups that we own, looked at through ``/proc``."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def end_group(group: int, run_id: str) -> list[int]:
    """Kill what a rank left behind in its process group; return the pids.

    The rank itself is gone, so its number may belong to somebody else by now: only processes whose environment names the run
    are touched.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []  # as nearly always: no need to look at every process of the machine
    except PermissionError:
        pass
    mark = f"HOPS_RUN_ID={run_id}".encode()
    ended = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # the fields after the parenthesised name: state, parent, group
            if int((entry / "stat").read_text().rpartition(")")[2].split()[2]) != group:
                continue
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                ended.append(int(entry.name))
    return ended
