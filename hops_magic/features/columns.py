"""Columns of a group: as its rows bring them, as they may change, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hops_magic.features.engine import rows_of
from hops_magic.features.errors import SchemaMismatchError, UnknownNameError
from hops_magic.features.model import Column, Group
from hops_magic.features.names import folded
from hops_magic.features.sql import literal, quoted
from hops_magic.features.types import check_types, type_name

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SHOWN = 3


def columns_of(schema: pa.Schema, key: Sequence[str], event_time: str | None) -> tuple[Column, ...]:
    """Return the columns that rows have; keys and event times are never null."""
    fixed = {*key, event_time}
    return tuple(Column(name=item.name, type=type_name(item.type), nullable=item.name not in fixed) for item in schema)


def described(columns: Sequence[Column], said: Mapping[str, str], before: Group | None) -> tuple[Column, ...]:
    """Return columns with their descriptions: those said now, else those of an earlier version.

    Raises
    ------
    UnknownNameError
        If a column is described that is not there.
    """
    said = dict(said)
    unknown = sorted(set(said) - {column.name for column in columns})
    if unknown:
        raise UnknownNameError("column", unknown[0])
    earlier = {column.name: column.description for column in before.columns} if before else {}
    return tuple(
        replace(column, description=said.get(column.name, column.description or earlier.get(column.name, "")))
        for column in columns
    )


def evolved(connection: duckdb.DuckDBPyConnection, schema: pa.Schema, group: Group, *, accept: bool) -> Group:
    """Return a group with the columns that it has after a write of ``incoming``.

    Parameters
    ----------
    accept
        Whether columns may be added, and their types widened.

    Raises
    ------
    SchemaMismatchError
        If the rows do not have the group's columns, with the difference.
    """
    _check_case(schema.names, group)
    change = check_types(schema, group.columns)
    if change.fits:
        return group
    told = f"the data does not have the columns of {group.full_name}: {change.sentence()}"
    if change.clashing:
        clashing = [name for name in group.column_names if name in schema.names and _clashes(schema, group, name)]
        rows = "; ".join(f"{name}: {_first_misfits(connection, name)}" for name in clashing[:_SHOWN])
        raise SchemaMismatchError(f"{told} ({rows}): convert them, or begin a new version with --mode version")
    if not accept or not change.is_possible:
        hint = ": say --evolve to accept that" if change.is_possible else ": begin a new version with --mode version"
        raise SchemaMismatchError(f"{told}{hint}")
    wanted = replace(group, columns=change.columns)
    _check_widened(connection, wanted, group)
    return wanted


def _check_case(names: Sequence[str], group: Group) -> None:
    """Refuse names that the engine would take for another column of the group."""
    own = {folded(name): name for name in group.column_names}
    for name in names:
        known = own.get(folded(name), name)
        if known != name:
            raise SchemaMismatchError(
                f"column {name} of the data and {known} of {group.full_name} differ only in case: rename it to {known}"
            )


def _check_widened(connection: duckdb.DuckDBPyConnection, wanted: Group, group: Group) -> None:
    """Refuse a wider type that would round stored values: not every whole number is a double."""
    for column in wanted.columns:
        before = group.column(column.name)
        if before is None or (before.type, column.type) != ("int64", "double"):
            continue
        name = quoted(column.name)
        lost = f"FROM stored WHERE TRY_CAST(CAST({name} AS DOUBLE) AS BIGINT) IS DISTINCT FROM {name}"
        found = rows_of(connection, f"SELECT {name} AS value, count(*) OVER () AS n {lost} ORDER BY 1 LIMIT {_SHOWN}")
        if found:
            shown = ", ".join(str(row["value"]) for row in found)
            raise SchemaMismatchError(
                f"column {column.name} of {group.full_name} cannot become double, which would round {found[0]['n']:,} of "
                f"its stored values ({shown}): write whole numbers, or begin a new version with --mode version"
            )


def _clashes(schema: pa.Schema, group: Group, name: str) -> bool:
    import pyarrow as pa

    column = group.column(name)
    return column is not None and bool(check_types(pa.schema([schema.field(name)]), [column]).clashing)


def _first_misfits(connection: duckdb.DuckDBPyConnection, column: str) -> str:
    """Tell the first incoming rows whose values the stored column cannot hold."""
    import duckdb

    kinds = rows_of(connection, f"SELECT column_type FROM (DESCRIBE stored) WHERE column_name = {literal(column)}")
    connection.execute("SET preserve_insertion_order=true")
    numbered = f"SELECT row_number() OVER () - 1 AS n, {quoted(column)} AS value FROM incoming"
    # values that could be converted come last
    order = f"TRY_CAST(value AS {kinds[0]['column_type']}) IS NOT NULL, n"
    known = f"SELECT n, value::VARCHAR AS value FROM ({numbered}) WHERE value IS NOT NULL ORDER BY"
    try:
        found = rows_of(connection, f"{known} {order} LIMIT {_SHOWN}")
    except duckdb.Error:
        # there is no such conversion
        found = rows_of(connection, f"{known} n LIMIT {_SHOWN}")
    return f"row{'' if len(found) == 1 else 's'} " + ", ".join(f"{row['n']:,} ({row['value'][:40]})" for row in found)
