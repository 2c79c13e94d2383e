"""Conditions of SQL that users write: looked at as the engine's parser sees them, before they are asked of any row.

A condition may be spliced into a query once :func:`check_condition` has let it pass. It is then one expression over the
columns of one row: without subqueries, so that it reads no other table and no file; without functions that aggregate,
change something, tell the engine's settings or give another answer each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hops_magic.features.engine import rows_of, value_of
from hops_magic.features.errors import FeatureError
from hops_magic.features.names import nearest
from hops_magic.features.sql import quoted

if TYPE_CHECKING:
    import duckdb

_REFUSED = {
    "SUBQUERY": "it must not ask other tables",
    "WINDOW": "it must look at one row alone",
    "STAR": "it must name its columns one by one",
    "PARAMETER": "it must not have parameters",
}
# they tell what is none of the rows' business, such as credentials
_TELLING = frozenset({"current_setting", "getvariable", "getenv"})
_SHOWN = 200
_COLUMNS_SHOWN = 12


class _NoConditionError(ValueError):
    """The text says why."""


def check_condition(
    connection: duckdb.DuckDBPyConnection, condition: str, view: str, *, whose: str = "the rows"
) -> frozenset[str]:
    """Refuse what is no condition over the rows of a view.

    Returns
    -------
    frozenset of str
        Columns of the view that it looks at.

    Raises
    ------
    FeatureError
        In one sentence, which says ``whose`` rows they are.
    """
    try:
        return _checked(connection, condition, view)
    except _NoConditionError as error:
        raise FeatureError(f"the condition {condition[:_SHOWN]!r} cannot be asked of {whose}: {error}") from error


def first_line(error: Exception) -> str:
    """Return what the engine says, without its kind and its picture of the query."""
    line = str(error).strip().splitlines()[0]
    return line.split(" Error: ", 1)[-1][:_SHOWN].rstrip(" .!")


def _checked(connection: duckdb.DuckDBPyConnection, condition: str, view: str) -> frozenset[str]:
    import duckdb

    nodes = list(_nodes(_parsed(connection, condition)))
    for node in nodes:
        if reason := _REFUSED.get(node.get("class", "")):
            raise _NoConditionError(reason)
    _check_functions(connection, {node["function_name"].lower() for node in nodes if "function_name" in node})
    every = connection.sql(f"SELECT * FROM {quoted(view)} LIMIT 0").columns
    columns = [column for column in every if not column.startswith("_hops_")]
    named = {part for node in nodes for part in node.get("column_names", ())[:1]}
    try:
        kind = connection.sql(f"SELECT ({condition}\n) FROM {quoted(view)} LIMIT 0").types[0]
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        folded = {column.casefold() for column in columns}
        unknown = sorted(name for name in named if name.casefold() not in folded)
        raise _NoConditionError(_unknown(unknown[0], columns, condition) if unknown else first_line(error)) from error
    except duckdb.Error as error:
        raise _NoConditionError(first_line(error)) from error
    if str(kind) != "BOOLEAN":
        raise _NoConditionError(f"it must be true or false of a row, and is {str(kind).lower()[:_SHOWN]}")
    return frozenset(column for column in columns if column.casefold() in {name.casefold() for name in named})


def _parsed(connection: duckdb.DuckDBPyConnection, condition: str) -> Any:
    """Return the syntax tree of a condition that is one expression, with and without parentheses around it."""
    trees = []
    for query in (f"SELECT {condition}\n", f"SELECT ({condition}\n)"):
        tree = json.loads(value_of(connection, "SELECT json_serialize_sql(?)", [query]))
        if tree["error"]:
            told = "" if tree["error_type"] == "not implemented" else f" ({first_line(ValueError(tree['error_message']))})"
            raise _NoConditionError(f"it must be one expression{told}")
        trees.append([_without_places(statement) for statement in tree["statements"]])
    # "a) OR (b" and "a, b" and "a FROM t" parse in one way only, or as something else
    if trees[0] != trees[1] or len(trees[0]) != 1:
        raise _NoConditionError("it must be one expression")
    return trees[0]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(part)


def _without_places(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_places(part) for key, part in tree.items() if not key.startswith("query_location")}
    return [_without_places(part) for part in tree] if isinstance(tree, list) else tree


def _check_functions(connection: duckdb.DuckDBPyConnection, names: set[str]) -> None:
    known = rows_of(
        connection,
        "SELECT lower(function_name) AS name, bool_or(function_type NOT IN ('scalar', 'macro')) AS is_other, "
        "bool_or(stability = 'VOLATILE') AS is_volatile "
        "FROM duckdb_functions() WHERE list_contains(?, lower(function_name)) GROUP BY ALL",
        [sorted(names)],
    )
    for row in known:
        if row["name"] in _TELLING or row["is_volatile"]:
            raise _NoConditionError(f"{row['name']} cannot be asked of rows")
        if row["is_other"]:
            raise _NoConditionError(f"it must look at one row alone, and {row['name']} looks at several")


def _unknown(name: str, columns: list[str], condition: str) -> str:
    close = nearest(name, columns)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif quoted(name) in condition:
        hint = "text is written in single quotes, as in league = 'NBA'"
    else:
        hint = f"the columns are {', '.join(columns[:_COLUMNS_SHOWN])}{' …' if len(columns) > _COLUMNS_SHOWN else ''}"
    return f"there is no column {name[:_SHOWN]!r}; {hint}"
