"""Write, delete and restore many runs at once: MLflow's client needs a transaction or three for each, and 25 ms.

Works on MLflow's SQL stores, whose tables are written as MLflow itself writes them; a server is spoken to run by run.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hops_magic.registry.queries import in_parts
from hops_magic.registry.rows import HUGE, Point, Row
from hops_magic.registry.store import Store

_RUNS_A_STATEMENT = 500
MLFLOW_NAME = "mlflow.runName"


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that is over, as it is to be recorded; keys and values as MLflow accepts them."""

    name: str
    status: str
    started_ms: int
    ended_ms: int
    user: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Row] = ()
    record_id: str = field(default_factory=lambda: uuid.uuid4().hex)


def can_write_many(store: Store) -> bool:
    """Whether the store is a database whose tables can be written."""
    return hasattr(store.client._tracking_client.store, "ManagedSessionMaker")


def write_many(store: Store, experiment_id: str, runs: Sequence[FinishedRun]) -> None:
    """Write runs with their parameters, tags and metrics in one transaction: all or none."""
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import insert

    sql: Any = store.client._tracking_client.store
    place = sql.get_experiment(experiment_id).artifact_location.rstrip("/")
    tables: list[tuple[Any, list[dict[str, Any]]]] = [
        (models.SqlRun, [_run_row(run, experiment_id, place) for run in runs]),
        (models.SqlTag, [row for run in runs for row in _pairs(run, {MLFLOW_NAME: run.name, **run.tags})]),
        (models.SqlParam, [row for run in runs for row in _pairs(run, run.params)]),
        (models.SqlMetric, [row for run in runs for row in _metric_rows(run)]),
        (models.SqlLatestMetric, [row for run in runs for row in _latest_rows(run)]),
    ]
    with sql.ManagedSessionMaker() as session:
        for table, rows in tables:
            if rows:
                session.execute(insert(table), rows)


def points_of(store: Store, record_id: str) -> set[Point]:
    """Return the points that the record of a run has."""
    if not can_write_many(store):
        client = store.client
        keys = client.get_run(record_id).data.metrics
        found = (metric for key in keys for metric in client.get_metric_history(record_id, key))
        return {Row(metric.key, metric.value, metric.timestamp, metric.step).point for metric in found}
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import select

    columns = (SqlMetric.key, SqlMetric.value, SqlMetric.timestamp, SqlMetric.step, SqlMetric.is_nan)
    with store.client._tracking_client.store.ManagedSessionMaker() as session:
        rows = session.execute(select(*columns).where(SqlMetric.run_uuid == record_id))
        return {Row(key, math.nan if is_nan else value, at, step).point for key, value, at, step, is_nan in rows}


def delete_many(store: Store, record_ids: Sequence[str], *, tag: str, value: str, at_ms: int) -> None:
    """Delete runs as MLflow does, so that they can be restored, and give them a tag; in one transaction: all or none."""
    from mlflow.store.tracking.dbmodels.models import SqlTag
    from sqlalchemy import delete, insert

    with store.client._tracking_client.store.ManagedSessionMaker() as session:
        for some in in_parts(record_ids, _RUNS_A_STATEMENT):
            session.execute(delete(SqlTag).where(SqlTag.key == tag, SqlTag.run_uuid.in_(some)))
            session.execute(insert(SqlTag), [{"run_uuid": each, "key": tag, "value": value} for each in some])
            _set_stage(session, some, stage="deleted", deleted_ms=at_ms)


def restore_many(store: Store, record_ids: Sequence[str]) -> None:
    """Bring deleted runs back, in one transaction."""
    with store.client._tracking_client.store.ManagedSessionMaker() as session:
        for some in in_parts(record_ids, _RUNS_A_STATEMENT):
            _set_stage(session, some, stage="active", deleted_ms=None)


def _set_stage(session: Any, record_ids: Sequence[str], *, stage: str, deleted_ms: int | None) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlRun
    from sqlalchemy import update

    those = update(SqlRun).where(SqlRun.run_uuid.in_(record_ids)).execution_options(synchronize_session=False)
    session.execute(those.values(lifecycle_stage=stage, deleted_time=deleted_ms))


def _run_row(run: FinishedRun, experiment_id: str, place: str) -> dict[str, Any]:
    return {
        "run_uuid": run.record_id,
        "name": run.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": run.user,
        "status": run.status,
        "start_time": run.started_ms,
        "end_time": run.ended_ms,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": f"{place}/{run.record_id}/artifacts",
        "experiment_id": int(experiment_id),
    }


def _pairs(run: FinishedRun, values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"run_uuid": run.record_id, "key": key, "value": value} for key, value in values.items()]


def _metric_rows(run: FinishedRun) -> list[dict[str, Any]]:
    # equal points are one row in MLflow's tables
    unique = {row.point: row for row in run.metrics}
    return [_metric_row(run, row) for row in unique.values()]


def _latest_rows(run: FinishedRun) -> list[dict[str, Any]]:
    latest: dict[str, Row] = {}
    for row in run.metrics:
        known = latest.get(row.key)
        if known is None or (row.step, row.at_ms) >= (known.step, known.at_ms):
            latest[row.key] = row
    return [_metric_row(run, row) for row in latest.values()]


def _metric_row(run: FinishedRun, row: Row) -> dict[str, Any]:
    # as MLflow stores what a database has no number for
    value = 0.0 if math.isnan(row.value) else max(-HUGE, min(row.value, HUGE))
    return {
        "run_uuid": run.record_id,
        "key": row.key,
        "value": value,
        "timestamp": row.at_ms,
        "step": row.step,
        "is_nan": math.isnan(row.value),
    }
