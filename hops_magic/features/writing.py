"""Writing to a group: every write is checked as a whole first, then one atomic commit."""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hops_magic.features import checking, engine
from hops_magic.features.catalog import Catalog
from hops_magic.features.columns import columns_of, described, evolved
from hops_magic.features.errors import ConflictError, FeatureError, UnknownNameError
from hops_magic.features.folders import new_folder, sweep
from hops_magic.features.lake import LakeTable, Note
from hops_magic.features.model import COMMITTED_AT, Commit, ForeignKey, Group, Operation
from hops_magic.features.names import GroupName, parse_group
from hops_magic.features.origin import written_from
from hops_magic.features.partitions import check_partitions
from hops_magic.features.quarantine import put_aside
from hops_magic.features.spooling import Spooled, spooled
from hops_magic.features.sql import listed, literal, quoted
from hops_magic.features.tables import incoming
from hops_magic.options import check, option
from hops_magic.settings import FeatureSettings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from hops_magic.features.validation import Report

MODES = ("auto", "create", "append", "upsert", "version")
ON_FAIL = ("reject", "quarantine", "warn")
# the lake's merge holds rows in memory, several times over
_MOST_MERGED_BYTES = 64 * 2**20
_WIDE_COLUMNS, _ROWS_PER_COLUMN = 100, 50


