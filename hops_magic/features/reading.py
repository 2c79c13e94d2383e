"""Answering requests for features."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
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
from hops_magic.features.streaming import AnswerFiles, StreamedRows
from hops_magic.features.tables import incoming
from hops_magic.features.types import in_utc
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.settings import FeatureSettings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# beyond that many, keys are joined instead of listed
_LISTED_KEYS = 1_000
_KEPT_LOOKUPS = 8


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
    as_of : datetime, int or mapping, optional
        Read the groups as they were then; a number is a commit, of a single group, a mapping has one for each (``teams@1``).
    """

    names: tuple[str, ...]
    terms: Terms
    spine: Any = None
    event_time: str | None = None
    keys: Any = None
    as_of: datetime.datetime | int | Mapping[str, int] | None = None
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
        self._lock = threading.Lock()
        self._kept: dict[Hashable, _Kept] = {}

    @contextlib.contextmanager
    def answering(self, request: Request) -> Iterator[tuple[duckdb.DuckDBPyConnection, Plan, str, dict[str, Source]]]:
        """Open an engine in which the request's SQL can be run."""
        spine = self._spine(request)
        with engine.connect(home=self._settings.home) as connection:
            plan, sources = self._prepared(connection, request, spine)
            if spine is not None:
                connection.register(SPINE, spine.rows)
            if request.keys is not None and spine is not None:
                _narrow(connection, plan, spine.rows)
            yield connection, plan, query.statement(plan, request.terms), sources

    def table(self, request: Request) -> tuple[pa.Table, Plan, dict[str, Source]]:
        """Return the answer as a table in memory."""
        if request.keys is not None and request.as_of is None:
            return self._lookup(request)
        with self.answering(request) as (connection, plan, sql, sources):
            return connection.sql(sql).to_arrow_table(), plan, sources

    def streamed(self, request: Request) -> tuple[StreamedRows, Plan, dict[str, Source]]:
        """Return the answer as rows in files; the same question is answered once."""
        ordered = replace(request, terms=replace(request.terms, is_ordered=True))
        with self.answering(ordered) as (connection, plan, sql, sources):
            key = {"sql": sql, "spine": self._fingerprint(ordered)}
            key |= {alias: f"{source.table.location} {source.table.version}" for alias, source in sources.items()}
            connection.execute("SET preserve_insertion_order=true")
            rows = AnswerFiles(self._settings.home / "answers").rows(
                key, lambda: in_utc(connection.sql(sql).to_arrow_reader())
            )
            return rows, plan, sources

    def _fingerprint(self, request: Request) -> str:
        spine = self._spine(request)
        if spine is None:
            return ""
        found = hashlib.sha256()
        for batch in spine.rows.combine_chunks().to_batches():
            found.update(batch.serialize())
        return found.hexdigest()

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

    def _lookup(self, request: Request) -> tuple[pa.Table, Plan, dict[str, Source]]:
        """Answer in an engine that is kept: opening one and planning take longer than a look-up."""
        spine = self._spine(request)
        assert spine is not None
        terms = request.terms
        shape = (
            request.names,
            spine.columns,
            request.allow_fanout,
            terms.with_keys,
            terms.limit,
            *sorted(terms.max_age.items()),
        )
        with self._lock:
            state = self._catalog.state()
            kept = self._kept.get(shape)
            if kept is None or kept.state != state:
                self.forget(shape)
                stack = contextlib.ExitStack()
                connection = stack.enter_context(engine.connect(home=self._settings.home, memory_gib=1))
                connection.execute("SET parquet_metadata_cache=true")
                plan, sources = self._prepared(connection, request, spine)
                kept = self._kept[shape] = _Kept(state, connection, plan, sources, stack)
                while len(self._kept) > _KEPT_LOOKUPS:
                    self.forget(next(iter(self._kept)))
            kept.connection.register(SPINE, spine.rows)
            _narrow(kept.connection, kept.plan, spine.rows)
            return kept.connection.sql(query.statement(kept.plan, terms)).to_arrow_table(), kept.plan, kept.sources

    def forget(self, shape: Hashable = None) -> None:
        """Close engines that are kept for look-ups: one, or all."""
        for each in [shape] if shape is not None else list(self._kept):
            if each in self._kept:
                self._kept.pop(each).stack.close()

    def _prepared(
        self, connection: duckdb.DuckDBPyConnection, request: Request, spine: _SpineRows | None
    ) -> tuple[Plan, dict[str, Source]]:
        """Plan a request, and make the tables that it reads known to an engine."""
        groups = _AsOf(self._catalog, self._opened, request.as_of)
        asked_for = None if spine is None else Spine(columns=spine.columns, event_time=request.event_time)
        plan = planner.plan(request.names, groups, spine=asked_for, allow_fanout=request.allow_fanout)
        request.terms.check(plan)
        if isinstance(request.as_of, int) and len(plan.groups) > 1:
            named = ", ".join(group.full_name for group in plan.groups.values())
            raise FeatureError(f"--as-of {request.as_of} is a commit of one group, and {named} are read: give a time")
        sources = {alias: groups.source(group) for alias, group in plan.groups.items()}
        for alias, source in sources.items():
            view = alias if plan.base is not None and alias == "g0" else f"{alias}_rows"
            source.table.register(connection, view if request.keys is None else f"{view}_all")
        return plan, sources

    def _spine(self, request: Request) -> _SpineRows | None:
        if request.keys is not None:
            if request.spine is not None:
                raise FeatureError(
                    "--keys and --spine exclude each other: keys look up present rows, a spine asks for past ones"
                )
            return _SpineRows.of(incoming(request.keys, name="the keys"), None)
        if request.spine is None:
            if request.event_time is not None:
                raise FeatureError("--event-time is a column of the spine: give the spine too, --spine NAME")
            return None
        return _SpineRows.of(incoming(request.spine, name="the spine"), request.event_time)


