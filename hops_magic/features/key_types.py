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
        if family_of(str(own.type)) is family_of(column.type) or pa.types.is_null(own.type):
            continue
        where = f"{key.key} of {key.group.full_name}, which is {column.type}"
        array = rows.column(at)
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
        try:
            # without a zone they are of UTC, as everywhere in the store
            return exactly(exactly(texts, pa.timestamp("us")), kind)
        except LossError:
            return exactly(texts, kind)
    return exactly(texts, kind)
