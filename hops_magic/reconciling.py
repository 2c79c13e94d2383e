"""Brings records and what happened together: ended runs are completed, those of clusters that are gone are closed."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from hops_magic.addresses import is_listening
from hops_magic.errors import HopsError, RegistryError
from hops_magic.registry.infos import KnownEnd, RunInfo
from hops_magic.registry.laid_down import Beginning, left_behind
from hops_magic.registry.registry import LOST_REASON, Registry
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study

if TYPE_CHECKING:
    from hops_magic.engine.cluster import Cluster
    from hops_magic.engine.submit import LiveRun
    from hops_magic.registry.completing import Story
    from hops_magic.runs.run import Run

logger = logging.getLogger(__name__)

SETTLED_AFTER_S = 60.0
"""After a run's end its own supervisor writes the record; on a cluster that is not asked it has so long for it."""


class Fate(Enum):
    """What became of a run that its record calls unfinished."""

    LIVES = "lives"
    ENDED = "ended"
    LOST = "lost"


def reconcile(registry: Registry, cluster: Cluster | None) -> list[str]:
    """Complete the records of runs that have ended, and close those of runs whose cluster is gone, or knows them no more.

    Returns
    -------
    list of str
        The ids of the runs whose records were closed.
    """
    begun = left_behind(registry.settings.runs)
    known = _known(cluster) if begun else None
    for beginning in begun:
        _begin_again(registry, beginning, cluster, known or {})
    unfinished = registry.unfinished()
    if not unfinished:
        return []
    known = _known(cluster) if known is None else known
    closed, lost = [], set()
    for info in (info for info in unfinished if not info.parent):
        place = _Place(info.run_id, info.facts.get("cluster", {}), str(registry.environment(info).get("host", "")))
        fate = _fate(registry, place, cluster, known)
        if fate is Fate.LOST:
            lost.add(info.run_id)
        if fate is not Fate.LIVES and _closed(registry, info, cluster, known.get(info.run_id)):
            closed.append(info.run_id)
    # trials are lost with their study, which may have been closed before
    still = {info.run_id for info in unfinished} - lost
    orphans = [info.run_id for info in unfinished if info.parent and info.parent not in still]
    return closed + [info.run_id for info in registry.mark_lost(orphans)]


def _known(cluster: Cluster | None) -> dict[str, LiveRun]:
    if cluster is None or not cluster.is_usable:
        return {}
    from hops_magic.engine.submit import live_runs

    return {run.run_id: run for run in live_runs(cluster.client)}


def _begin_again(registry: Registry, beginning: Beginning, cluster: Cluster | None, known: dict[str, LiveRun]) -> None:
    """Begin the record of a run whose supervisor died at that, unless another one will."""
    from hops_magic.registry.completing import begin_again

    record = beginning.record
    place = _Place(record.run_id, record.cluster, str(beginning.environment.get("host", "")))
    if record.run_id in known and known[record.run_id].is_completing:
        return
    if _fate(registry, place, cluster, known) is Fate.LIVES:
        return
    try:
        begin_again(registry, beginning)
    except RegistryError as error:
        logger.info("the record of run %s cannot be begun yet: %s", record.run_id, error)


@dataclass(frozen=True)
class _Place:
    """Where a run was: on which cluster, and on which machine its record was written, if that is known."""

    run_id: str
    cluster: Mapping[str, Any]
    host: str


def _fate(registry: Registry, place: _Place, cluster: Cluster | None, known: dict[str, LiveRun]) -> Fate:
    from hops_magic.engine.journal import last_state

    if place.run_id in known:
        return Fate.ENDED if known[place.run_id].is_final else Fate.LIVES
    address = str(place.cluster.get("address", ""))
    is_in_use = cluster is not None and cluster.is_usable and address == cluster.address
    # homes are shared among machines, whose ports are not
    was_here = place.host in ("", socket.gethostname())
    is_gone = is_in_use or (bool(place.cluster.get("is_local")) and not is_listening(address) and was_here)
    last = last_state(registry.settings.runs / place.run_id)
    if last is not None and last.state.is_final and (is_gone or time.time() - last.at > SETTLED_AFTER_S):
        return Fate.ENDED
    return Fate.LOST if is_gone else Fate.LIVES


def _closed(registry: Registry, info: RunInfo, cluster: Cluster | None, known: LiveRun | None) -> bool:
    """Complete a record; where that fails, let those who read it know how the run ended and what is missing."""
    from hops_magic.engine.journal import last_state
    from hops_magic.registry.completing import complete, lost, story_of, unwritten

    story = None
    try:
        story = story_of(registry, info, None if cluster is None or known is None else _summary(cluster, info.run_id))
        if not story.summary.state.is_final:
            story = lost(story, LOST_REASON)
        if known is not None and known.is_completing:
            told = last_state(registry.settings.runs / info.run_id)
            if told is None or not told.state.is_final or not registry.environment(info):
                # what is missing has no file yet, and what is closed without it would never get it
                raise RegistryError("a part of it waits for room in the memory of its supervisor, which completes it")
        complete(registry, info, story)
    except RegistryError as error:
        logger.info("the record of run %s cannot be completed yet: %s", info.run_id, error)
        if story is not None:
            registry.note_ends(_ends(story, unwritten(registry, info, story)))
        return False
    return True


def _summary(cluster: Cluster, run_id: str) -> Run | Study | None:
    """Return the last summary of a run that its cluster still has."""
    from hops_magic.engine.submit import attach

    try:
        handle = attach(cluster.client, run_id)
    except HopsError:
        return None  # forgotten just now
    handle.follower.close()
    return handle.follower.run


def _ends(story: Story, incomplete: str) -> dict[str, KnownEnd]:
    summary = story.summary
    ends = {
        summary.run_id: KnownEnd(summary.state, summary.reason, summary.ended_at, incomplete or "its end is not written")
    }
    if isinstance(summary, Study):
        ends |= {
            f"{summary.run_id}-{trial.number}": KnownEnd(RunState(trial.state.value), trial.reason, trial.ended_at)
            for trial in summary.ended()
        }
    return ends
