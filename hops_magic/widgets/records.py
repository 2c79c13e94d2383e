"""What the registry answers, as tables: runs, one run, comparisons, models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.runs.inputs import FeatureInput
from hops_magic.runs.states import RunState
from hops_magic.widgets import words
from hops_magic.widgets.tables import Cell, Code, Column, Page, Table

if TYPE_CHECKING:
    from hops_magic.registry.infos import Comparison, ExperimentInfo, ModelInfo, ModelVersion, RunInfo
    from hops_magic.registry.records import CapturedName

MAX_METRICS = 60
_COLOURS = {
    RunState.DONE: "#2e8b57",
    RunState.FAILED: "#c9372c",
    RunState.STOPPED: "#b7791f",
    RunState.STOPPING: "#b7791f",
}
_LIVE = "#3b82d6"
_BATCH = "batch/"


def runs_table(infos: Sequence[RunInfo], *, note: str = "", now: float | None = None) -> Table:
    """Runs as a list shows them, each with the course of its leading metric."""
    now = time.time() if now is None else now
    # the curve comes early, since narrow notebooks cut the right end off
    columns = [
        Column(title="Run"),
        Column(title="State"),
        Column(title="Best"),
        Column(title="Started"),
        Column(title="Took", is_number=True),
        Column(title="Ranks", is_number=True),
        Column(title="Experiment"),
        Column(title="Id"),
    ]
    rows = [
        [
            Cell(info.name, is_strong=True),
            _state(info),
            _best(info),
            Cell(when(info.created_at, now)),
            Cell(words.duration(info.duration_s)),
            Cell(str(info.facts.get("workers", ""))),
            Cell(info.experiment),
            Cell(info.run_id),
        ]
        for info in infos
    ]
    lacking = [f"the record of {info.name} is incomplete: {info.incomplete}" for info in infos if info.incomplete]
    notes = "; ".join([*lacking, note] if note else lacking)
    return Table(columns=columns, rows=rows, note=notes, limit=36, empty="no runs: %%distributed records one")


def experiments_table(infos: Sequence[ExperimentInfo]) -> Table:
    """Experiments, last changed first."""
    return Table(
        columns=[Column(title="Experiment"), Column(title="Since"), Column(title="Last change")],
        rows=[[Cell(i.name, is_strong=True), Cell(when(i.created_at)), Cell(when(i.changed_at))] for i in infos],
        empty="no experiments yet",
    )


def run_page(
    info: RunInfo,
    *,
    source: str,
    captured: Sequence[CapturedName],
    error: str = "",
    output: str = "",
    trials: Sequence[RunInfo] = (),
) -> Page:
    """Show one run in full."""
    parts: list[Table | Code] = [_pairs(info.name, _facts(info))]
    if error:
        parts.append(Code(title="Error", code=error))
    if trials:
        parts.append(runs_table(trials))
    if info.metrics:
        parts.append(_metrics(info))
    parts.append(_pairs("Parameters", info.params))
    if info.inputs:
        parts.append(inputs_table(info.inputs))
    if captured:
        parts.append(_captured(captured))
    parts.append(Code(title="Cell", code=source))
    if output:
        parts.append(Code(title="Output of rank 0", code=output))
    return Page(parts)


def inputs_table(inputs: Sequence[FeatureInput]) -> Table:
    """What was read of the feature store."""
    rows = [
        [
            Cell(each.full_name, is_strong=True),
            Cell(each.kind.value),
            Cell("" if each.commit is None else str(each.commit)),
            Cell(", ".join(each.features)),
        ]
        for each in inputs
    ]
    columns = [Column(title=title) for title in ("Features from", "Kind", "Commit", "Features")]
    return Table(columns=columns, rows=rows, empty="nothing was read of the feature store")


def model_page(version: ModelVersion, made_by: RunInfo | None) -> Page:
    """Show one version of a model: the run that made it, and the features that this run read."""
    facts = {
        "version": f"{version.name}/{version.version}",
        "aliases": ", ".join(version.aliases),
        "registered": when(version.created_at),
        "run": f"{version.run_name} {version.run_id}".strip(),
        "size": words.amount(version.size_bytes),
    }
    parts: list[Table | Code] = [_pairs(version.name, {name: fact for name, fact in facts.items() if fact})]
    if version.metrics:
        parts.append(_pairs("Metrics", {name: words.figure(value) for name, value in version.metrics.items()}))
    parts.append(inputs_table(made_by.inputs if made_by else ()))
    return Page(parts)


def comparison_page(comparison: Comparison) -> Page:
    """Show how runs differ."""
    names = [info.name for info in comparison.runs]
    if len(set(names)) < len(names):
        names = [f"{info.name} ({info.run_id[:6]})" for info in comparison.runs]
    parts: list[Table | Code] = [
        _side_by_side("Metrics", "metric", names, comparison.metrics, words.figure),
        _side_by_side("Parameters that differ", "parameter", names, comparison.params, str),
        _side_by_side("Captured values that differ", "name", names, comparison.contents, str),
        _side_by_side("Environment that differs", "package", names, comparison.environment, str),
    ]
    parts = [part for part in parts if isinstance(part, Table) and part.rows]
    if comparison.source_diff:
        parts.append(Code(title="Difference of the cells", code=comparison.source_diff, is_diff=True))
    if not parts:
        parts.append(Table(columns=[], rows=[], empty="these runs do not differ in what was recorded"))
    return Page(parts)


def models_table(infos: Sequence[ModelInfo]) -> Table:
    """Registered models, last changed first."""
    columns = ["Model", "Latest", "Aliases", "Changed", "Description"]
    rows = [
        [
            Cell(info.name, is_strong=True),
            Cell(str(info.latest_version or "")),
            Cell(", ".join(f"{alias} → {version}" for alias, version in sorted(info.aliases.items()))),
            Cell(when(info.changed_at)),
            Cell(info.description),
        ]
        for info in infos
    ]
    empty = "no models: %models register NAME --run RUN, or %%distributed --register NAME"
    return Table(columns=[Column(title=title) for title in columns], rows=rows, empty=empty)


def versions_table(versions: Sequence[ModelVersion]) -> Table:
    """Versions of a model, newest first, with the run that made each and its metrics."""
    names = list(dict.fromkeys(name for version in versions for name in version.metrics))[:6]
    columns = [
        *[Column(title=title) for title in ("Version", "Aliases", "Registered", "Run")],
        *[Column(title=name, is_number=True) for name in names],
        Column(title="Size", is_number=True),
    ]
    rows = [
        [
            Cell(f"{version.name}/{version.version}", is_strong=True),
            Cell(", ".join(version.aliases)),
            Cell(when(version.created_at)),
            Cell(f"{version.run_name} {version.run_id[:6]}".strip()),
            *[Cell(words.figure(version.metrics[name]) if name in version.metrics else "") for name in names],
            Cell(words.amount(version.size_bytes)),
        ]
        for version in versions
    ]
    return Table(columns=columns, rows=rows, empty="no versions")


def when(at: float, now: float | None = None) -> str:
    """``3 min ago`` for today's times, a date for older ones; in the machine's time zone."""
    if not at:
        return ""
    ago = (time.time() if now is None else now) - at
    if ago < 90:
        return "just now"
    if ago < 3_600:
        return f"{ago / 60:.0f} min ago"
    if ago < 86_400:
        return f"{ago / 3_600:.0f} h ago"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _state(info: RunInfo) -> Cell:
    lacking = ", record incomplete" if info.incomplete else ""
    return Cell(f"{info.state.value}{lacking}", colour=_COLOURS.get(info.state, _LIVE))


def _best(info: RunInfo) -> Cell:
    curve = info.curve
    return Cell("") if curve is None else Cell(f"{curve.name} {words.figure(curve.best)}", curve=curve.values)


def _facts(info: RunInfo) -> dict[str, Any]:
    facts, end = info.facts, info.end
    cluster = facts.get("cluster") or {}
    dirty = {True: ", with changes that are not committed", None: "", False: ""}[facts.get("is_dirty")]
    shown = {
        "Id": info.run_id,
        "Experiment": info.experiment,
        "State": f"{info.state.value}: {info.reason}" if info.reason else info.state.value,
        "Record": f"incomplete: {info.incomplete}" if info.incomplete else "",
        "Started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.created_at)) if info.created_at else "",
        "Took": words.duration(info.duration_s),
        "Ranks": facts.get("workers", ""),
        "Notebook": facts.get("notebook") or facts.get("folder", ""),
        "Git commit": f"{facts['commit'][:12]}{dirty}" if facts.get("commit") else "",
        "User": info.user,
        "Cluster": cluster.get("address", ""),
        "Hosts": ", ".join(end.get("hosts", [])),
        "Came back": ", ".join(end.get("names", [])),
        "Stayed": ", ".join(end.get("left_behind", [])),
        "Checkpoint": end.get("checkpoint", ""),
        "Restarts": "; ".join(end.get("restarts", [])),
        "Warnings": "; ".join(end.get("warnings", [])),
        "Notes": "; ".join(end.get("notes", [])),
        "Study": info.parent,
        "Deleted": "yes: %experiments restore brings it back" if info.is_deleted else "",
    }
    return {name: value for name, value in shown.items() if value not in ("", None)}


def _metrics(info: RunInfo) -> Table:
    values = {name: value for name, value in info.metrics.items() if not name.startswith(_BATCH)} or info.metrics
    rows = [[Cell(name), Cell(words.figure(value))] for name, value in list(values.items())[:MAX_METRICS]]
    columns = [Column(title="Metric"), Column(title="Last", is_number=True)]
    curve = info.curve
    if curve is None:
        return Table(title="Metrics", columns=columns, rows=rows)
    columns.append(Column(title="Best"))
    for row, name in zip(rows, values, strict=False):
        row.append(Cell(words.figure(curve.best), curve=curve.values) if name == curve.name else Cell(""))
    return Table(title="Metrics", columns=columns, rows=rows)


def _captured(captured: Sequence[CapturedName]) -> Table:
    columns = [
        Column(title="Name"),
        Column(title="Type"),
        Column(title="Size", is_number=True),
        Column(title="How"),
        Column(title="Content"),
    ]
    rows = [
        [Cell(row.name), Cell(row.type), Cell(words.amount(row.size_bytes)), Cell(row.how), Cell(row.content_hash[:12])]
        for row in captured
    ]
    return Table(title="Came from the notebook", columns=columns, rows=rows)


def _pairs(title: str, values: Mapping[str, Any]) -> Table:
    rows = [[Cell(name), Cell(str(value))] for name, value in values.items()]
    return Table(title=title, columns=[Column(title=""), Column(title="")], rows=rows, limit=120, empty="")


def _side_by_side(
    title: str, head: str, names: Sequence[str], values: Mapping[str, Sequence[Any]], say: Callable[[Any], str]
) -> Table:
    columns = [Column(title=head), *[Column(title=name[:40], is_number=say is words.figure) for name in names]]
    rows = [[Cell(name), *[Cell("" if value is None else say(value)) for value in row]] for name, row in values.items()]
    return Table(title=title, columns=columns, rows=rows[:200])
