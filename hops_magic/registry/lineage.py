"""Features that a run read, as MLflow's datasets: written at its start, and read with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.runs.inputs import FeatureInput, InputKind

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_SOURCE_TYPE = "hops"
_PURPOSE = "mlflow.data.context"


def write_inputs(client: MlflowClient, record_id: str, inputs: Sequence[FeatureInput]) -> None:
    """Record what a run read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not inputs:
        return
    datasets = [
        DatasetInput(
            Dataset(
                name=each.full_name,
                digest=f"{each.kind.name.lower()}-{'' if each.commit is None else each.commit}",
                source_type=_SOURCE_TYPE,
                source=json.dumps(
                    {"kind": each.kind.value, "name": each.name, "version": each.version, "commit": each.commit}
                ),
                schema=json.dumps({"features": each.features}),
            ),
            [InputTag(_PURPOSE, "training")],
        )
        for each in inputs
    ]
    client.log_inputs(record_id, datasets)


def inputs_of(run: MlflowRun) -> tuple[FeatureInput, ...]:
    """Read what a run has read; what other tools recorded is left out."""
    found = getattr(getattr(run, "inputs", None), "dataset_inputs", None) or ()
    return tuple(_read(each.dataset) for each in found if each.dataset.source_type == _SOURCE_TYPE)


def _read(dataset: Any) -> FeatureInput:
    source = json.loads(dataset.source)
    features = json.loads(dataset.schema or "{}").get("features", ())
    return FeatureInput(
        kind=InputKind(source["kind"]),
        name=source["name"],
        version=source["version"],
        commit=source["commit"],
        features=tuple(features),
    )
