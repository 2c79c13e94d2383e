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
from hops_magic.features.answers import AnswerRows
from hops_magic.features.brought import Brought
from hops_magic.features.catalog import Catalog
from hops_magic.features.errors import FeatureError
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import Group
from hops_magic.features.past import Past, Source
from hops_magic.features.planner import Plan, Spine
from hops_magic.features.query import Terms
from hops_magic.features.readers import as_form
from hops_magic.features.spine import SpineRows, needed_columns, rows_to_find
from hops_magic.features.sql import quoted
from hops_magic.features.streaming import AnswerFiles, StreamedRows
from hops_magic.features.types import in_utc
from hops_magic.features.ways import SPINE
from hops_magic.options import option
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.settings import FeatureSettings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SPINE_NAME, _KEYS_NAME = "the spine", "the keys"
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
    on : tuple of str
        Roles in which groups are joined, where there are several: the columns of foreign keys, joined with ``_``.
    as_of : datetime, int or mapping, optional
        Read the groups as they were then; a number is a commit, of a single group, a mapping has one for each (``teams@1``).
    """

    names: tuple[str, ...]
    terms: Terms
    spine: Any = None
    event_time: str | None = None
    keys: Any = None
    as_of: datetime.datetime | int | Mapping[str, int] | None = None
    on: tuple[str, ...] = option(
        (), "foreign keys by which a group is joined that has several ways, e.g. home,away", metavar="COLUMN,..."
    )
    allow_fanout: bool = False


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
        with self._opened_for(request, _brought(request)) as (connection, plan, _, sources):
            yield connection, plan, query.statement(plan, request.terms), sources

    @contextlib.contextmanager
    def _opened_for(
        self, request: Request, brought: Brought | None, *, is_beside: bool = False
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Plan, SpineRows | None, dict[str, Source]]]:
        """Open an engine that has the request's rows, and those of the groups that it reads.

        Parameters
        ----------
        is_beside
            Of the request's rows, have only the columns by which features are found.
        """
        with engine.connect(home=self._settings.home) as connection:
            plan, sources = self._prepared(connection, request, brought)
            spine = None
            if brought is not None:
                columns = needed_columns(plan) if is_beside else None
                spine = SpineRows.of(brought, request.event_time, columns).comparable_in(plan)
                if not is_beside:
                    spine.check_kept()
                plan = spine.typed(plan)
                connection.register(SPINE, spine.rows)
                if request.keys is not None:
                    spine.narrow(connection, plan)
            yield connection, plan, spine, sources

    def answer(self, request: Request, form: str) -> tuple[Any, Plan, dict[str, Source]]:
        """Return the answer in memory, as a table of pandas, polars or Arrow; a spine's columns as they were brought."""
        if request.keys is not None and request.as_of is None:
            table, plan, sources = self._lookup(request)
            return as_form(table, form), plan, sources
        brought = _brought(request)
        own = None if brought is None or request.keys is not None else brought.as_form(form)
        with self._opened_for(request, brought, is_beside=own is not None) as (connection, plan, spine, sources):
            table = connection.sql(query.statement(plan, request.terms, is_beside=own is not None)).to_arrow_table()
        if spine is None or own is None:
            return as_form(table, form), plan, sources
        return spine.beside(table, own, form), plan, sources

    def streamed(self, request: Request) -> tuple[StreamedRows, Plan, dict[str, Source]]:
        """Return the answer as rows in files; the same question is answered once."""
        ordered = _ordered(request)
        with self._opened_for(ordered, _brought(request)) as (connection, plan, spine, sources):
            return self._files(connection, ordered, plan, spine, sources), plan, sources

    def shown(self, request: Request) -> tuple[AnswerRows, Plan, dict[str, Source]]:
        """Return the answer for somebody to look at: in files, of a look-up in memory."""
        if request.keys is not None:
            table, plan, sources = self.answer(request, "arrow")
            return AnswerRows(table), plan, sources
        ordered = _ordered(request)
        with self._opened_for(ordered, _brought(request)) as (connection, plan, spine, sources):
            rows = self._files(connection, ordered, plan, spine, sources)
            if spine is None:
                return AnswerRows(rows), plan, sources
            numbered = query.statement(replace(plan, outputs=()), ordered.terms, is_beside=True)
            numbers = connection.sql(numbered).to_arrow_table().column(0)
            # of the engine's rows, only what it read as another type is still needed
            kept = replace(spine, rows=spine.rows.select(sorted(spine.read)))
            return AnswerRows(rows, kept, numbers), plan, sources

    def _files(
        self,
        connection: duckdb.DuckDBPyConnection,
        request: Request,
        plan: Plan,
        spine: SpineRows | None,
        sources: Mapping[str, Source],
    ) -> StreamedRows:
        sql = query.statement(plan, request.terms)
        key = {"sql": sql, "spine": "" if spine is None else _fingerprint(spine.rows)}
        key |= {alias: f"{source.table.location} {source.table.version}" for alias, source in sources.items()}
        connection.execute("SET preserve_insertion_order=true")
        return AnswerFiles(self._settings.home / "answers").rows(key, lambda: in_utc(engine.reader_of(connection, sql)))

    def explain(self, request: Request) -> Explanation:
        """Return how a request is answered, without fetching its features."""
        with self._opened_for(request, _brought(request), is_beside=True) as (connection, plan, _, sources):
            left = quoted(SPINE if plan.spine else "g0")
            before = int(engine.value_of(connection, f"SELECT count(*) FROM {left}"))
            is_unique = all(join.is_unique for join in plan.joins)
            counted = query.statement(plan, request.terms, is_beside=plan.spine is not None)
            after = before if is_unique else int(engine.value_of(connection, f"SELECT count(*) FROM ({counted})"))
            return Explanation(
                plan=plan,
                sql=query.statement(plan, request.terms),
                commits={alias: source.table.version for alias, source in sources.items()},
                rows={alias: source.table.rows for alias, source in sources.items()},
                rows_before=before,
                rows_after=after if request.terms.limit is None else min(after, request.terms.limit),
            )

    # the parts

    def _lookup(self, request: Request) -> tuple[pa.Table, Plan, dict[str, Source]]:
        """Answer in an engine that is kept: opening one and planning take longer than a look-up."""
        brought = _brought(request)
        assert brought is not None
        spine = SpineRows.of(brought, None)
        terms = request.terms
        shape = (
            request.names,
            tuple(spine.types.items()),
            request.on,
            request.allow_fanout,
            terms.with_keys,
            terms.limit,
            *sorted(terms.max_age.items()),
        )
        with self._lock, engine.telling():
            state = self._catalog.state()
            kept = self._kept.get(shape)
            if kept is None or kept.state != state:
                self.forget(shape)
                with contextlib.ExitStack() as stack:
                    connection = stack.enter_context(engine.connect(home=self._settings.home, memory_gib=1))
                    connection.execute("SET parquet_metadata_cache=true")
                    plan, sources = self._prepared(connection, request, brought)
                    kept = self._kept[shape] = _Kept(state, connection, plan, sources, stack.pop_all())
                while len(self._kept) > _KEPT_LOOKUPS:
                    self.forget(next(iter(self._kept)))
            spine = spine.comparable_in(kept.plan)
            plan = spine.typed(kept.plan)
            kept.connection.register(SPINE, spine.rows)
            spine.narrow(kept.connection, plan)
            return kept.connection.sql(query.statement(plan, terms)).to_arrow_table(), plan, kept.sources

    def forget(self, shape: Hashable = None) -> None:
        """Close engines that are kept for look-ups: one, or all."""
        for each in [shape] if shape is not None else list(self._kept):
            if each in self._kept:
                self._kept.pop(each).stack.close()

    def _prepared(
        self, connection: duckdb.DuckDBPyConnection, request: Request, brought: Brought | None
    ) -> tuple[Plan, dict[str, Source]]:
        """Plan a request, and make the tables that it reads known to an engine."""
        groups = Past(self._catalog, self._opened, request.as_of)
        asked_for = None if brought is None else Spine(columns=brought.columns, event_time=request.event_time)
        plan = planner.plan(request.names, groups, spine=asked_for, on=request.on, allow_fanout=request.allow_fanout)
        request.terms.check(plan)
        read = dict.fromkeys(group.full_name for group in plan.groups.values())
        if isinstance(request.as_of, int) and len(read) > 1:
            named = ", ".join(read)
            raise FeatureError(f"--as-of {request.as_of} is a commit of one group, and {named} are read: give a time")
        sources = {alias: groups.source(group) for alias, group in plan.groups.items()}
        for alias, source in sources.items():
            view = alias if plan.base is not None and alias == "g0" else f"{alias}_rows"
            source.table.register(connection, view if request.keys is None else f"{view}_all")
        return plan, sources


