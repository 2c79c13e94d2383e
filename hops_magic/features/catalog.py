"""What the store knows of its groups: names, columns, tags, commits, statistics. In SQLite, or PostgreSQL for a team."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hops_magic.features import catalog_tables as t
from hops_magic.features.dataset_catalog import DatasetCatalog
from hops_magic.features.errors import ConflictError, StoreError
from hops_magic.features.model import Column, Commit, ForeignKey, Group, Operation
from hops_magic.features.types import type_name
from hops_magic.features.version_numbers import Numbered, next_number, note_deleted
from hops_magic.settings import redacted

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row, Select


class Catalog:
    """The catalog in a database.

    Parameters
    ----------
    url : str
        As SQLAlchemy takes it, e.g. ``sqlite:///catalog.db``.

    Raises
    ------
    StoreError
        From every method, if the database cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        from hops_magic.features.database import open_database

        self.url = url
        self._engine: Engine = open_database(url)
        self.datasets = DatasetCatalog(self._begin, self._reading)

    @functools.cached_property
    def id(self) -> str:
        """What tells the catalog from all others."""
        with self._reading() as db:
            return str(db.execute(t.about.select()).one().id)

    # groups

    def add(self, group: Group, commit: Commit) -> None:
        """Enter a version of a group with its first commit.

        Raises
        ------
        ConflictError
            If that version exists.
        """
        from sqlalchemy.exc import IntegrityError

        with self._begin() as db:
            try:
                row = db.execute(t.versions.insert().values(**_row(group), rows=commit.rows, commit=commit.number))
            except IntegrityError as error:
                raise ConflictError(f"{group.full_name} was made by somebody else just now: save again") from error
            version_id = int(row.inserted_primary_key[0])  # type: ignore[index]
            self._write_columns(db, version_id, group.columns)
            self._write_tags(db, version_id, group.tags)
            db.execute(t.commits.insert().values(**_commit_row(version_id, commit)))

    def change(self, group: Group) -> None:
        """Write what may change without a commit: texts, tags, foreign keys, rules; and the columns."""
        with self._begin() as db:
            version_id = self._id(db, group)
            values = _row(group)
            for kept in ("name", "name_lower", "version", "location", "created_at", "author"):
                del values[kept]
            db.execute(t.versions.update().where(t.versions.c.id == version_id).values(**values))
            db.execute(t.columns.delete().where(t.columns.c.version_id == version_id))
            db.execute(t.tags.delete().where(t.tags.c.version_id == version_id))
            self._write_columns(db, version_id, group.columns)
            self._write_tags(db, version_id, group.tags)

    def remove(self, group: Group) -> None:
        """Take a version out of the catalog, with all that is known of it."""
        with self._begin() as db:
            version_id = self._id(db, group)
            for table in (t.columns, t.tags, t.commits, t.statistics):
                db.execute(table.delete().where(table.c.version_id == version_id))
            db.execute(t.versions.delete().where(t.versions.c.id == version_id))
            note_deleted(db, Numbered.GROUP, group.name, group.version)

    def next_version(self, name: str) -> int:
        """Return the number of a group's next version; no number is given twice."""
        with self._reading() as db:
            return next_number(db, Numbered.GROUP, name)

    def group(self, name: str, version: int | None = None) -> Group | None:
        """Return a version of a group, the latest if none is said."""
        query = t.versions.select().where(t.versions.c.name == name).order_by(t.versions.c.version.desc()).limit(1)
        if version is not None:
            query = query.where(t.versions.c.version == version)
        found = self._groups(query)
        return found[0] if found else None

    def state(self) -> tuple[int, ...]:
        """Return what is another after each change of the catalog: of groups, commits, texts, rules and datasets."""
        with self._reading() as db:
            return (int(db.execute(t.about.select()).one().revision),)

    def versions(self, name: str) -> list[Group]:
        """Return the versions of a group, newest first."""
        return self._groups(t.versions.select().where(t.versions.c.name == name).order_by(t.versions.c.version.desc()))

    def groups(self, *, limit: int | None = None, offset: int = 0) -> list[Group]:
        """Return the latest versions of groups, by name."""
        query = t.versions.select().where(t.latest()).order_by(t.versions.c.name_lower).offset(offset)
        return self._groups(query.limit(limit) if limit is not None else query)

    def groups_with(self, feature: str, *, of_any_version: bool = False) -> list[Group]:
        """Return the groups whose latest version has a column of this name, by name; or all versions that have one."""
        query = (
            t.versions.select()
            .join(t.columns, t.columns.c.version_id == t.versions.c.id)
            .where(t.columns.c.name == feature, *(() if of_any_version else (t.latest(),)))
            .order_by(t.versions.c.name_lower)
        )
        return self._groups(query)

    def group_names(self) -> list[str]:
        """Return the names of all groups."""
        from sqlalchemy import select

        with self._reading() as db:
            return list(db.execute(select(t.versions.c.name).distinct()).scalars())

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of all groups, and of all columns of their latest versions."""
        from sqlalchemy import select

        groups = self.group_names()
        with self._reading() as db:
            columns = (
                db.execute(
                    select(t.columns.c.name)
                    .distinct()
                    .join(t.versions, t.columns.c.version_id == t.versions.c.id)
                    .where(t.latest())
                )
                .scalars()
                .all()
            )
        return groups, list(columns)

    def entries(self, words: Sequence[str]) -> list[t.Entry]:
        """Return what a search looks through: groups and columns that have one of some lower-case words, latest versions."""
        from sqlalchemy import func, or_, select, true

        # only of ASCII do all databases know the small letters
        known = all(word.isascii() for word in words)

        def has_one(*texts: Any) -> Any:
            return (
                or_(*(func.lower(text).contains(word, autoescape=True) for text in texts for word in words))
                if known
                else true()
            )

        tagged = select(t.tags.c.version_id).where(has_one(t.tags.c.tag))

        groups = select(t.versions.c.id, t.versions.c.name, t.versions.c.version, t.versions.c.description).where(
            t.latest(), has_one(t.versions.c.name, t.versions.c.description) | t.versions.c.id.in_(tagged)
        )
        columns = (
            select(
                t.versions.c.name.label("group"),
                t.versions.c.version,
                t.columns.c.name,
                t.columns.c.type,
                t.columns.c.description,
            )
            .join(t.versions, t.columns.c.version_id == t.versions.c.id)
            .where(t.latest(), has_one(t.columns.c.name, t.columns.c.description))
            .order_by(t.columns.c.version_id, t.columns.c.position)
        )
        with self._reading() as db:
            found = db.execute(groups).all()
            tags: dict[int, list[str]] = {}
            for row in db.execute(t.tags.select()):
                tags.setdefault(row.version_id, []).append(row.tag)
            entries = [t.Entry(row.name, row.version, "", "", row.description, tuple(tags.get(row.id, ()))) for row in found]
            # thousands of them: by position, at once
            entries += [t.Entry(*row, ()) for row in db.execute(columns).tuples().all()]
        return entries

    # commits and statistics

    def record(self, group: Group, commits: Sequence[Commit], columns: Sequence[Column]) -> None:
        """Enter commits that the table has and the catalog has not, and the columns that it has after them."""
        with self._begin() as db:
            version_id = self._id(db, group)
            known = set(db.execute(t.commits.select().where(t.commits.c.version_id == version_id)).scalars(1))
            fresh = [_commit_row(version_id, commit) for commit in commits if commit.number not in known]
            if fresh:
                db.execute(t.commits.insert(), fresh)
            newest = max(commits, key=lambda commit: commit.number)
            db.execute(
                t.versions.update()
                .where(t.versions.c.id == version_id, t.versions.c.commit <= newest.number)
                .values(rows=newest.rows, commit=newest.number, updated_at=newest.at)
            )
            known_columns = {column.name: column for column in self._columns(db, [version_id])[version_id]}
            if {name: column.type for name, column in known_columns.items()} != {each.name: each.type for each in columns}:
                db.execute(t.columns.delete().where(t.columns.c.version_id == version_id))
                merged = [replace(known_columns.get(each.name, each), type=each.type) for each in columns]
                self._write_columns(db, version_id, merged)

    def commits(self, group: Group) -> list[Commit]:
        """Return the commits of a group, oldest first."""
        with self._reading() as db:
            version_id = self._id(db, group)
            rows = db.execute(
                t.commits.select().where(t.commits.c.version_id == version_id).order_by(t.commits.c.number)
            ).all()
        return [_commit(row) for row in rows]

    def save_statistics(self, group: Group, number: int, payload: Mapping[str, Any]) -> None:
        """Keep the statistics of a commit."""
        with self._begin() as db:
            version_id = self._id(db, group)
            same = (t.statistics.c.version_id == version_id) & (t.statistics.c.number == number)
            db.execute(t.statistics.delete().where(same))
            db.execute(t.statistics.insert().values(version_id=version_id, number=number, payload=json.dumps(payload)))

    def statistics(self, group: Group, number: int) -> dict[str, Any] | None:
        """Return the statistics of a commit, if they were kept."""
        with self._reading() as db:
            version_id = self._id(db, group)
            same = (t.statistics.c.version_id == version_id) & (t.statistics.c.number == number)
            found = db.execute(t.statistics.select().where(same)).one_or_none()
        return None if found is None else json.loads(found.payload)

    # writers

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Let one writer at a time change a group or dataset; the lock of a process that dies is free at once."""
        from hops_magic.features.database import lock

        with _told(self.url), lock(self._engine, name):
            yield

    # the rest

    def _groups(self, query: Select[Any]) -> list[Group]:
        with self._reading() as db:
            rows = db.execute(query).all()
            ids = [row.id for row in rows]
            columns = self._columns(db, ids)
            tags: dict[int, list[str]] = {each: [] for each in ids}
            for some in (ids[start : start + 500] for start in range(0, len(ids), 500)):
                for row in db.execute(t.tags.select().where(t.tags.c.version_id.in_(some)).order_by(t.tags.c.tag)):
                    tags[row.version_id].append(row.tag)
        return [_group(row, columns[row.id], tags[row.id]) for row in rows]

    def _columns(self, db: Connection, ids: Sequence[int]) -> dict[int, list[Column]]:
        columns: dict[int, list[Column]] = {each: [] for each in ids}
        for some in (ids[start : start + 500] for start in range(0, len(ids), 500)):
            found = t.columns.select().where(t.columns.c.version_id.in_(some)).order_by(t.columns.c.position)
            for row in db.execute(found):
                columns[row.version_id].append(
                    Column(name=row.name, type=type_name(row.type), description=row.description, nullable=row.nullable)
                )
        return columns

    def _id(self, db: Connection, group: Group) -> int:
        found = db.execute(
            t.versions.select().where(t.versions.c.name == group.name, t.versions.c.version == group.version)
        ).one_or_none()
        if found is None:
            raise ConflictError(f"{group.full_name} was deleted meanwhile")
        return int(found.id)

    def _write_columns(self, db: Connection, version_id: int, columns: Sequence[Column]) -> None:
        rows = [{"version_id": version_id, "position": at, **asdict(column)} for at, column in enumerate(columns)]
        db.execute(t.columns.insert(), rows)

    def _write_tags(self, db: Connection, version_id: int, tags: Sequence[str]) -> None:
        if tags:
            db.execute(t.tags.insert(), [{"version_id": version_id, "tag": tag} for tag in dict.fromkeys(tags)])

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Connection]:
        with _told(self.url), self._engine.begin() as db:
            # first, so that what a transaction reads stays true until it ends
            db.execute(t.about.update().values(revision=t.about.c.revision + 1))
            yield db

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _told(self.url), self._engine.connect() as db:
            yield db


