"""What must hold of rows before they are written. All of it is asked of the engine, where the rows are."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.errors import counted
from hops_magic.features.conditions import check_condition, first_line
from hops_magic.features.engine import is_of_storage, rows_of, value_of
from hops_magic.features.errors import (
    ConflictError,
    FeatureError,
    KeyViolationError,
    RejectedError,
    SchemaMismatchError,
    UnknownNameError,
)
from hops_magic.features.key_types import KeyColumn, comparable
from hops_magic.features.model import COMMITTED_AT, ForeignKey, Group
from hops_magic.features.names import DATASETS, folded, nearest
from hops_magic.features.sql import listed, literal, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from hops_magic.features.catalog import Catalog
    from hops_magic.features.validation import Report

# clocks of two machines differ by that much
_TOLERANCE = datetime.timedelta(minutes=5)
_SHOWN = 3


def check_new_group(group: Group) -> None:
    """Refuse a group whose keys, event time or partitions are no columns of it, or cannot serve as such.

    Raises
    ------
    FeatureError
        Naming the column.
    """
    if group.name.casefold() == DATASETS:
        raise FeatureError(f"a group cannot be named {group.name}: training datasets are kept there, choose another name")
    for role, names in (
        ("--key", group.primary_key),
        ("--event-time", (group.event_time,) if group.event_time else ()),
        ("--partition-by", group.partition_by),
        ("--foreign-key", tuple(name for key in group.foreign_keys for name in key.columns)),
    ):
        for name in names:
            if group.column(name) is None:
                raise UnknownNameError("column", name, nearest(name, group.column_names), f"the data ({role})")
    if len(set(group.primary_key)) < len(group.primary_key):
        raise FeatureError(f"--key {','.join(group.primary_key)} names a column twice: name each once")
    for name in group.primary_key:
        column = group.column(name)
        if column is not None and column.type.startswith(("double", "float", "list", "struct", "map")):
            raise FeatureError(
                f"{name} cannot be a key, since it is of type {column.type}: use whole numbers, strings or dates"
            )
    if group.event_time is None:
        return
    if group.event_time in group.primary_key:
        raise FeatureError(
            f"{group.event_time} is both --key and --event-time: leave it out of the key, the event time tells rows "
            "of one key apart"
        )
    column = group.column(group.event_time)
    if column is not None and not column.type.startswith(("timestamp", "date")):
        raise FeatureError(
            f"--event-time {group.event_time} must hold timestamps or dates, got {column.type}: convert it first"
        )


def check_case(name: str, known: Iterable[str]) -> None:
    """Refuse a group whose name SQL could not tell from another's.

    Raises
    ------
    ConflictError
        With the other name.
    """
    same = next((other for other in known if folded(other) == folded(name) and other != name), None)
    if same is not None:
        raise ConflictError(f"there is a group {same}, and {name} differs from it only in case: choose another name")


def check_foreign_keys(keys: Sequence[ForeignKey], group: Group, catalog: Catalog) -> None:
    """Refuse keys of groups that are not there, or that have no such columns.

    Raises
    ------
    UnknownNameError
        Naming the group or column.
    """
    for key in keys:
        other = group if key.group == group.name else catalog.group(key.group)
        if other is None:
            raise UnknownNameError(
                "group", key.group, nearest(key.group, catalog.names()[0]), f"the store (--foreign-key {key})"
            )
        for name in key.references:
            if other.column(name) is None:
                raise UnknownNameError("column", name, nearest(name, other.column_names), other.full_name)


def check_unchanged(group: Group, said: Mapping[str, tuple[object, object]]) -> None:
    """Refuse a write that says otherwise than its group what cannot change: option -> what it says, and what the group has.

    Raises
    ------
    SchemaMismatchError
        Naming both.
    """
    for what, (asked, kept) in said.items():
        if asked and asked != kept:
            raise SchemaMismatchError(
                f"the {what} of {group.full_name} is {_listed(kept)}, got {_listed(asked)}: "
                f"say --mode version to begin a version with another {what}"
            )


def make_batch(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Make ``batch``: the incoming rows with the group's columns in the group's order."""
    have = set(connection.sql("SELECT * FROM incoming LIMIT 0").columns)
    columns = [quoted(name) if name in have else f"NULL AS {quoted(name)}" for name in group.column_names]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW batch AS SELECT {', '.join(columns)} FROM incoming")


