"""Tables of the catalog."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
)

metadata = MetaData()

about = Table(
    "hops_catalog",
    metadata,
    # folders in the lake carry it: catalogs may share one
    Column("id", String(16), primary_key=True),
    # counts what was written
    Column("revision", BigInteger, nullable=False),
)

versions = Table(
    "hops_group_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("name_lower", String(128), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
    Column("event_time", Text),
    Column("primary_key", Text, nullable=False),
    Column("partition_by", Text, nullable=False),
    Column("foreign_keys", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("on_fail", String(16), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("commit", BigInteger, nullable=False),
    UniqueConstraint("name", "version"),
)

_VERSION: dict[str, Any] = {"primary_key": True, "autoincrement": False}

# the highest number of a version that was deleted
numbers = Table(
    "hops_version_numbers",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
)

columns = Table(
    "hops_columns",
    metadata,
    Column("version_id", ForeignKey(versions.c.id), **_VERSION),
    Column("position", Integer, **_VERSION),
    Column("name", String(255), nullable=False),
    Column("type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("nullable", Boolean, nullable=False),
    Index("hops_columns_by_name", "name", "version_id"),
)

tags = Table(
    "hops_tags",
    metadata,
    Column("version_id", ForeignKey(versions.c.id), **_VERSION),
    Column("tag", String(255), primary_key=True),
)

commits = Table(
    "hops_commits",
    metadata,
    Column("version_id", ForeignKey(versions.c.id), **_VERSION),
    Column("number", BigInteger, **_VERSION),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("author", Text, nullable=False),
    Column("operation", String(16), nullable=False),
    Column("rows_added", BigInteger, nullable=False),
    Column("rows_changed", BigInteger, nullable=False),
    Column("rows_removed", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("run_id", Text, nullable=False),
)

statistics = Table(
    "hops_statistics",
    metadata,
    Column("version_id", ForeignKey(versions.c.id), **_VERSION),
    Column("number", BigInteger, **_VERSION),
    Column("payload", Text, nullable=False),
)


datasets = Table(
    "hops_datasets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("columns", Text, nullable=False),
    Column("rows", Text, nullable=False),
    Column("checksums", Text, nullable=False),
    Column("sources", Text, nullable=False),
    Column("statistics", Text, nullable=False),
    UniqueConstraint("name", "version"),
)


class Entry(NamedTuple):
    """What a search looks through: a group (no column) or one of its columns."""

    group: str
    version: int
    column: str
    type: str
    description: str
    tags: tuple[str, ...]


def latest() -> Any:
    """Whether a version is the newest of its group."""
    other = versions.alias("other")
    return ~select(other.c.id).where(other.c.name == versions.c.name, other.c.version > versions.c.version).exists()
