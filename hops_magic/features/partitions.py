"""What must hold of partition columns, after whose values folders are named."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hops_magic.errors import counted
from hops_magic.features.engine import rows_of
from hops_magic.features.errors import FeatureError, SchemaMismatchError
from hops_magic.features.lake_places import local_folder, misread
from hops_magic.features.model import Group
from hops_magic.features.sql import literal, quoted

if TYPE_CHECKING:
    import duckdb

_LONGEST_FOLDER = 255
# after which the folder of nulls is named
_NULL = "__HIVE_DEFAULT_PARTITION__"


def check_partitions(connection: duckdb.DuckDBPyConnection, group: Group) -> None:
    """Refuse columns and values after which no folder can be named so that they come back as they are.

    Raises
    ------
    SchemaMismatchError
        With the column, or the value.
    """
    for name in group.partition_by:
        column = group.column(name)
        kind = column.type if column else ""
        if ":" in name:
            raise SchemaMismatchError(
                f"column {name} cannot be a partition, since the lake would take what is before its ':' for the scheme of a "
                "URI: rename it"
            )
        if "//" in name:
            raise SchemaMismatchError(
                f"column {name} cannot be a partition, since the lake takes each '/' in it for the end of a folder's name, "
                "and one of these would be empty: rename it"
            )
        if kind.startswith(("binary", "list", "struct")):
            raise SchemaMismatchError(
                f"column {name} cannot be a partition, since no folder can be named after values of type {kind}: convert it "
                "to texts, or partition by another column"
            )
        for what, text in (("an empty text", ""), (repr(_NULL), _NULL)):
            same = f"SELECT count(*) AS n FROM batch WHERE CAST({quoted(name)} AS VARCHAR) = {literal(text)}"
            if count := rows_of(connection, same)[0]["n"]:
                raise FeatureError(
                    f"partition column {name} is {what} in {counted(count, 'row')} of the data for {group.name}, which "
                    "would come back as null: give it another value, or partition by another column"
                )
        if kind.startswith("decimal"):
            _check_decimals(connection, name, group)
        _check_folders(connection, name, kind, group)
        _check_escapes(connection, name, group)


def _check_decimals(connection: duckdb.DuckDBPyConnection, name: str, group: Group) -> None:
    """Refuse negative fractions: the lake writes -1.50 as -1.-50."""
    value = quoted(name)
    query = f"SELECT CAST({value} AS VARCHAR) AS value FROM batch WHERE {value} < 0 AND {value} <> trunc({value}) LIMIT 1"
    for row in rows_of(connection, query):
        raise SchemaMismatchError(
            f"column {name} of the data for {group.name} is a partition, and the lake cannot name a folder after the "
            f"negative fraction {row['value']}: convert it to texts, or partition by another column"
        )


def _check_folders(connection: duckdb.DuckDBPyConnection, name: str, kind: str, group: Group) -> None:
    """Refuse values that are too long for the name of a folder: COLUMN=VALUE, escaped as in a URI."""
    room = _LONGEST_FOLDER - len(quote(name, safe="")) - 1
    text = f"CAST({quoted(name)} AS VARCHAR)"
    size = f"strlen(url_encode({text}))"
    if kind in ("float", "double"):
        # the lake writes all digits: 1e300 has 301, and 1e-300 as many zeros before up to 17 others
        value = f"CASE WHEN isfinite({quoted(name)}) AND {quoted(name)} <> 0 THEN log10(abs({quoted(name)})) ELSE 0 END"
        size = f"CAST(CASE WHEN {value} < 0 THEN 20 - {value} ELSE 4 + {value} END AS BIGINT)"
    query = f"SELECT {text} AS value, {size} AS size FROM batch WHERE {size} > {room} ORDER BY size DESC LIMIT 1"
    for row in rows_of(connection, query):
        raise SchemaMismatchError(
            f"column {name} of the data for {group.name} is a partition, and a folder cannot be named after its value "
            f"{row['value'][:40]!r}, which takes {row['size']:,} characters (at most {room}): shorten it, or keep the "
            "group without this partition"
        )


def _check_escapes(connection: duckdb.DuckDBPyConnection, name: str, group: Group) -> None:
    """Refuse, where the lake would name folders without escapes, what needs one: no other program would find them."""
    folder = local_folder(group.location)
    letters = folder and misread(folder)
    if not letters:
        return
    text = f"CAST({quoted(name)} AS VARCHAR)"
    query = f"SELECT {text} AS value FROM batch WHERE url_encode({text}) <> {text} LIMIT 1"
    found = [name] if quote(name, safe="") != name else [str(row["value"]) for row in rows_of(connection, query)]
    if found:
        raise SchemaMismatchError(
            f"column {name} of the data for {group.name} is a partition, and below a folder with {letters!r} in its path "
            f"none can be named after {found[0][:40]!r}: use letters from A to Z, digits, '-', '.', '_' and '~' alone, keep "
            "the group without this partition, or set HOPS_FEATURES to another folder"
        )
