"""What a run read of the feature store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class InputKind(StrEnum):
    """Where features were read from."""

    GROUP = "feature group"
    DATASET = "training dataset"


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
