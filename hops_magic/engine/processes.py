"""Processes that we own, looked at through ``/proc`` and known by what their environment names."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

CLUSTER_FOLDER = "HOPS_CLUSTER_FOLDER"


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
    return _end(f"HOPS_RUN_ID={run_id}", lambda process: _group(process) == group)


def end_leftovers(run_id: str) -> list[int]:
    """Kill what ranks of a run that is over had started, wherever it went; return the pids.

    A worker that is killed takes its ranks along, but not what they had started.
    """
    return _end(f"HOPS_RUN_ID={run_id}", lambda process: process.stat().st_uid == os.getuid())


def end_cluster(folder: Path) -> list[int]:
    """Kill what workers and ranks of an embedded cluster had started that was killed itself; return the pids.

    Parameters
    ----------
    folder
        The cluster's private one, in the environment of all its processes as ``HOPS_CLUSTER_FOLDER``.
    """
    return _end(f"{CLUSTER_FOLDER}={folder}", lambda process: process.stat().st_uid == os.getuid())


def _end(words: str, is_meant: Callable[[Path], bool]) -> list[int]:
    mark = words.encode()
    ended = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            if is_meant(process) and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                ended.append(int(process.name))
    return ended


def _group(process: Path) -> int:
    # the fields after the parenthesised name: state, parent, group
    return int((process / "stat").read_text().rpartition(")")[2].split()[2])