@dataclass(frozen=True)
class _Kept:
    """An engine that is kept for look-ups of one shape, while the store does not change."""

    state: tuple[Any, ...]
    connection: duckdb.DuckDBPyConnection
    plan: Plan
    sources: dict[str, Source]
    stack: contextlib.ExitStack


def reads_of(plan: Plan, sources: Mapping[str, Source]) -> list[FeatureInput]:
    """Return what a plan reads: the features that were asked for, by group; keys and moments go without saying."""
    # a group that is joined in several roles is read once
    read = {source.group.full_name: source for source in sources.values()}
    return [
        FeatureInput(
            kind=InputKind.GROUP,
            name=source.group.name,
            version=source.group.version,
            commit=source.table.version,
            features=tuple(dict.fromkeys(o.column.name for o in plan.outputs if o.group.full_name == name)),
        )
        for name, source in read.items()
    ]


def _ordered(request: Request) -> Request:
    return replace(request, terms=replace(request.terms, is_ordered=True))


def _brought(request: Request) -> Brought | None:
    if request.keys is not None:
        if request.spine is not None:
            raise FeatureError(
                "--keys and --spine exclude each other: keys look up present rows, a spine asks for past ones"
            )
        if request.event_time is not None:
            raise FeatureError("--keys look up present rows, which --event-time cannot place: give the rows as --spine")
        return rows_to_find(request.keys, None, name=_KEYS_NAME)
    if request.spine is None:
        if request.event_time is not None:
            raise FeatureError("--event-time is a column of the spine: give the spine too, --spine NAME")
        return None
    return rows_to_find(request.spine, request.event_time, name=_SPINE_NAME)


def _fingerprint(rows: pa.Table) -> str:
    # the same bytes mean other values in other types
    found = hashlib.sha256(rows.schema.serialize())
    for batch in rows.combine_chunks().to_batches():
        found.update(batch.serialize())
    return found.hexdigest()
