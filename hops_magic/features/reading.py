"""Answering requests for features."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features import engine, planner, query
from hops_magic.features.catalog import Catalog
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import COMMITTED_AT, Column, Group
from hops_magic.features.names import nearest
from hops_magic.features.planner import SPINE, Plan, Spine
from hops_magic.features.query import ROW, Terms
from hops_magic.features.sql import literal, quoted
from hops_magic.features.tables import incoming
from hops_magic.settings import FeatureSettings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# beyond that many, keys are joined instead of listed
_LISTED_KEYS = 1_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for features.

    Attributes
    ----------
    names : tuple of str
        As users write them.
    spine : Any
        Rows to find features for: any table; None for the rows of the base group.
    event_time : str, optional
        Column of the spine: the moment at which values must have been known.
    keys : Any
        Keys whose present rows are wanted: a table, a mapping of columns, or a list of mappings.
    as_of : datetime or int, optional
        Read the groups as they were then; a number is a commit, of a single group.
    """

    names: tuple[str, ...]
    terms: Terms
    spine: Any = None
    event_time: str | None = None
    keys: Any = None
    as_of: datetime.datetime | int | None = None
    allow_fanout: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """A group's table at the commit that a request reads.

    Attributes
    ----------
    group : Group
        With the columns of that commit.
    """

    group: Group
    table: LakeTable


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How a request is answered.

    Attributes
    ----------
    commits : mapping
        Name of a group in the query to the commit that is read.
    rows_before, rows_after : int
        Rows of the base or spine, and of the answer.
    """

    plan: Plan
    sql: str
    commits: Mapping[str, int]
    rows: Mapping[str, int]
    rows_before: int
    rows_after: int


class Reader:
    """Reads groups.

    Parameters
    ----------
    settings, catalog
        Where the store is and what it knows.
    opened : callable
        Returns a group's table, after the catalog has taken in commits that it missed.
    """

    def __init__(
        self, settings: FeatureSettings, catalog: Catalog, opened: Callable[[Group], tuple[Group, LakeTable]]
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._opened = opened

    @contextlib.contextmanager
    def answering(self, request: Request) -> Iterator[tuple[duckdb.DuckDBPyConnection, Plan, str, dict[str, Source]]]:
        """Open an engine in which the request's SQL can be run."""
        spine_rows = self._spine_rows(request)
        with engine.connect(spill=self._spill()) as connection:
            spine = self._register_spine(connection, spine_rows, request) if spine_rows is not None else None
            groups = _AsOf(self._catalog, self._opened, request.as_of)
            plan = planner.plan(request.names, groups, spine=spine, allow_fanout=request.allow_fanout)
            request.terms.check(plan)
            if isinstance(request.as_of, int) and len(plan.groups) > 1:
                named = ", ".join(group.full_name for group in plan.groups.values())
                raise FeatureError(f"--as-of {request.as_of} is a commit of one group, and {named} are read: give a time")
            sources = {alias: groups.source(group) for alias, group in plan.groups.items()}
            for alias, source in sources.items():
                view = alias if plan.base is not None and alias == "g0" else f"{alias}_rows"
                source.table.register(connection, view if request.keys is None else f"{view}_all")
                if request.keys is not None:
                    self._narrow(connection, view, plan, alias, spine_rows)
            yield connection, plan, query.statement(plan, request.terms), sources

    def table(self, request: Request) -> tuple[pa.Table, Plan, dict[str, Source]]:
        """Return the answer as a table in memory."""
        with self.answering(request) as (connection, plan, sql, sources):
            return connection.sql(sql).to_arrow_table(), plan, sources

    def explain(self, request: Request) -> Explanation:
        """Return how a request is answered, without fetching its features."""
        with self.answering(request) as (connection, plan, sql, sources):
            left = quoted(SPINE if plan.spine else "g0")
            before = int(engine.value_of(connection, f"SELECT count(*) FROM {left}"))
            is_unique = all(join.is_unique for join in plan.joins)
            after = before if is_unique else int(engine.value_of(connection, f"SELECT count(*) FROM ({sql})"))
            return Explanation(
                plan=plan,
                sql=sql,
                commits={alias: source.table.version for alias, source in sources.items()},
                rows={alias: source.table.rows for alias, source in sources.items()},
                rows_before=before,
                rows_after=after if request.terms.limit is None else min(after, request.terms.limit),
            )

    # the parts

    def _spine_rows(self, request: Request) -> pa.Table | None:
        if request.keys is not None:
            if request.spine is not None:
                raise FeatureError(
                    "--keys and --spine exclude each other: keys look up present rows, a spine asks for past ones"
                )
            return incoming(request.keys, name="the keys")
        if request.spine is None:
            if request.event_time is not None:
                raise FeatureError("--event-time is a column of the spine: give the spine too, --spine NAME")
            return None
        return incoming(request.spine, name="the spine")

    def _register_spine(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table, request: Request) -> Spine:
        import pyarrow as pa

        names = tuple(rows.column_names)
        event_time = request.event_time
        if event_time is not None:
            if event_time not in names:
                raise UnknownNameError("column", event_time, nearest(event_time, names), "the spine")
            kind = rows.schema.field(event_time).type
            if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
                raise FeatureError(f"--event-time {event_time} of the spine must hold timestamps, got {kind}")
            if pa.types.is_date(kind):
                at = names.index(event_time)
                rows = rows.set_column(
                    at, event_time, rows[event_time].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
                )
        connection.register(SPINE, rows.append_column(ROW, pa.array(range(rows.num_rows), pa.int64())))
        return Spine(columns=names, event_time=event_time)

    def _narrow(
        self, connection: duckdb.DuckDBPyConnection, view: str, plan: Plan, alias: str, keys: pa.Table | None
    ) -> None:
        """Let a look-up read only the parts of a table that can hold the keys."""
        join = next(join for join in plan.joins if join.alias == alias)
        conditions = [
            f"{quoted(pair.right)} IN ({', '.join(sorted({literal(value) for value in keys[pair.left].to_pylist()}))})"
            for pair in join.on
            if pair.source == SPINE and keys is not None and 0 < keys.num_rows <= _LISTED_KEYS
        ]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT * FROM {quoted(view + '_all')}{where}")

    def _spill(self) -> Path:
        folder = self._settings.home / "tmp"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