@dataclass(frozen=True)
class _SpineRows:
    """Rows to find features for, numbered."""

    rows: pa.Table
    columns: tuple[str, ...]

    @classmethod
    def of(cls, rows: pa.Table, event_time: str | None) -> _SpineRows:
        import pyarrow as pa

        names = tuple(rows.column_names)
        if event_time is not None:
            if event_time not in names:
                raise UnknownNameError("column", event_time, nearest(event_time, names), "the spine")
            kind = rows.schema.field(event_time).type
            if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
                raise FeatureError(f"--event-time {event_time} of the spine must hold timestamps, got {kind}")
            if pa.types.is_date(kind):
                moments = rows[event_time].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
                rows = rows.set_column(names.index(event_time), event_time, moments)
        return cls(rows.append_column(ROW, pa.array(range(rows.num_rows), pa.int64())), names)


@dataclass(frozen=True)
class _Kept:
    """An engine that is kept for look-ups of one shape, while the store does not change."""

    state: tuple[Any, ...]
    connection: duckdb.DuckDBPyConnection
    plan: Plan
    sources: dict[str, Source]
    stack: contextlib.ExitStack


def _narrow(connection: duckdb.DuckDBPyConnection, plan: Plan, keys: pa.Table) -> None:
    """Let a look-up read only the parts of tables that can hold the keys."""
    for join in plan.joins:
        conditions = [
            f"{quoted(pair.right)} IN ({', '.join(sorted({literal(value) for value in keys[pair.left].to_pylist()}))})"
            for pair in join.on
            if pair.source == SPINE and keys.num_rows <= _LISTED_KEYS
        ]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        view = f"{join.alias}_rows"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT * FROM {quoted(view + '_all')}{where}")


class _AsOf:
    """The catalog as it was at a time: what a planner sees of it."""

    def __init__(
        self,
        catalog: Catalog,
        opened: Callable[[Group], tuple[Group, LakeTable]],
        as_of: datetime.datetime | int | Mapping[str, int] | None,
    ) -> None:
        self._catalog = catalog
        self._opened = opened
        self._as_of = as_of
        self._sources: dict[str, Source] = {}
        self._groups: dict[tuple[str, int | None], Group | None] = {}

    def group(self, name: str, version: int | None = None) -> Group | None:
        # a thousand features of one group ask for it a thousand times
        if (name, version) not in self._groups:
            found = self._catalog.group(name, version)
            self._groups[name, version] = found if found is None else self._then(found)
        return self._groups[name, version]

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
            as_of = self._as_of[group.full_name] if isinstance(self._as_of, Mapping) else self._as_of
            table = LakeTable(group.location, commit_at(self._catalog, current, as_of))
            self._sources[group.full_name] = Source(group=replace(current, columns=_columns_of(table, current)), table=table)
        return self._sources[group.full_name].group


def reads_of(plan: Plan, sources: Mapping[str, Source]) -> list[FeatureInput]:
    """Return what a plan reads: the features that were asked for, by group; keys and moments go without saying."""
    return [
        FeatureInput(
            kind=InputKind.GROUP,
            name=source.group.name,
            version=source.group.version,
            commit=source.table.version,
            features=tuple(output.column.name for output in plan.outputs if output.source == alias),
        )
        for alias, source in sources.items()
    ]


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