@dataclass(frozen=True, kw_only=True)
class SaveOptions:
    """Options of a write."""

    mode: str = option(
        "auto",
        "create a group, append new rows, upsert by key, or begin a new version; auto creates or upserts",
        choices=MODES,
    )
    key: tuple[str, ...] = option((), "columns of the primary key, when a group is made", metavar="COLUMN,...")
    event_time: str | None = option(None, "column that says when a row became true, when a group is made", metavar="COLUMN")
    partition_by: tuple[str, ...] = option((), "columns by whose values files are kept apart", metavar="COLUMN,...")
    describe: str | None = option(None, "what the group is", metavar="TEXT")
    tags: tuple[str, ...] = option((), "words to find the group by", metavar="TAG,...")
    evolve: bool = option(False, "accept new columns, and widen types")
    on_fail: str | None = option(None, "what to do with rows that break a rule: kept for later writes", choices=ON_FAIL)
    allow_future: bool = option(False, "accept event times that are still to come")
    no_stats: bool = option(False, "do not compute statistics of the group after the write")
    column_descriptions: Mapping[str, str] = option((), "column -> what it is", hidden=True)
    foreign_keys: tuple[ForeignKey, ...] = option((), "columns that hold another group's key", hidden=True)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a write did.

    Attributes
    ----------
    quarantined : int
        Rows that broke a rule and were put aside.
    warnings : tuple of str
        Rules that were broken, where that only warns.
    """

    group: Group
    commit: Commit
    quarantined: int = 0
    warnings: tuple[str, ...] = field(default=())


class Writer:
    """Writes groups.

    Parameters
    ----------
    settings : FeatureSettings
        Where the lake is.
    catalog : Catalog
        What it knows.
    clock : callable
        Returns the time, with its zone.
    opened : callable
        Returns a group's table, after the catalog has taken in commits that it missed.
    """

    def __init__(
        self,
        settings: FeatureSettings,
        catalog: Catalog,
        clock: Callable[[], datetime.datetime],
        opened: Callable[[Group], tuple[Group, LakeTable]],
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._clock = clock
        self._opened = opened

    def save(self, data: Any, reference: str, options: SaveOptions, *, source: str = "", run_id: str = "") -> Written:
        """Write rows to a group; see ``FeatureStore.save``."""
        name = parse_group(reference)
        source, run_id = written_from(source, run_id)
        known = None if options.mode == "version" else self._catalog.group(name.name, name.version)
        author = getpass.getuser()
        with (
            spooled(
                data,
                name=f"the data for {name}",
                folder=engine.spill_folder(self._settings.home),
                known=known.columns if known else (),
            ) as rows,
            self._catalog.writing(name.name),
            engine.connect(home=self._settings.home) as connection,
        ):
            existing = self._target(name, options)
            rows.register(connection, "incoming")
            if existing is None:
                return self._create(
                    connection,
                    rows.schema,
                    name,
                    options,
                    Note(operation=Operation.CREATE, author=author, source=source, run_id=run_id),
                )
            group, table = self._opened(existing)
            operation = Operation.APPEND if options.mode == "append" else Operation.UPSERT
            note = Note(operation=operation, author=author, source=source, run_id=run_id)
            return self._change(connection, rows, group, table, options, note)

    def delete(
        self,
        reference: str,
        *,
        keys: Any = None,
        where: str | None = None,
        statistics: bool = True,
        source: str = "",
        run_id: str = "",
    ) -> Written:
        """Delete rows by key or by a condition; see ``FeatureStore.delete_rows``."""
        if (keys is None) == (where is None):
            raise FeatureError("say which rows to delete: either their keys or a condition, e.g. --where 'season < 2010'")
        name = parse_group(reference)
        source, run_id = written_from(source, run_id)
        with self._catalog.writing(name.name), engine.connect(home=self._settings.home) as connection:
            group, table = self._opened(existing_group(self._catalog, name))
            table.register(connection, "stored")
            if where is not None:
                chosen = checking.rows_where(connection, group, where)
            else:
                chosen = checking.rows_with_keys(connection, group, incoming(keys, name=f"the keys for {group.full_name}"))
            if chosen.num_rows == 0:
                raise FeatureError(f"no row of {group.full_name} matches: nothing was deleted")
            note = Note(operation=Operation.DELETE, author=getpass.getuser(), source=source, run_id=run_id)
            if _is_merged_slowly(group):
                self._rewrite_without(connection, chosen, group, table, note)
            else:
                table.delete(chosen, note, keys=group.row_key)
            return self._done(group, SaveOptions(no_stats=not statistics), connection)

    # the parts

    def _target(self, name: GroupName, options: SaveOptions) -> Group | None:
        """Return the group to change; None if one is to be made."""
        existing = self._catalog.group(name.name, name.version)
        following = self._catalog.next_version(name.name)
        is_new = options.mode == "version" or existing is None
        if options.mode == "create" and existing is not None:
            raise ConflictError(f"{existing.full_name} exists: say --mode append or upsert to add to it, or --mode version")
        if options.mode in ("append", "upsert") and existing is None:
            raise FeatureError(f"there is no group {name}: without --mode it is made (with --key)")
        if is_new and name.version is not None and name.version != following:
            raise FeatureError(f"the next version of {name.name} is {following}, got {name.version}")
        return None if is_new else existing

    def _create(
        self, connection: duckdb.DuckDBPyConnection, schema: pa.Schema, name: GroupName, options: SaveOptions, note: Note
    ) -> Written:
        latest = self._catalog.group(name.name)
        key = options.key or (latest.primary_key if latest else ())
        event_time = options.event_time or (latest.event_time if latest and not options.key else None)
        if not key:
            raise FeatureError(
                f"a new group needs its primary key: say --key COLUMN; the columns are {', '.join(schema.names[:30])}"
            )
        if latest is None:
            checking.check_case(name.name, self._catalog.group_names())
        version = self._catalog.next_version(name.name)
        now = self._clock()
        place = f"{self._settings.lake}/{name.name}"
        group = Group(
            name=name.name,
            version=version,
            columns=described(columns_of(schema, key, event_time), options.column_descriptions, latest),
            primary_key=tuple(key),
            event_time=event_time,
            partition_by=options.partition_by or (latest.partition_by if latest else ()),
            location=new_folder(place, version, self._catalog.id),
            description=options.describe or (latest.description if latest else ""),
            tags=options.tags or (latest.tags if latest else ()),
            foreign_keys=options.foreign_keys or (latest.foreign_keys if latest else ()),
            rules=latest.rules if latest else (),
            on_fail=options.on_fail or (latest.on_fail if latest else "reject"),
            created_at=now,
            updated_at=now,
            author=note.author,
        )
        checking.check_new_group(group)
        checking.check_foreign_keys(options.foreign_keys, group, self._catalog)
        sweep(place, self._catalog.id, [known.location for known in self._catalog.versions(name.name)])
        report, aside = self._checked(connection, group, options, now)
        rows = self._as_stored(connection, group, now)
        table = LakeTable.create(
            group.location, rows, note, keys=group.row_key, partition_by=group.partition_by, description=group.description
        )
        commit = replace(table.commits()[-1], rows=table.rows)
        # the catalog makes it visible: a table that it does not name is nobody's
        self._catalog.add(group, commit)
        if aside is not None:
            put_aside(group, aside, now)
        return self._finished(replace(group, rows=commit.rows, commit=commit.number), commit, options, connection, report)

    def _change(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: Spooled,
        group: Group,
        table: LakeTable,
        options: SaveOptions,
        note: Note,
    ) -> Written:
        checking.check_unchanged(
            group,
            {
                "key": (options.key, group.primary_key),
                "event time": (options.event_time, group.event_time),
                "partition": (options.partition_by, group.partition_by),
            },
        )
        table.register(connection, "stored")
        wanted = evolved(connection, rows.schema, group, accept=options.evolve)
        changed = replace(
            wanted,
            description=options.describe or group.description,
            tags=options.tags or group.tags,
            foreign_keys=options.foreign_keys or group.foreign_keys,
            columns=described(wanted.columns, options.column_descriptions, group),
            on_fail=options.on_fail or group.on_fail,
        )
        checking.check_new_group(changed)
        checking.check_foreign_keys(options.foreign_keys, changed, self._catalog)
        now = self._clock()
        report, aside = self._checked(connection, wanted, options, now)
        if note.operation is Operation.APPEND:
            checking.check_not_stored(connection, group)
        if wanted.columns != group.columns:
            self._rewrite(connection, wanted, group, table, replace(note, operation=Operation.EVOLVE), now)
        elif note.operation is Operation.UPSERT and (rows.nbytes > _MOST_MERGED_BYTES or _is_merged_slowly(group)):
            self._rewrite(connection, wanted, group, table, note, now)
        elif note.operation is Operation.APPEND:
            table.append(self._as_stored(connection, wanted, now), note, keys=group.row_key)
        else:
            table.upsert(self._as_stored(connection, wanted, now).read_all(), note, keys=group.row_key)
        if changed != group:
            self._catalog.change(changed)
        if aside is not None:
            put_aside(changed, aside, now)
        return self._done(changed, options, connection, report)

    def _checked(
        self,
        connection: duckdb.DuckDBPyConnection,
        group: Group,
        options: SaveOptions,
        now: datetime.datetime,
    ) -> tuple[Report | None, pa.Table | None]:
        """Make the view ``batch`` of rows that may be written; returns what the rules say, and the rows to put aside."""
        checking.make_batch(connection, group)
        checking.check_keys(connection, group)
        check_partitions(connection, group)
        if not options.allow_future:
            checking.check_event_times(connection, group, now)
        return checking.check_rules(
            connection,
            group,
            on_fail=options.on_fail or group.on_fail,
            has_stored=group.commit >= 0 and bool(group.rows),
            now=now,
        )

    def _as_stored(
        self, connection: duckdb.DuckDBPyConnection, group: Group, now: datetime.datetime
    ) -> pa.RecordBatchReader:
        """Rows of ``batch`` as the table keeps them."""
        query = f"SELECT {listed(group.column_names)}, {literal(now)} AS {quoted(COMMITTED_AT)} FROM batch"
        return checking.typed(engine.reader_of(connection, query), group)

    def _rewrite(
        self,
        connection: duckdb.DuckDBPyConnection,
        wanted: Group,
        group: Group,
        table: LakeTable,
        note: Note,
        now: datetime.datetime,
    ) -> None:
        """Write the whole table anew with the new rows, and perhaps other columns, in one commit; the engine may spill."""
        kept = [quoted(name) if group.column(name) else f"NULL AS {quoted(name)}" for name in wanted.column_names]
        match = " AND ".join(f"s.{quoted(key)} = b.{quoted(key)}" for key in group.row_key)
        changed = int(engine.value_of(connection, f"SELECT count(*) FROM stored s SEMI JOIN batch b ON {match}"))
        added = int(engine.value_of(connection, "SELECT count(*) FROM batch")) - changed
        query = (
            f"SELECT {', '.join(kept)}, {quoted(COMMITTED_AT)} FROM stored s ANTI JOIN batch b ON {match} UNION ALL "
            f"SELECT {listed(wanted.column_names)}, {literal(now)} FROM batch"
        )
        counted = replace(note, rows_added=added, rows_changed=changed)
        table.overwrite(checking.typed(engine.reader_of(connection, query), wanted), counted, keys=group.row_key)

    def _rewrite_without(
        self, connection: duckdb.DuckDBPyConnection, chosen: pa.Table, group: Group, table: LakeTable, note: Note
    ) -> None:
        """Write the whole table anew without the rows that have these keys, in one commit."""
        connection.register("chosen", chosen)
        match = " AND ".join(f"s.{quoted(key)} = c.{quoted(key)}" for key in group.row_key)
        query = f"SELECT {listed(group.column_names)}, {quoted(COMMITTED_AT)} FROM stored s ANTI JOIN chosen c ON {match}"
        counted = replace(note, rows_added=0, rows_changed=0, rows_removed=chosen.num_rows)
        table.overwrite(checking.typed(engine.reader_of(connection, query), group), counted, keys=group.row_key)

    def _done(
        self,
        group: Group,
        options: SaveOptions,
        connection: duckdb.DuckDBPyConnection,
        report: Report | None = None,
    ) -> Written:
        current, table = self._opened(group)
        commit = self._catalog.commits(current)[-1]
        table.compact_if_needed(keys=group.row_key)
        return self._finished(current, commit, options, connection, report)

    def _finished(
        self,
        group: Group,
        commit: Commit,
        options: SaveOptions,
        connection: duckdb.DuckDBPyConnection,
        report: Report | None,
    ) -> Written:
        if not options.no_stats:
            from hops_magic.features import column_statistics

            LakeTable(group.location, commit.number).register(connection, "written")
            found = column_statistics.compute(connection, "written", group.columns)
            self._catalog.save_statistics(group, commit.number, found.to_json())
        if report is None or report.ok:
            return Written(group=group, commit=commit)
        if (options.on_fail or group.on_fail) == "quarantine":
            return Written(group=group, commit=commit, quarantined=report.failing_rows)
        return Written(group=group, commit=commit, warnings=(report.sentence(),))


def _is_merged_slowly(group: Group) -> bool:
    """Whether the lake takes longer to plan a merge, by the square of the columns, than to write the table anew."""
    return len(group.columns) > _WIDE_COLUMNS and group.rows <= _ROWS_PER_COLUMN * len(group.columns)


def existing_group(catalog: Catalog, name: GroupName) -> Group:
    """Return a group that must be there.

    Raises
    ------
    UnknownNameError
        If it is not.
    """
    from hops_magic.features.names import nearest

    group = catalog.group(name.name, name.version)
    if group is None:
        latest = catalog.group(name.name)
        if latest is not None:
            raise UnknownNameError("version", str(name), (latest.full_name,))
        raise UnknownNameError("group", str(name), nearest(name.name, catalog.names()[0]))
    return group
