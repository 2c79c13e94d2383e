"""What a run read of the feature store, and how its ranks came by their rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class InputKind(StrEnum):
    """Where features were read from."""

    GROUP = "feature group"
    DATASET = "training dataset"


_WAYS = {
    "arrays": "each rank gathered its own rows of the arrays",
    "push": "each rank mapped its own rows of the data",
    "alternate": "the ranks made the batches in turns",
    "whole": "each rank drew all of the data",
    "deal": "rank 0 drew the data and dealt it to all ranks",
}


def told_way(phase: str, way: str) -> str:
    """How ranks came by their rows, in words: ``fit: each rank drew all of the data``."""
    return f"{phase}: {_WAYS.get(way, way)}"


@dataclass(frozen=True, kw_only=True)
class FeatureInput:
    """Features that were read from one version of a group or training dataset.

    Attributes
    ----------
    commit : int or None
        Commit of the group that was read; a dataset never changes.
    """

    kind: InputKind
    name: str
    version: int
    commit: int | None = None
    features: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """``teams@1``."""
        return f"{self.name}@{self.version}"


def merged(inputs: Iterable[FeatureInput]) -> tuple[FeatureInput, ...]:
    """Join readings of the same version and commit into one, with the features of all."""
    found: dict[tuple[InputKind, str, int, int | None], dict[str, None]] = {}
    for each in inputs:
        key = (each.kind, each.name, each.version, each.commit)
        found.setdefault(key, {}).update(dict.fromkeys(each.features))
    return tuple(
        FeatureInput(kind=kind, name=name, version=version, commit=commit, features=tuple(features))
        for (kind, name, version, commit), features in found.items()
    )
