"""Runs that have ended and that no cluster knows any more: their summary by the record, their values in their folder.

A cluster may end, or forget, before a detached run's values were brought back; what rank 0 left lies in the run's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hops_magic.engine.job import RESULT_NAME
from hops_magic.engine.results import Result
from hops_magic.engine.submit import LiveRun
from hops_magic.errors import ClusterError, NotFoundError, UsageError
from hops_magic.registry import STUDY_FILE, RunKind
from hops_magic.registry.infos import RunInfo
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.study import Study

if TYPE_CHECKING:
    from hops_magic.registry import Registry


class KeptRun:
    """What is left of a run or study that has ended; it hands values out as a handle of one on a cluster does.

    Raises
    ------
    NotFoundError
        If nothing is left but its record.
    UsageError
        If it still runs, on some other cluster, or is a trial, whose values are the study's.
    """

    def __init__(self, registry: Registry, info: RunInfo) -> None:
        if info.kind is RunKind.TRIAL:
            raise UsageError(f"{info.name} is a trial of study {info.parent}: %attach {info.parent} brings what was kept")
        if not info.state.is_final:
            place = info.facts.get("cluster", {}).get("address", "another cluster")
            raise UsageError(f"run {info.name} still runs on {place}: %cluster connect to it first")
        self.run_id = info.run_id
        self._info, self._folder = info, registry.settings.runs / info.run_id
        self.run: Run | Study = _with_warning(_summary(registry, info), info)

    def result(self) -> Result | None:
        """Tell where rank 0 left its values; None if there were none."""
        if self.run.result is None:
            return None
        path = next(_parcels(self._folder), self._folder / RESULT_NAME)
        return Result(worker="", host="", path=str(path))

    def fetch(self, result: Result, into: Path) -> Path:  # noqa: ARG002 (what lies here need not be copied)
        """Return the file of the values.

        Raises
        ------
        ClusterError
            If it is not there any more.
        """
        path = Path(result.path)
        if not path.is_file():
            hosts = ", ".join(self._info.end.get("hosts", ())) or "another machine"
            raise ClusterError(
                f"the values of run {self._info.name} are not in {path.parent}: they have been brought back before, "
                f"or lie where its rank 0 ran ({hosts})"
            )
        return path

    def forget(self) -> None:
        """Do nothing: no cluster knows of it."""


def kept_runs(registry: Registry) -> list[LiveRun]:
    """Return the runs that have ended and whose values lie on this machine, newest first."""
    found = []
    for folder in registry.settings.runs.glob("*"):
        if not any(_parcels(folder)):
            continue
        try:
            info = registry.run(folder.name)
        except NotFoundError:
            continue  # of another registry
        if info.state.is_final and not info.is_deleted:
            found.append(_line(info))
    return sorted(found, key=lambda run: -run.created_at)


def _line(info: RunInfo) -> LiveRun:
    return LiveRun(
        run_id=info.run_id,
        name=info.name,
        experiment=info.experiment,
        world_size=int(info.end.get("world_size") or 1),
        created_at=info.created_at,
        is_final=True,
        is_study=info.kind is RunKind.STUDY,
        state=info.state,
    )


def _parcels(folder: Path) -> Iterator[Path]:
    yield from folder.glob(RESULT_NAME)
    # of a study, the best trial's
    yield from folder.glob(f"trials/*/{RESULT_NAME}")


def _with_warning(run: Run | Study, info: RunInfo) -> Run | Study:
    if not info.incomplete:
        return run
    return replace(run, warnings=(*run.warnings, f"the record of the run is incomplete: it has {info.incomplete}"))


def _summary(registry: Registry, info: RunInfo) -> Run | Study:
    """Fold the journal of a run."""
    described = registry.text(info, STUDY_FILE, default="")
    if described:
        from hops_magic.tuning.continuing import study_of

        study = study_of(info.run_id, json.loads(described), registry.journal(info))
        study = replace(study, started_at=info.started_at, ended_at=info.ended_at)
        return replace(study, state=info.state, reason=info.reason)
    ranks = int(info.end.get("world_size") or 1)
    run = Run(run_id=info.run_id, name=info.name, experiment=info.experiment, world_size=ranks, created_at=info.created_at)
    run = advance_all(run, registry.journal(info))
    # the journal of a run whose cluster died has no end
    return run if run.state.is_final else replace(run, state=info.state, reason=info.reason, ended_at=info.ended_at)
