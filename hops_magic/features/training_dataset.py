"""What a training dataset is: its files, and the recipe that made them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hops_magic.features.model import Column
from hops_magic.runs.inputs import FeatureInput, InputKind


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What makes a training dataset; the same recipe gives the same bytes.

    Attributes
    ----------
    names : tuple of str
        Features, with their groups' versions.
    commits : mapping
        Commit of each group (``teams@1``) that was read.
    on : tuple of str
        Roles in which groups are joined.
    has_spine : bool
        Whether rows were found for a spine, which is kept beside the files.
    """

    names: tuple[str, ...]
    commits: Mapping[str, int]
    file_format: str = "parquet"
    label: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)
    time_column: str | None = None
    seed: int = 0
    event_time: str | None = None
    on: tuple[str, ...] = ()
    max_age_s: Mapping[str, float] = field(default_factory=dict)
    exclude_late: bool = False
    allow_fanout: bool = False
    with_keys: bool = False
    limit: int | None = None
    has_spine: bool = False

    def to_json(self) -> str:
        """Return it as text."""
        # in the order of the splits: which row goes where depends on it
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what :meth:`to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "names": tuple(values["names"]), "on": tuple(values.get("on", ()))})


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One version of a training dataset.

    Attributes
    ----------
    rows : mapping
        Rows of each split.
    checksums : mapping
        SHA-256 of each file, by its path in the dataset.
    statistics : mapping
        Statistics of each split, in their JSON form.
    sources : tuple of FeatureInput
        Groups, commits and features that made it.
    """

    name: str
    version: int
    location: str
    columns: tuple[Column, ...]
    rows: Mapping[str, int]
    recipe: Recipe
    checksums: Mapping[str, str]
    sources: tuple[FeatureInput, ...]
    description: str = ""
    author: str = ""
    created_at: datetime.datetime | None = None
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """``delays@1``."""
        return f"{self.name}@{self.version}"

    def input_of(self) -> FeatureInput:
        """What a run reads that reads it."""
        names = tuple(column.name for column in self.columns)
        return FeatureInput(kind=InputKind.DATASET, name=self.name, version=self.version, features=names)
