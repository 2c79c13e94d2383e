"""Experiments, runs, studies and their trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from hops_magic.api import following
from hops_magic.api.beginning import beginning_runs
from hops_magic.api.columns import Source, sources_of
from hops_magic.api.context import Context
from hops_magic.api.plain import Number, shortened
from hops_magic.api.rerunning import cell_of
from hops_magic.api.routing import Limit, Name, Offset, Payload, Wanted, table
from hops_magic.api.run_rows import MOST_NAMES, MOST_PARAM_CHARS, RunRow, run_row
from hops_magic.errors import ClusterError, NotFoundError, UsageError
from hops_magic.pruning import delete_runs
from hops_magic.registry.infos import RunInfo
from hops_magic.registry.layout import SOURCE
from hops_magic.runs.states import RunState

_MOST_OUTPUT = 1_000_000
_MOST_POINTS = 2_000


class ExperimentRow(Payload):
    """A named series of runs."""

    name: str
    created_at: float
    changed_at: float


class ExperimentPage(Payload):
    """Experiments, last changed first."""

    items: list[ExperimentRow]
    total: int


class RunPage(Payload):
    """A page of runs; ``has_more`` tells whether there are others after it."""

    items: list[RunRow]
    has_more: bool


class ModelMade(Payload):
    """A version of a model that a run made."""

    name: str
    version: int


class CapturedRow(Payload):
    """A name that travelled from the notebook."""

    name: str
    type: str
    size_bytes: int | None
    how: str


class RunDetail(RunRow):
    """All that the record knows of a run, but its output and metrics; ``cell`` runs it again."""

    options: dict[str, Any]
    captured: list[CapturedRow]
    environment: dict[str, Any]
    cell: str
    inputs: list[Source]
    models: list[ModelMade]
    notebook: str
    facts: dict[str, Any]
    end: dict[str, Any]


class Text(Payload):
    """A part of a text: characters ``start`` to ``end`` of ``total``."""

    text: str
    start: int
    end: int
    total: int


class Course(Payload):
    """A metric by step; ``at`` are seconds since the epoch."""

    name: str
    steps: list[int]
    values: list[Number]
    at: list[float]
    is_thinned: bool


class Courses(Payload):
    """Metrics of a run."""

    items: list[Course]


class ComparisonDocument(Payload):
    """How runs differ: a value per run, in order, by name; equal rows are left out of all but metrics."""

    runs: list[RunRow]
    params: dict[str, list[str | None]]
    metrics: dict[str, list[Number]]
    captured: dict[str, list[str | None]]
    environment: dict[str, list[str | None]]
    source_diff: str


class Live(Payload):
    """What changed of a run since the cursor: messages as the live view of notebooks gets them.

    ``is_heard`` tells that news come from the run's cluster itself; ``news_at`` when there last was any, in seconds since
    the epoch by this process's clock, null of a run that has ended.
    """

    cursor: str
    kind: Literal["run", "study"]
    is_final: bool
    is_heard: bool
    news_at: float | None
    updates: list[dict[str, Any]]


class OpenedTrial(Payload):
    """All that a trial said: curves of its metrics, the end of its output, its error."""

    trial: int
    curves: list[dict[str, Any]]
    output: list[list[str]]
    error: str


class Runs(Payload):
    """Runs that were changed."""

    run_ids: list[str]


@table.route("GET", "/experiments", tag="experiments")
def list_experiments(context: Context, *, limit: Limit = 200, offset: Offset = 0) -> ExperimentPage:
    """List experiments, last changed first."""
    found = context.registry.experiments()
    items = [
        ExperimentRow(name=each.name, created_at=each.created_at, changed_at=each.changed_at)
        for each in found[offset : offset + limit]
    ]
    return ExperimentPage(items=items, total=len(found))


@table.route("GET", "/runs", tag="experiments")
def list_runs(
    context: Context,
    *,
    experiment: Annotated[str | None, Field(max_length=500)] = None,
    state: RunState | None = None,
    text: Annotated[str, Field(max_length=500, description="Part of a name, id, user, notebook or experiment.")] = "",
    filter: Annotated[str, Field(max_length=2_000, description="A condition in MLflow's language.")] = "",
    sort: Annotated[str, Field(max_length=300, description="started, ended, name, state, user or a metric.")] = "-started",
    parent: Annotated[str, Field(max_length=100, description="Id of a study: its trials.")] = "",
    deleted: bool = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> RunPage:
    """List runs and studies, newest first."""
    found = context.registry.runs(
        experiment,
        state=state,
        text=text or None,
        filter=filter or None,
        sort=sort,
        limit=limit + 1,
        offset=offset,
        parent=parent or None,
        is_deleted=deleted,
    )
    if not (offset or filter or parent or deleted):
        found = [*beginning_runs(context, experiment=experiment, state=state, text=text), *found]
    return RunPage(items=[run_row(context, info) for info in found[:limit]], has_more=len(found) > limit)


@table.route("GET", "/compare", tag="experiments")
def compare_runs(
    context: Context, *, runs: Annotated[list[str], Field(min_length=2, max_length=50, description="Ids.")]
) -> ComparisonDocument:
    """Tell how runs differ."""
    found = context.registry.compare(*runs)
    return ComparisonDocument(
        runs=[run_row(context, info) for info in found.runs],
        params={
            name: [None if v is None else shortened(v, MOST_PARAM_CHARS) for v in vs] for name, vs in found.params.items()
        },
        metrics={name: list(values) for name, values in found.metrics.items()},
        captured={name: list(values) for name, values in found.contents.items()},
        environment={name: list(values) for name, values in found.environment.items()},
        source_diff=shortened(found.source_diff, 200_000),
    )


@table.route("GET", "/runs/{run}", tag="experiments")
def show_run(context: Context, run: Name) -> RunDetail:
    """Show a run by its id, the beginning of its id, or its name."""
    registry = context.registry
    info = registry.run(run)
    recorded = registry.options(info)
    return RunDetail(
        **{**run_row(context, info).model_dump(), "params": dict(info.params), "metrics": dict(info.metrics)},
        options=recorded,
        cell=cell_of(info, recorded, registry.text(info, SOURCE, default="")),
        captured=[
            CapturedRow(name=each.name, type=each.type, size_bytes=each.size_bytes, how=each.how)
            for each in registry.captured(info)
        ],
        environment=registry.environment(info),
        inputs=sources_of(info.inputs),
        models=[ModelMade(name=each.name, version=each.version) for each in registry.versions_by(info)],
        notebook=str(info.facts.get("notebook", "")),
        facts=dict(info.facts),
        end=dict(info.end),
    )


@table.route("GET", "/runs/{run}/source", tag="experiments")
def run_source(context: Context, run: Name, *, offset: Offset = 0, limit: Limit = 1_000) -> Text:
    """Return the cell of a run; ``limit`` thousand characters of it."""
    return _part(context.registry.source(run), offset, limit * 1_000)


@table.route("GET", "/runs/{run}/output", tag="experiments")
def run_output(
    context: Context,
    run: Name,
    *,
    rank: Annotated[int, Field(ge=0, le=100_000)] = 0,
    offset: Annotated[int, Field(ge=-1, le=2**40, description="Characters before the part; -1 for the end.")] = -1,
    limit: Annotated[int, Field(ge=1, le=_MOST_OUTPUT, description="Most characters.")] = 100_000,
) -> Text:
    """Return a part of what a rank wrote: the end, if no other is asked for."""
    part = context.registry.output_part(run, rank, start=offset, length=limit)
    return Text(text=part.text, start=part.start, end=part.end, total=part.total)


@table.route("GET", "/runs/{run}/error", tag="experiments")
def run_error(context: Context, run: Name) -> Text:
    """Return the tracebacks of a run that failed."""
    return _part(context.registry.error(run), 0, _MOST_OUTPUT)


@table.route("GET", "/runs/{run}/metrics", tag="experiments")
def run_metrics(
    context: Context,
    run: Name,
    *,
    names: Annotated[list[str], Field(max_length=200, description="All that the run's row has, by default.")] = [],  # noqa: B006
    most: Annotated[int, Field(ge=2, le=100_000, description="Most points of each; more are thinned.")] = _MOST_POINTS,
) -> Courses:
    """Return metrics by step."""
    info = context.registry.run(run)
    found = context.registry.metrics(info, names or list(info.metrics)[:MOST_NAMES])
    items = []
    for name, points in found.items():
        stride = -(-len(points) // most)
        kept = points[::stride] if stride > 1 else points
        if stride > 1 and kept[-1] is not points[-1]:
            kept = [*kept, points[-1]]
        course = Course(
            name=name,
            steps=[step for step, _, _ in kept],
            values=[value for _, value, _ in kept],
            at=[at for _, _, at in kept],
            is_thinned=stride > 1,
        )
        items.append(course)
    return Courses(items=items)


@table.route("GET", "/runs/{run}/live", tag="experiments")
def follow_run(
    context: Context, run: Name, *, cursor: Annotated[str, Field(max_length=100, description="Of the last answer.")] = ""
) -> Live:
    """Tell what changed of a run since the cursor; all of it without one, also of a run that has ended."""
    context.looker.watch()
    return following.follow(context, run, cursor)


@table.route("GET", "/runs/{run}/trials/{number}", tag="experiments")
def open_trial(context: Context, run: Name, number: Annotated[int, Field(ge=0, le=10_000_000)]) -> OpenedTrial:
    """Return all that a trial of a study said."""
    return OpenedTrial(**following.opened(context, run, number))


@table.route("POST", "/runs/{run}/stop", tag="experiments", status=202)
def stop_run(context: Context, run: Name) -> Runs:
    """Ask a run or study to stop; its state tells when it has."""
    handle = _handle(context, run)
    if handle.follower.run.state.can_stop:
        handle.stop()
    return Runs(run_ids=[handle.run_id])


@table.route("POST", "/runs/{run}/trials/{number}/stop", tag="experiments", status=202)
def stop_trial(context: Context, run: Name, number: Annotated[int, Field(ge=0, le=10_000_000)]) -> Runs:
    """Ask for the end of one trial of a study."""
    from hops_magic.engine.submit import StudyHandle

    handle = _handle(context, run)
    if not isinstance(handle, StudyHandle):
        raise UsageError(f"{handle.follower.run.name or run} is no study: it has no trials")
    if number not in handle.follower.run.trials:
        raise NotFoundError(f"study {handle.follower.run.name} has no trial {number} yet")
    handle.stop_trial(number)
    return Runs(run_ids=[handle.run_id])


class RunChange(Wanted):
    """What users say of a run: what is left out stays; a tag whose value is null is taken from it."""

    note: Annotated[str, Field(max_length=5_000)] | None = None
    tags: dict[str, str | None] = Field(default_factory=dict)


@table.route("PATCH", "/runs/{run}", tag="experiments")
def change_run(context: Context, run: Name, *, body: RunChange) -> RunRow:
    """Change a run's note and tags."""
    info = context.registry.run(run)
    if body.note is not None:
        context.registry.note(info, body.note)
    for name, value in body.tags.items():
        if value is None:
            context.registry.untag(info, name)
        else:
            context.registry.tag(info, name, value)
    context.changes.say(_topics([info]))
    return run_row(context, context.registry.run(info.run_id))


