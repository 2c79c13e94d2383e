"""The beginning of a record: its experiment, its run, and what is known before the first step."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hops_magic.registry import layout
from hops_magic.registry.keeping import keep_text
from hops_magic.registry.lineage import write_inputs
from hops_magic.registry.records import RunRecord
from hops_magic.registry.store import Store
from hops_magic.runs.states import RunState

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMS_AT_ONCE = 100
MAX_FACT = 500
MAX_SEARCH = 1_000
# where a run ends up is no parameter of its training
_NO_PARAMS = frozenset({"name", "experiment", "detach", "dry_run", "register", "out", "no_out"})


def find_run(client: MlflowClient, run_id: str) -> str | None:
    """Return MLflow's id of one of our runs, deleted ones included."""
    from mlflow.entities import ViewType

    if not re.fullmatch(r"[\w-]+", run_id, re.ASCII):
        return None
    found = client.search_runs(
        all_experiments(client),
        filter_string=f"tags.`{layout.TAG_RUN_ID}` = '{run_id}'",
        run_view_type=ViewType.ALL,
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def all_experiments(client: MlflowClient) -> list[str]:
    """Return the ids of all experiments that are not deleted."""
    found, token = [], None
    while True:
        page = client.search_experiments(max_results=1_000, page_token=token)
        found += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return found


def begin(store: Store, record: RunRecord, environment: Mapping[str, Any], existing: str | None = None) -> str:
    """Write what is known of a run at its start; return MLflow's id of it.

    Parameters
    ----------
    existing
        MLflow's id, if it was begun before: what is missing of its beginning is written.

    Raises
    ------
    RegistryError
        If not all of it could be written; whoever begins or completes the record again goes on with it.
    """
    client = store.client
    with store.failures(f"recording run {record.name}"):
        if existing is not None and _has_begun(client, existing):
            return existing
        record_id = existing or _create(store, record)
    with store.failures(f"recording the source and options of run {record.name}"):
        _write_params(client, record_id, record)
        write_inputs(client, record_id, record.inputs)
        _write_files(client, record_id, record, environment)
    return record_id


def _create(store: Store, record: RunRecord) -> str:
    experiment_id = experiment_of(store, record.experiment)
    parent = find_run(store.client, record.parent) if record.parent else None
    run = store.client.create_run(
        experiment_id,
        start_time=int(record.created_at * 1000),
        run_name=layout.shortened(record.name, layout.MAX_NAME, f"tag {layout.TAG_NAME}"),
        tags=start_tags(record, parent),
    )
    return str(run.info.run_id)


def _has_begun(client: MlflowClient, record_id: str) -> bool:
    """Whether a record has all that is written at its start, of which this file is the last."""
    return any(file.path == layout.ENVIRONMENT for file in client.list_artifacts(record_id))


def experiment_of(store: Store, name: str) -> str:
    """Return the id of an experiment, which is made, or brought back from deletion, if need be."""
    from mlflow.exceptions import MlflowException

    client = store.client
    shown = layout.shortened(name.strip(), layout.MAX_NAME, "its runs' tags") or "default"
    experiment = client.get_experiment_by_name(shown)
    if experiment is None:
        try:
            return str(client.create_experiment(shown, artifact_location=_artifact_place(store, shown)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(shown)  # another run was first
    if experiment.lifecycle_stage == "deleted":
        # MLflow keeps the name of a deleted experiment taken
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def start_tags(record: RunRecord, parent_record_id: str | None) -> dict[str, str]:
    """Return the tags of a run at its start."""
    facts = {
        "created_at": record.created_at,
        "notebook": record.notebook,
        "folder": record.folder,
        "user": record.user,
        "framework": record.framework,
        "strategy": record.strategy,
        "seed": record.seed,
        "workers": record.options.get("workers", 1),
        "commit": record.commit.commit if record.commit else "",
        "is_dirty": record.commit.is_dirty if record.commit else None,
        "cluster": {name: value for name, value in record.cluster.items() if isinstance(value, int | float | bool | str)},
    }
    facts = {name: value[:MAX_FACT] if isinstance(value, str) else value for name, value in facts.items()}
    text = " ".join((record.name, record.run_id, record.user, record.experiment, record.notebook))
    tags = {
        layout.TAG_RUN_ID: record.run_id,
        layout.TAG_NAME: record.name,
        layout.TAG_STATE: RunState.SUBMITTED.value,
        layout.TAG_KIND: record.kind.value,
        layout.TAG_PARENT: record.parent,
        layout.TAG_FACTS: json.dumps(facts),
        layout.TAG_SEARCH: text[:MAX_SEARCH],
        layout.TAG_MLFLOW_USER: record.user,
        layout.TAG_MLFLOW_SOURCE: record.notebook,
        layout.TAG_MLFLOW_SOURCE_TYPE: "NOTEBOOK" if record.notebook else "LOCAL",
        layout.TAG_MLFLOW_COMMIT: record.commit.commit if record.commit else "",
        layout.TAG_MLFLOW_PARENT: parent_record_id or "",
    }
    return {name: layout.shortened(text, layout.MAX_TAG, layout.OPTIONS) for name, text in tags.items() if text}


def params_of(record: RunRecord) -> dict[str, str]:
    """Return the parameters of a run: hyperparameters, then options that differ in name."""
    options = {name: value for name, value in record.options.items() if name not in _NO_PARAMS and value is not None}
    resolved = {"seed": record.seed, "framework": record.framework, "strategy": record.strategy}
    options |= {name: value for name, value in resolved.items() if value not in (None, "")}
    params = {f"option.{name}" if name in record.params else name: value for name, value in options.items()}
    params |= record.params
    return {
        layout.key_of(name): layout.shortened(layout.param_text(value), layout.MAX_PARAM, layout.OPTIONS)
        for name, value in params.items()
    }


def _write_params(client: MlflowClient, record_id: str, record: RunRecord) -> None:
    from mlflow.entities import Param

    params = [Param(*item) for item in params_of(record).items()]
    for first in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(record_id, params=params[first : first + PARAMS_AT_ONCE])


def _write_files(client: MlflowClient, record_id: str, record: RunRecord, environment: Mapping[str, Any]) -> None:
    facts = {**environment, "cluster": dict(record.cluster), "user": record.user, "folder": record.folder}
    if record.commit:
        facts["git"] = dataclasses.asdict(record.commit)
    if record.packages:
        facts["packages"] = dict(record.packages)
    files = {
        layout.SOURCE: record.source,
        layout.OPTIONS: layout.as_json({"options": dict(record.options), "params": dict(record.params)}),
        layout.CAPTURED: layout.as_json([dataclasses.asdict(row) for row in record.captured]),
        layout.ENVIRONMENT: layout.as_json(facts),
    }
    for name, text in files.items():
        keep_text(client, record_id, text.encode("utf-8", "replace").decode(), name)


def _artifact_place(store: Store, experiment: str) -> str | None:
    root = store.settings.artifacts
    if not root:
        return None
    # names are the user's: what cannot be a folder's name is left out, the suffix keeps them apart
    slug = re.sub(r"[^\w-]+", "-", experiment, flags=re.ASCII).strip("-")[:40]
    return f"{root.rstrip('/')}/{slug or 'experiment'}-{secrets.token_hex(3)}"