def _row(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "name_lower": group.name.lower(),
        "version": group.version,
        "description": group.description,
        "location": group.location,
        "author": group.author,
        "created_at": group.created_at,
        "updated_at": group.updated_at,
        "event_time": group.event_time,
        "primary_key": json.dumps(group.primary_key),
        "partition_by": json.dumps(group.partition_by),
        "foreign_keys": json.dumps([asdict(key) for key in group.foreign_keys]),
        "rules": json.dumps(group.rules),
        "on_fail": group.on_fail,
    }


def _group(row: Row[Any], columns: Sequence[Column], tags: Sequence[str]) -> Group:
    keys = [
        ForeignKey(columns=tuple(key["columns"]), group=key["group"], references=tuple(key["references"]))
        for key in json.loads(row.foreign_keys)
    ]
    return Group(
        name=row.name,
        version=row.version,
        description=row.description,
        location=row.location,
        author=row.author,
        created_at=_utc(row.created_at),
        updated_at=_utc(row.updated_at),
        event_time=row.event_time,
        primary_key=tuple(json.loads(row.primary_key)),
        partition_by=tuple(json.loads(row.partition_by)),
        foreign_keys=tuple(keys),
        rules=tuple(json.loads(row.rules)),
        on_fail=row.on_fail,
        rows=row.rows,
        commit=row.commit,
        columns=tuple(columns),
        tags=tuple(tags),
    )


def _commit_row(version_id: int, commit: Commit) -> dict[str, Any]:
    return {"version_id": version_id, **asdict(commit), "operation": commit.operation.value}


def _commit(row: Row[Any]) -> Commit:
    values = row._asdict()
    del values["version_id"]
    at = _utc(row.at)
    assert at is not None
    return Commit(**{**values, "at": at, "operation": Operation(row.operation)})


def _utc(moment: datetime.datetime | None) -> datetime.datetime | None:
    # SQLite forgets the zone
    return moment.replace(tzinfo=datetime.UTC) if moment is not None and moment.tzinfo is None else moment


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        reason = redacted(str(getattr(error, "orig", None) or error).strip().splitlines()[0][:240])
        raise StoreError(f"the catalog of features at {redacted(url)} cannot be used: {reason}") from error
