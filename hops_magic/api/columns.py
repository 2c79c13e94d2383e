"""Columns of groups and datasets, and what they were made from, as pages show them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from hops_magic.api.plain import Number, shortened
from hops_magic.api.routing import Payload
from hops_magic.features.model import Column, Group
from hops_magic.runs.inputs import FeatureInput

_MOST_BARS = 20


class Sketch(Payload):
    """A small distribution: the bars of a histogram, or the most frequent values; ``ends`` are those of a histogram."""

    labels: list[str]
    counts: list[int]
    ends: list[str] = Field(default_factory=list)


class Feature(Payload):
    """A column; ``null_share`` and ``sketch`` are those of the last commit that has statistics."""

    name: str
    type: str
    description: str
    is_key: bool
    is_event_time: bool
    null_share: Number
    sketch: Sketch | None


class Source(Payload):
    """A version of a group at a commit, or a dataset, and the features that were read of it."""

    kind: str
    name: str
    version: int
    full_name: str
    commit: int | None
    features: list[str]


def features_of(columns: Sequence[Column], statistics: Mapping[str, Any] | None, group: Group | None) -> list[Feature]:
    """Return columns with their small distributions."""
    known = {column["name"]: column for column in (statistics or {}).get("columns", ())}
    rows = (statistics or {}).get("rows") or 0
    return [
        Feature(
            name=column.name,
            type=column.type,
            description=shortened(column.description),
            is_key=group is not None and column.name in group.primary_key,
            is_event_time=group is not None and column.name == group.event_time,
            null_share=known[column.name]["nulls"] / rows if rows and column.name in known else None,
            sketch=sketch_of(known.get(column.name)),
        )
        for column in columns
    ]


def sources_of(inputs: Iterable[FeatureInput]) -> list[Source]:
    """Return what a dataset or a run was made from."""
    return [
        Source(
            kind=str(each.kind),
            name=each.name,
            version=each.version,
            full_name=each.full_name,
            commit=each.commit,
            features=list(each.features),
        )
        for each in inputs
    ]


def sketch_of(column: Mapping[str, Any] | None) -> Sketch | None:
    """Return the small distribution of a column's statistics, in their JSON form."""
    if column is None:
        return None
    if column["histogram"]:
        edges, counts = column["histogram"]["edges"], column["histogram"]["counts"]
        labels = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
        ends = [_short(edges[0]), _short(edges[-1])]
        return Sketch(labels=_texts(labels), counts=list(counts)[:_MOST_BARS], ends=ends)
    top = column["top"]
    return Sketch(labels=_texts(value["value"] for value in top), counts=[value["count"] for value in top]) if top else None


def _short(edge: Any) -> str:
    return f"{edge:.4g}" if isinstance(edge, float) else str(edge)


def _texts(values: Iterable[Any]) -> list[str]:
    return [shortened(str(value), 100) for value in values][:_MOST_BARS]