class _AsOf:
    """The catalog as it was at a time: what a planner sees of it."""

    def __init__(
        self,
        catalog: Catalog,
        opened: Callable[[Group], tuple[Group, LakeTable]],
        as_of: datetime.datetime | int | None,
    ) -> None:
        self._catalog = catalog
        self._opened = opened
        self._as_of = as_of
        self._sources: dict[str, Source] = {}

    def group(self, name: str, version: int | None = None) -> Group | None:
        found = self._catalog.group(name, version)
        return found if found is None else self._then(found)

    def groups_with(self, feature: str) -> list[Group]:
        return [self._then(group) for group in self._catalog.groups_with(feature)]

    def names(self) -> tuple[list[str], list[str]]:
        return self._catalog.names()

    def source(self, group: Group) -> Source:
        if group.full_name not in self._sources:
            current, table = self._opened(group)
            self._sources[group.full_name] = Source(group=current, table=table)
        return self._sources[group.full_name]

    def _then(self, group: Group) -> Group:
        if self._as_of is None:
            return group
        if group.full_name not in self._sources:
            current, _ = self._opened(group)
            table = LakeTable(group.location, commit_at(self._catalog, current, self._as_of))
            self._sources[group.full_name] = Source(group=replace(current, columns=_columns_of(table, current)), table=table)
        return self._sources[group.full_name].group


def commit_at(catalog: Catalog, group: Group, moment: datetime.datetime | int) -> int:
    """Return the number of the commit that was the newest at a time, or check a number.

    Raises
    ------
    FeatureError
        If there was none.
    """
    commits = catalog.commits(group)
    if isinstance(moment, int):
        if moment not in [commit.number for commit in commits]:
            known = ", ".join(str(commit.number) for commit in commits[-8:])
            raise FeatureError(f"{group.full_name} has no commit {moment}: the last ones are {known}")
        return moment
    earlier = [commit.number for commit in commits if commit.at <= moment]
    if not earlier:
        raise FeatureError(
            f"{group.full_name} did not exist at {moment.isoformat(sep=' ', timespec='seconds')}: "
            f"its first commit is of {commits[0].at.isoformat(sep=' ', timespec='seconds')}"
        )
    return max(earlier)


def _columns_of(table: LakeTable, group: Group) -> tuple[Column, ...]:
    """Columns at an earlier commit, with what is known of them today."""
    return tuple(
        replace(group.column(item.name) or Column(name=item.name, type=""), type=str(item.type))
        for item in table.schema
        if item.name != COMMITTED_AT
    )
