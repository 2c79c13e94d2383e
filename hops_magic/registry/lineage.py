"""Features that a run read, as MLflow's datasets: what it was given at its start, and what its ranks read by themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.runs.events import FeaturesRead
from hops_magic.runs.inputs import FeatureInput, InputKind, merged

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_SOURCE_TYPE = "hops"
_PURPOSE = "mlflow.data.context"


def write_inputs(client: MlflowClient, record_id: str, inputs: Sequence[FeatureInput], *, by_ranks: bool = False) -> None:
    """Record what a run read.

    Parameters
    ----------
    by_ranks
        Whether its ranks read it, rather than who started it: the two are recorded apart, since a record never changes.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not inputs:
        return
    ending = "-ranks" if by_ranks else ""
    datasets = [
        DatasetInput(
            Dataset(
                name=each.full_name,
                digest=f"{each.kind.name.lower()}-{'' if each.commit is None else each.commit}{ending}",
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
    return merged(_read(each.dataset) for each in found if each.dataset.source_type == _SOURCE_TYPE)


def input_of(event: FeaturesRead) -> FeatureInput:
    """Return what a rank told that it read."""
    return FeatureInput(
        kind=InputKind(event.source),
        name=event.name,
        version=event.version,
        commit=event.commit,
        features=event.features,
    )


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
