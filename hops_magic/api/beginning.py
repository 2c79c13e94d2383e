"""Runs that live on the cluster and have no record yet: whoever writes it may still be importing what it takes."""

from __future__ import annotations

from hops_magic.api.context import Context
from hops_magic.errors import NotFoundError
from hops_magic.registry.infos import RunInfo
from hops_magic.registry.records import RunKind
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study


def beginning_runs(context: Context, *, experiment: str | None, state: RunState | None, text: str) -> list[RunInfo]:
    """Return such runs, newest first, as the record will tell them; only those of an experiment, in a state, with a text."""
    found = []
    for run in context.live.unrecorded():
        is_wanted = experiment in (None, run.experiment) and state in (None, run.state)
        if is_wanted and any(text.lower() in told.lower() for told in (run.name, run.run_id, run.experiment)):
            found.append(_info(run))
    return sorted(found, key=lambda info: -info.created_at)


def is_recorded(context: Context, run_id: str) -> bool:
    """Whether a run has a record."""
    try:
        return context.registry.run(run_id).run_id == run_id
    except NotFoundError:
        return False


def _info(run: Run | Study) -> RunInfo:
    return RunInfo(
        run_id=run.run_id,
        record_id="",
        name=run.name or run.run_id,
        experiment=run.experiment,
        experiment_id="",
        state=run.state,
        kind=RunKind.STUDY if isinstance(run, Study) else RunKind.RUN,
        created_at=run.created_at,
    )