@table.route("DELETE", "/runs/{run}", tag="experiments")
def delete_run(context: Context, run: Name) -> Runs:
    """Delete a run, with its trials if it is a study; restoring brings it back."""
    gone = delete_runs(context.registry, [run])
    context.changes.say(_topics(gone))
    return Runs(run_ids=[info.run_id for info in gone])


@table.route("POST", "/runs/{run}/restore", tag="experiments")
def restore_run(context: Context, run: Name) -> Runs:
    """Bring a deleted run back."""
    back = context.registry.restore([run])
    context.changes.say(_topics(back))
    return Runs(run_ids=[info.run_id for info in back])


def _handle(context: Context, run: str) -> Any:
    handle = context.live.handle(run)
    if handle is not None:
        return handle
    info = context.registry.run(run)
    handle = context.live.handle(info.run_id)
    if handle is None:
        context.live.find()
        handle = context.live.handle(info.run_id)
    if handle is None:
        if info.state.is_final:
            raise UsageError(f"run {info.name} has ended ({info.state.value}): there is nothing to stop")
        raise ClusterError(f"run {info.name} is not on the cluster in use: connect to its cluster first")
    return handle


def _topics(changed: Iterable[RunInfo]) -> list[str]:
    # pages show trials inside their study
    return ["runs", *(f"run/{info.run_id}" for info in changed if not info.parent)]


def _part(text: str, start: int, length: int) -> Text:
    part = text[start : start + length]
    return Text(text=part, start=min(start, len(text)), end=min(start, len(text)) + len(part), total=len(text))
