"""Types of keys: values of different families are never equal, so a key is brought to its group's type or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hops_magic.features.errors import SchemaMismatchError
from hops_magic.features.model import Group
from hops_magic.features.types import LossError, arrow_type, exactly

if TYPE_CHECKING:
    import pyarrow as pa

# of a time of day: the end of a date alone is no zone
_ZONE = "[T ].*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_SHOWN = 3
_SHOWN_CHARS = 40


class Family(StrEnum):
    """Types whose values can be equal."""

    NUMBER = "number"
    TEXT = "text"
    TIME = "time"
    BOOLEAN = "boolean"
    BYTES = "bytes"
    OTHER = "other"


_FAMILIES = {
    Family.NUMBER: ("int", "uint", "float", "halffloat", "double", "decimal"),
    Family.TEXT: ("string", "large_string"),
    Family.TIME: ("timestamp", "date"),
    Family.BOOLEAN: ("bool",),
    Family.BYTES: ("binary", "large_binary", "fixed_size_binary"),
}


# names of numbers in the engine
ENGINE_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_ENGINE_NUMBERS = dict(zip(("int8", "int16", "int32", "int64"), ENGINE_INTEGERS, strict=True)) | {
    "float": "FLOAT",
    "double": "DOUBLE",
}
_DECIMAL = re.compile(r"decimal128\((\d+), (-?\d+)\)")


def engine_number(kind: str) -> str | None:
    """Return the engine's name of a type of numbers, told by the catalog's text of it; None of other types."""
    decimal = _DECIMAL.fullmatch(kind)
    return f"DECIMAL({decimal[1]}, {decimal[2]})" if decimal else _ENGINE_NUMBERS.get(kind)


def family_of(kind: str) -> Family:
    """Return the family of a type, told by the catalog's text of it."""
    return next((family for family, names in _FAMILIES.items() if kind.startswith(names)), Family.OTHER)


@dataclass(frozen=True)
class KeyColumn:
    """A column of rows that users brought, and the group's column with which it is compared."""

    column: str
    group: Group
    key: str


def comparable(rows: pa.Table, keys: Iterable[KeyColumn], *, name: str) -> pa.Table:
    """Bring key columns to the family of the group's: text is read as what the group holds, nothing else is converted.

    Parameters
    ----------
    name
        What messages call the rows.

    Raises
    ------
    SchemaMismatchError
        If values of a column can never be equal to the group's.
    """
    import pyarrow as pa

    for key in keys:
        column = key.group.column(key.key)
        assert column is not None
        at = rows.schema.get_field_index(key.column)
        own = rows.schema.field(at)
        array = rows.column(at)
        if array.null_count == len(array):
            # whatever type nulls were given: they equal nothing
            kind = arrow_type(column.type)
            rows = rows.set_column(at, pa.field(own.name, kind), pa.chunked_array([pa.nulls(len(array), kind)]))
            continue
        if family_of(str(own.type)) is family_of(column.type):
            continue
        where = f"{key.key} of {key.group.full_name}, which is {column.type}"
        if not pa.types.is_string(own.type):
            shown = ", ".join(f"row {row}: {str(value)[:_SHOWN_CHARS]}" for row, value in enumerate(array[:_SHOWN]))
            raise SchemaMismatchError(
                f"column {key.column} of {name} is {own.type} ({shown}) and can never equal {where}: convert it"
            )
        try:
            read = _read(array, arrow_type(column.type))
        except LossError as error:
            raise SchemaMismatchError(f"column {key.column} of {name} is looked for in {where}: {error}") from error
        rows = rows.set_column(at, pa.field(own.name, read.type), read)
    return rows


def _read(texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Read texts as values of another type."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return moments(texts)
    read = exactly(texts, kind)
    if pa.types.is_integer(kind):
        # Arrow takes 0x10 for 16
        other = [(row, text) for row, text in enumerate(texts.to_pylist()) if text is not None and "x" in text.lower()]
        if other:
            raise LossError(str(kind), other[:_SHOWN])
    return read


def moments(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read texts as times, by ISO 8601; those without a zone are of UTC, as everywhere in the store.

    Raises
    ------
    LossError
        If some are no such times.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = texts.cast(pa.string())
    has_zone = pc.match_substring_regex(texts, _ZONE)
    there = pa.scalar(None, pa.string())
    zoned = exactly(pc.if_else(has_zone, texts, there), pa.timestamp("us", "UTC"))
    others = exactly(pc.if_else(has_zone, there, texts), pa.timestamp("us"))
    found: pa.ChunkedArray = pc.coalesce(zoned, others.cast(pa.timestamp("us", "UTC")))
    return found