def check_keys(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Refuse null and duplicate keys.

    Raises
    ------
    KeyViolationError
        With the number of such rows, and some of them.
    """
    keys = group.row_key
    nulls = ", ".join(f"count(*) - count({quoted(key)}) AS {quoted(key)}" for key in keys)
    for key, count in rows_of(connection, f"SELECT {nulls} FROM batch")[0].items():
        if count:
            what = "event time" if key == group.event_time else "key"
            raise KeyViolationError(
                f"{what} {key} is null in {counted(count, 'row')} of the data for {group.name}: give it a value, or leave "
                "them out"
            )
    twice = f"SELECT {listed(keys)}, count(*) AS n FROM batch GROUP BY ALL HAVING n > 1"
    found = rows_of(connection, f"SELECT *, count(*) OVER () AS of_all FROM ({twice}) ORDER BY ALL LIMIT {_SHOWN}")
    if found:
        more = f" and {found[0]['of_all'] - len(found)} more" if found[0]["of_all"] > len(found) else ""
        raise KeyViolationError(
            f"several rows of the data for {group.name} have the same {', '.join(keys)}: {_shown(found, keys)}{more}; "
            "keep one row of each" + ("" if group.event_time else ", or say which column is the --event-time")
        )


def check_not_stored(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Refuse to append rows that are there.

    Raises
    ------
    KeyViolationError
        With the number of such rows, and some of them.
    """
    match = " AND ".join(f"b.{quoted(key)} = s.{quoted(key)}" for key in group.row_key)
    same = f"SELECT {listed(group.row_key, 'b.')} FROM batch b SEMI JOIN stored s ON {match}"
    found = rows_of(connection, f"SELECT *, count(*) OVER () AS of_all FROM ({same}) ORDER BY ALL LIMIT {_SHOWN}")
    if found:
        raise KeyViolationError(
            f"{counted(found[0]['of_all'], 'row')} of the data {'is' if found[0]['of_all'] == 1 else 'are'} in "
            f"{group.full_name} already, "
            f"e.g. {_shown(found, group.row_key)}: say --mode upsert to replace them"
        )


def check_event_times(connection: duckdb.DuckDBPyConnection, group: Group, now: datetime.datetime) -> None:
    """Refuse events that have not happened: features of the future leak into training.

    Raises
    ------
    FeatureError
        With the number of such rows.
    """
    if group.event_time is None:
        return
    late = f"SELECT count(*) FROM batch WHERE {quoted(group.event_time)}::TIMESTAMPTZ > {literal(now + _TOLERANCE)}"
    count = int(value_of(connection, late))
    if count:
        raise FeatureError(
            f"{counted(count, 'row')} of the data for {group.name} have an event time that is still to come "
            f"({group.event_time}, read as UTC "
            "where no zone is given): correct them, or say --allow-future"
        )


def check_rules(
    connection: duckdb.DuckDBPyConnection,
    group: Group,
    *,
    on_fail: str,
    has_stored: bool,
    now: datetime.datetime,
) -> tuple[Report | None, pa.Table | None]:
    """Ask the group's rules of ``batch``; failing rows are refused, taken out of it and returned, or only told.

    Raises
    ------
    RejectedError
        If a rule is broken, and ``on_fail`` is ``"reject"`` or not a single row is good.
    """
    if not group.rules:
        return None, None
    from hops_magic.features.rules import Rule
    from hops_magic.features.validation import split, validate

    rules = [Rule.from_json(rule) for rule in group.rules]
    stored = None
    if has_stored:
        match = " AND ".join(f"s.{quoted(key)} = b.{quoted(key)}" for key in group.row_key)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW untouched AS SELECT * FROM stored s ANTI JOIN batch b ON {match}")
        stored = "untouched"
    report = validate(
        connection,
        "batch",
        rules,
        group.columns,
        stored=stored,
        row_key=group.row_key,
        now=now,
        event_time=group.event_time,
    )
    if report.ok or on_fail == "warn":
        return report, None
    if on_fail == "reject" or not report.can_split:
        remedy = ": correct them, or say --on-fail quarantine to put them aside" if report.can_split else ""
        raise RejectedError(f"nothing was written to {group.full_name}: {report.sentence()}{remedy}")
    good, bad = split(connection, "batch", report)
    if good.num_rows == 0:
        raise RejectedError(f"nothing was written to {group.full_name}, since every row breaks a rule: {report.sentence()}")
    connection.register("good_rows", good)
    connection.execute("CREATE OR REPLACE TEMP VIEW batch AS SELECT * FROM good_rows")
    return report, bad


def rows_where(connection: duckdb.DuckDBPyConnection, group: Group, where: str) -> pa.Table:
    """Return the keys of the stored rows for which a condition holds.

    Raises
    ------
    FeatureError
        If it is no condition over the group's columns.
    """
    import duckdb

    check_condition(connection, where, "stored", whose=group.full_name)
    try:
        return connection.sql(f"SELECT {listed(group.row_key)} FROM stored WHERE ({where}\n)").to_arrow_table()
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        if is_of_storage(error):
            raise
        raise FeatureError(
            f"the condition {where[:200]!r} cannot be asked of {group.full_name}: {first_line(error)}"
        ) from error


def rows_with_keys(connection: duckdb.DuckDBPyConnection, group: Group, keys: pa.Table) -> pa.Table:
    """Return the row keys of the stored rows that have certain keys; without an event time, of all moments.

    Raises
    ------
    FeatureError
        If the keys lack a column, or one is of another type.
    """
    have = keys.column_names
    missing = [key for key in group.primary_key if key not in have]
    if missing:
        raise FeatureError(
            f"the keys lack {', '.join(missing)}: the key of {group.full_name} is {', '.join(group.primary_key)}"
        )
    given = [key for key in group.row_key if key in have]
    columns = [KeyColumn(key, group, key) for key in given]
    connection.register("incoming", comparable(keys, columns, name=f"the keys for {group.full_name}"))
    match = " AND ".join(f"s.{quoted(key)} = i.{quoted(key)}" for key in given)
    return connection.sql(
        f"SELECT {listed(group.row_key, 's.')} FROM stored s SEMI JOIN incoming i ON {match}"
    ).to_arrow_table()


def typed(rows: pa.RecordBatchReader, group: Group) -> pa.RecordBatchReader:
    """Give rows the exact types of a group's table: keys that are never null, times in microseconds of UTC."""
    import pyarrow as pa

    from hops_magic.features.types import arrow_type

    fields = [
        pa.field(column.name, arrow_type(column.type), nullable=column.nullable, metadata=_comment(column.description))
        for column in group.columns
    ]
    schema = pa.schema([*fields, pa.field(COMMITTED_AT, pa.timestamp("us", tz="UTC"))])
    # Arrow tells microseconds in UTC from any other zone; the engine names its own
    return pa.RecordBatchReader.from_batches(schema, (_cast(batch, schema) for batch in rows))


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [
        array if array.type == item.type else array.cast(item.type)
        for array, item in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _comment(description: str) -> dict[str, str] | None:
    return {"comment": description} if description else None


def _listed(value: object) -> str:
    return (", ".join(value) if isinstance(value, tuple) else str(value or "")) or "none"


def _shown(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    return "; ".join(", ".join(f"{key}={str(row[key])[:60]}" for key in keys) for row in rows)
