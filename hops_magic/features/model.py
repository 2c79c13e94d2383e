"""What a feature store holds: groups of features, their commits, and how they refer to each other. No I/O."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# when a row was last written; kept in every table, shown to nobody
COMMITTED_AT = "_hops_committed_at"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A feature, a key or an event time of a group.

    Attributes
    ----------
    type : str
        Text of the Arrow type, e.g. ``"double"`` or ``"timestamp[us, tz=UTC]"``.
    """

    name: str
    type: str
    description: str = ""
    nullable: bool = True


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """Columns of a group that hold the primary key of another.

    Attributes
    ----------
    columns : tuple of str
        Columns of the group that refers.
    group : str
        Name of the group that is referred to; its version is the one that a query uses.
    references : tuple of str
        Columns of that group, in the same order.
    """

    columns: tuple[str, ...]
    group: str
    references: tuple[str, ...]

    def __str__(self) -> str:
        return f"{','.join(self.columns)}={self.group}.{','.join(self.references)}"


class Operation(StrEnum):
    """What a commit did."""

    CREATE = "create"
    APPEND = "append"
    UPSERT = "upsert"
    DELETE = "delete"
    EVOLVE = "evolve"
    COMPACT = "compact"

    @property
    def changes_rows(self) -> bool:
        """Whether readers see other rows after it."""
        return self is not Operation.COMPACT


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One atomic change of a group's rows.

    Attributes
    ----------
    number : int
        The lake's version of the table; grows, with gaps where files were only rearranged.
    source : str
        Notebook or script that wrote it.
    run_id : str
        Run that wrote it, if one did.
    rows : int
        Rows in the group after it.
    """

    number: int
    at: datetime.datetime
    author: str
    operation: Operation
    rows_added: int = 0
    rows_changed: int = 0
    rows_removed: int = 0
    rows: int = 0
    source: str = ""
    run_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One version of a feature group.

    Attributes
    ----------
    location : str
        URI of its table.
    rows, commit : int
        As of its last commit.
    rules : tuple of dict
        Validation rules in their JSON form.
    on_fail : str
        What a write does whose rows break a rule: ``reject``, ``quarantine`` or ``warn``.
    """

    name: str
    version: int
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    location: str
    description: str = ""
    tags: tuple[str, ...] = ()
    event_time: str | None = None
    partition_by: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    rules: tuple[dict[str, Any], ...] = ()
    on_fail: str = "reject"
    rows: int = 0
    commit: int = 0
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    author: str = ""

    @property
    def full_name(self) -> str:
        """``teams@1``."""
        return f"{self.name}@{self.version}"

    @property
    def row_key(self) -> tuple[str, ...]:
        """What tells one row from every other: the primary key and, if there is one, the event time."""
        return self.primary_key + ((self.event_time,) if self.event_time else ())

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the order of the table."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column | None:
        """Return a column by its exact name."""
        return self._by_name.get(name)

    def __hash__(self) -> int:
        # a hash of thousands of columns, for each of them, would take seconds
        return hash((self.name, self.version, self.commit, self.location))

    @functools.cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}
