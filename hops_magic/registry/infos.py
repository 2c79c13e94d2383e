"""What the registry answers: plain values, made from MLflow's entities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hops_magic.registry import layout
from hops_magic.registry.lineage import inputs_of
from hops_magic.registry.records import CapturedName, RunKind
from hops_magic.registry.rows import MetricSummary
from hops_magic.runs.inputs import FeatureInput
from hops_magic.runs.states import RunState

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

Point = tuple[int, float, float]
"""``(step, value, seconds since the epoch)``"""


@dataclass(frozen=True, kw_only=True)
class ExperimentInfo:
    """A named series of runs."""

    experiment_id: str
    name: str
    created_at: float
    changed_at: float


@dataclass(frozen=True)
class KnownEnd:
    """How a run ended whose record cannot be completed just now, and how much of it the record has."""

    state: RunState
    reason: str = ""
    ended_at: float | None = None
    incomplete: str = ""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """A run as lists show it.

    Attributes
    ----------
    run_id : str
        The id that the cluster, ``%attach`` and the run's folder use; MLflow's own for runs that others recorded.
    record_id : str
        MLflow's id.
    metrics : mapping
        The last value of each metric, those of the system left out.
    curve : MetricSummary or None
        Course of the leading metric; its best is that of the study's direction where the run is a study or a trial.
    direction : str
        Of a study and of its trials: ``minimize`` or ``maximize``; empty for other runs.
    incomplete : str
        How much of what was said the record has, if it lacks some of it: ``44,036 of 100,000 points``.
    facts, end : mapping
        What was known at the start, and at the end: notebook, commit, cluster; checkpoint, restarts, names that came back.
    inputs : tuple of FeatureInput
        What it read of the feature store.
    """

    run_id: str
    record_id: str
    name: str
    experiment: str
    experiment_id: str
    state: RunState
    reason: str = ""
    kind: RunKind = RunKind.RUN
    parent: str = ""
    user: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: MetricSummary | None = None
    direction: str = ""
    incomplete: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    end: Mapping[str, Any] = field(default_factory=dict)
    artifact_uri: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[FeatureInput, ...] = ()
    is_deleted: bool = False

    def with_end(self, end: KnownEnd) -> RunInfo:
        """Return the run as it is known to have ended; as it is recorded if the record has an end."""
        if self.state.is_final:
            return self
        return replace(self, state=end.state, reason=end.reason, ended_at=end.ended_at, incomplete=end.incomplete)

    @property
    def note(self) -> str:
        """What users noted about it."""
        return self.tags.get(layout.TAG_MLFLOW_NOTE, "")

    @property
    def own_tags(self) -> dict[str, str]:
        """The tags that users gave it."""
        return {name: value for name, value in self.tags.items() if not name.startswith(("hops.", "mlflow."))}

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first rank's start, or else from the submission, to the end."""
        return None if self.ended_at is None else self.ended_at - (self.started_at or self.created_at)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How runs differ. Each table maps a name to one value per run, in order; equal rows are left out of all but metrics.

    Attributes
    ----------
    captured : mapping
        Content hashes, or type and size where there is none; None where a run did not capture the name.
    contents : mapping
        The same names, told by type, shape and size.
    source_diff : str
        Unified difference of the first run's cell to each other one's; empty if all are equal.
    """

    runs: tuple[RunInfo, ...]
    params: Mapping[str, tuple[str | None, ...]]
    metrics: Mapping[str, tuple[float | None, ...]]
    captured: Mapping[str, tuple[str | None, ...]]
    contents: Mapping[str, tuple[str | None, ...]]
    environment: Mapping[str, tuple[str | None, ...]]
    source_diff: str


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A registered model."""

    name: str
    description: str = ""
    latest_version: int = 0
    aliases: Mapping[str, int] = field(default_factory=dict)
    created_at: float = 0.0
    changed_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a registered model.

    Attributes
    ----------
    run_id : str
        Our id of the run that made it.
    record_id : str
        MLflow's id of that run.
    metrics : mapping
        Of that run, as they were when the version was registered.
    flavour : str
        What can load it: ``keras``, or empty if unknown.
    file : str
        Path of the model inside its artifact.
    """

    name: str
    version: int
    run_id: str = ""
    record_id: str = ""
    run_name: str = ""
    created_at: float = 0.0
    aliases: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    flavour: str = ""
    file: str = ""
    size_bytes: int | None = None
    source: str = ""


def run_info(run: MlflowRun, experiment_name: str) -> RunInfo:
    """Read a run as MLflow returns it."""
    tags = dict(run.data.tags)
    facts, end = json_tag(tags, layout.TAG_FACTS), json_tag(tags, layout.TAG_END)
    names = json_tag(tags, layout.TAG_NAMES)
    metrics = {names.get(key, key): value for key, value in run.data.metrics.items() if not key.startswith("system/")}
    info = run.info
    return RunInfo(
        run_id=tags.get(layout.TAG_RUN_ID, info.run_id),
        record_id=info.run_id,
        name=tags.get(layout.TAG_NAME) or info.run_name or info.run_id,
        experiment=experiment_name,
        experiment_id=info.experiment_id,
        state=state_of(tags, info.status),
        reason=tags.get(layout.TAG_REASON, ""),
        kind=RunKind(tags.get(layout.TAG_KIND, RunKind.RUN.value)),
        parent=tags.get(layout.TAG_PARENT, ""),
        user=tags.get(layout.TAG_MLFLOW_USER, ""),
        created_at=facts.get("created_at") or (info.start_time or 0) / 1000,
        started_at=end.get("started_at"),
        ended_at=end.get("ended_at") or (info.end_time / 1000 if info.end_time else None),
        params=dict(run.data.params),
        metrics=metrics,
        curve=MetricSummary.from_tag(tags.get(layout.TAG_CURVE, "")),
        direction=tags.get(layout.TAG_DIRECTION, ""),
        incomplete=tags.get(layout.TAG_INCOMPLETE, ""),
        facts=facts,
        end=end,
        artifact_uri=info.artifact_uri or "",
        tags=tags,
        inputs=inputs_of(run),
        is_deleted=info.lifecycle_stage == "deleted",
    )


def state_of(tags: Mapping[str, str], status: str) -> RunState:
    """Return our state of a run; MLflow's where the run is not ours, or was ended with MLflow's own tools."""
    theirs = layout.STATES.get(status, RunState.RUNNING)
    try:
        ours = RunState(tags[layout.TAG_STATE])
    except (KeyError, ValueError):
        return theirs
    return theirs if theirs.is_final and not ours.is_final else ours


def json_tag(tags: Mapping[str, str], name: str) -> dict[str, Any]:
    """Read a tag that holds a JSON object; empty if it is missing or somebody changed it."""
    try:
        value = json.loads(tags.get(name, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def captured_rows(text: str) -> tuple[CapturedName, ...]:
    """Read the artifact with a run's captured names."""
    return tuple(CapturedName(**row) for row in json.loads(text))
