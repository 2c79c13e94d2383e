"""Names and values inside SQL: quoted here, spliced nowhere."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable
from typing import Any

from hops_magic.features.errors import FeatureError

_PATTERN = str.maketrans({letter: f"[{letter}]" for letter in "*?["})


def quoted(name: str) -> str:
    """Return a name as an identifier, its quotes doubled."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """Return a value as a constant of SQL.

    Raises
    ------
    TypeError
        If it is of a type that has no constant.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return f"TIMESTAMPTZ '{moment.astimezone(datetime.UTC).isoformat(sep=' ', timespec='microseconds')}'"
    if isinstance(value, datetime.date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE)"
    if isinstance(value, decimal.Decimal):
        return f"CAST('{value:f}' AS DECIMAL(38, {max(-int(value.as_tuple().exponent), 0)}))"
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
    if isinstance(value, str):
        # a NUL ends a statement early
        parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
        return parts[0] if len(parts) == 1 else f"({' || chr(0) || '.join(parts)})"
    raise TypeError(f"no constant of SQL for {type(value).__name__}")


def listed(names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    """Return names as a list of columns: ``g0."a", g0."b"``."""
    return ", ".join(prefix + quoted(name) for name in names)


def has_no_name(file: str) -> bool:
    """Whether the engine has no exact name for a file: in a pattern, a backslash parts folders."""
    return "\\" in file and any(letter in file for letter in "*?[")


def parquet(files: Iterable[str], *, folders: bool = False) -> str:
    """Return files as a table of SQL: each by its exact name, and with no column but its own.

    The engine would take ``*`` in a name as a pattern, and a folder ``team=a`` above a file as a column ``team`` of it: the
    latter it does only if ``folders`` are asked for.

    Raises
    ------
    FeatureError
        For a file that has no exact name there.
    """
    files = list(files)
    unnamed = next(filter(has_no_name, files), None)
    if unnamed is not None:
        raise FeatureError(
            f"the engine cannot read {unnamed[-200:]!r}, since a path cannot have both a backslash and one of '*', '?' and "
            "'[' there: rename the folder or the file"
        )
    names = ", ".join(literal(file.translate(_PATTERN)) for file in files)
    return f"read_parquet([{names}], hive_partitioning = {str(folders).lower()})"
