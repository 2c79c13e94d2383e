"""Deletes runs, and the folders of those that were deleted long ago: checkpoints, values that wait, the journal.

The record stays in any case, with what it took of a run (journal, output and model), and can be restored.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hops_magic.registry import layout

if TYPE_CHECKING:
    from hops_magic.registry import Registry
    from hops_magic.registry.finding import Wanted
    from hops_magic.registry.infos import RunInfo

log = logging.getLogger(__name__)

KEPT_S = 7 * 86_400.0
"""How long a deleted run's folder stays, so that restoring it brings everything back."""


def delete_runs(registry: Registry, wanted: Sequence[Wanted], *, now: float | None = None) -> list[RunInfo]:
    """Delete runs so that they can be restored; make room on this machine's disk by those that were deleted a week ago.

    Parameters
    ----------
    now
        Seconds since the epoch; by default the clock's.

    Raises
    ------
    UsageError
        If one of them still runs; then none is deleted.
    """
    gone = registry.delete(wanted)
    _drop_folders(registry, time.time() if now is None else now)
    return gone


def _drop_folders(registry: Registry, now: float) -> None:
    runs = registry.settings.runs
    if not runs.is_dir():
        return
    for info in registry.runs(is_deleted=True, limit=10_000):
        # a run id comes from the record, which others may write to: it must name a folder of a run and nothing else
        folder = runs / info.run_id
        is_a_runs = folder.resolve().parent == runs.resolve() and (folder / layout.JOURNAL).is_file()
        if now - _deleted_at(info) > KEPT_S and is_a_runs and not folder.is_symlink():
            log.info("removing %s of a run that was deleted more than a week ago", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _deleted_at(info: RunInfo) -> float:
    """When a run was deleted by this package, in seconds since the epoch; never if by other tools."""
    try:
        return float(info.tags.get(layout.TAG_DELETED, "inf"))
    except ValueError:
        return float("inf")
