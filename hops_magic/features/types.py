"""Types of features: what a table may hold, and how a group's columns may change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hops_magic.features.errors import SchemaMismatchError
from hops_magic.features.model import Column

if TYPE_CHECKING:
    import pyarrow as pa

_SIGNED = {"uint8": "int16", "uint16": "int32", "uint32": "int64"}
_WIDENS = {
    "int8": ("int16", "int32", "int64", "float", "double"),
    "int16": ("int32", "int64", "float", "double"),
    "int32": ("int64", "double"),
    "int64": ("double",),
    "float": ("double",),
    "date32[day]": ("timestamp[us, tz=UTC]",),
}
_DECIMAL = re.compile(r"decimal128\((\d+), (-?\d+)\)")
_LIST = re.compile(r"list<\w+: (.+?)(?: not null)?>")
_LIST_OF = re.compile(r"\blist<\w+: ")


# kept as what they are made of
_PLAIN_EXTENSIONS = ("arrow.json",)
_FAILING_SHOWN = 3


class UnusableTypeError(ValueError):
    """A type that no table holds; the text says what to do."""


class LossError(ValueError):
    """Values that a type cannot hold.

    Parameters
    ----------
    kind : str
        That type.
    failing : list of tuple
        Number of the row and value, of the first ones.
    """

    def __init__(self, kind: str, failing: Sequence[tuple[int, str]]) -> None:
        super().__init__(kind, list(failing))
        self.kind, self.failing = kind, list(failing)

    def __str__(self) -> str:
        return self.rows()

    def rows(self, after: int = 0) -> str:
        """Tell the rows and their values, counted after so many other rows."""
        shown = ", ".join(f"{after + row:,} ({value[:40]})" for row, value in self.failing)
        one = len(self.failing) == 1
        remedy = " to strings or floats" if self.kind.startswith("int") else ""
        return (
            f"row{'' if one else 's'} {shown} {'does' if one else 'do'} not fit into {self.kind}: convert the column{remedy}"
        )


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which values are kept.

    Raises
    ------
    UnusableTypeError
        If there is none.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return stored_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name in _PLAIN_EXTENSIONS:
            return stored_type(kind.storage_type)
        what = kind.extension_name.removeprefix("pandas.").removeprefix("arrow.")
        raise UnusableTypeError(f"values of the type {what}: convert them to strings, numbers or timestamps")
    if str(kind) in _SIGNED:
        return pa.type_for_alias(_SIGNED[str(kind)])
    if pa.types.is_uint64(kind):
        return pa.int64()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        return pa.string()
    if pa.types.is_large_binary(kind) or str(kind) == "binary_view" or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_date64(kind):
        return pa.date32()
    if any(of(kind) for of in (pa.types.is_decimal32, pa.types.is_decimal64)):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(stored_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(item.name, stored_type(item.type)) for item in kind])
    for found, remedy in (
        (pa.types.is_null, "every value is null, so its type is unknown: give it one, e.g. .astype('float64')"),
        (pa.types.is_time, "times of day: convert them to strings, or to seconds as numbers"),
        (pa.types.is_duration, "durations: convert them to seconds as numbers, e.g. .dt.total_seconds()"),
        (pa.types.is_interval, "intervals: convert them to numbers"),
        (pa.types.is_union, "values of several types: convert them to one"),
        (pa.types.is_decimal256, "decimals of more than 38 digits: round them"),
        # Arrow 26 loses values when it casts them
        (lambda kind: "list_view" in str(kind), "views of lists: convert them to lists"),
        (pa.types.is_map, "maps: convert them to structs or strings"),
    ):
        if found(kind):
            raise UnusableTypeError(remedy)
    return kind


def type_name(kind: pa.DataType | str) -> str:
    """Return the text of a type, the same one whoever wrote it: the lake calls the values of lists otherwise than Arrow."""
    return _LIST_OF.sub("list<item: ", str(kind))


def is_untyped(kind: pa.DataType) -> bool:
    """Whether a type is that of nulls alone, of lists without a value, or of structs with such a part."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if pa.types.is_struct(kind):
        return any(is_untyped(item.type) for item in kind)
    return is_untyped(kind.value_type) if is_list else bool(pa.types.is_null(kind))


def arrow_type(text: str) -> pa.DataType:
    """Return the type that a catalog's text means.

    Raises
    ------
    UnusableTypeError
        If it means none.
    """
    import pyarrow as pa

    named = {"timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"), "date32[day]": pa.date32(), "float": pa.float32()}
    if text in named:
        return named[text]
    decimal, listed = _DECIMAL.fullmatch(text), _LIST.fullmatch(text)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if listed:
        return pa.list_(arrow_type(listed[1]))
    if text.startswith("struct<"):
        return pa.struct([pa.field(name, arrow_type(kind)) for name, kind in _members(text[7:-1])])
    try:
        return pa.type_for_alias(text)
    except ValueError as error:
        raise UnusableTypeError(f"unknown type {text}") from error


def _members(text: str) -> list[tuple[str, str]]:
    """``a: int64, b: list<item: double>`` -> pairs; commas inside brackets do not separate."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "<[(") - (letter in ">])")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    pairs = [part.strip().split(": ", 1) for part in parts]
    return [(name, kind.removesuffix(" not null")) for name, kind in pairs]


@dataclass(frozen=True, kw_only=True)
class SchemaChange:
    """How the columns of incoming rows differ from a group's.

    Attributes
    ----------
    columns : tuple of Column
        The group's columns if the change is accepted.
    added : tuple of str
        New columns, with their types.
    missing : tuple of str
        Columns of the group that the rows lack.
    widened : tuple of str
        Columns whose type grows: ``"age: int64 to double"``.
    clashing : tuple of str
        Columns whose types cannot be brought together.
    """

    columns: tuple[Column, ...]
    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    clashing: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the rows can be written as they are."""
        return not (self.added or self.missing or self.widened or self.clashing)

    @property
    def is_possible(self) -> bool:
        """Whether the group could take the rows if its columns were changed."""
        return not (self.missing or self.clashing)

    def sentence(self) -> str:
        """Tell the difference."""
        parts = (
            ("new", self.added),
            ("missing", self.missing),
            ("wider", self.widened),
            ("of another type", self.clashing),
        )
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def check_types(schema: pa.Schema, columns: Sequence[Column]) -> SchemaChange:
    """Compare the columns of incoming rows with a group's."""
    own = {column.name: replace(column, type=type_name(column.type)) for column in columns}
    wanted, added, widened, clashing = dict(own), [], [], []
    for item in schema:
        kind, column = type_name(item.type), own.get(item.name)
        if column is None:
            added.append(f"{item.name} ({kind})")
            wanted[item.name] = Column(name=item.name, type=kind)
        elif kind == column.type or column.type in _WIDENS.get(kind, ()):
            continue
        elif kind in _WIDENS.get(column.type, ()):
            widened.append(f"{item.name}: {column.type} to {kind}")
            wanted[item.name] = replace(column, type=kind)
        else:
            clashing.append(f"{item.name} is {kind} in the data and {column.type} in the group")
    missing = tuple(name for name in own if name not in schema.names)
    return SchemaChange(
        columns=tuple(wanted.values()),
        added=tuple(added),
        missing=missing,
        widened=tuple(widened),
        clashing=tuple(clashing),
    )


def exactly(array: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Bring values to a type that holds them without loss.

    Raises
    ------
    LossError
        If it does not hold some of them.
    """
    import pyarrow as pa

    if array.type == kind:
        return array
    try:
        return array.cast(kind)
    except pa.ArrowInvalid as error:
        raise LossError(str(kind), _failing(array, kind, 0)) from error


def _failing(array: pa.ChunkedArray, kind: pa.DataType, start: int) -> list[tuple[int, str]]:
    """Return the first rows that cannot be cast, by halving."""
    import pyarrow as pa

    try:
        array.cast(kind)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [(start, _text(array))]
    else:
        return []
    half = len(array) // 2
    found = _failing(array.slice(0, half), kind, start)
    if len(found) < _FAILING_SHOWN:
        found += _failing(array.slice(half), kind, start + half)
    return found[:_FAILING_SHOWN]


def _text(array: pa.ChunkedArray) -> str:
    try:
        return str(array[0])
    # a time that Python has no object for
    except (OverflowError, ValueError):
        return "out of range"


def can_hold(kind: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of one type may be brought to another, if none is lost by it."""
    import pyarrow as pa

    is_list, is_struct, whole, decimal = pa.types.is_list, pa.types.is_struct, pa.types.is_integer, pa.types.is_decimal
    if kind == other or pa.types.is_null(kind) or str(other) in _WIDENS.get(str(kind), ()):
        return True
    if is_list(kind) and is_list(other):
        return can_hold(kind.value_type, other.value_type)
    if is_struct(kind) and is_struct(other):
        names = [item.name for item in kind]
        return names == [item.name for item in other] and all(
            can_hold(own.type, item.type) for own, item in zip(kind, other, strict=True)
        )
    if whole(other):
        return bool(whole(kind) or pa.types.is_floating(kind))
    return bool(decimal(other) and (decimal(kind) or whole(kind)))


def toward(rows: pa.Table, columns: Sequence[Column], *, name: str = "the data") -> pa.Table:
    """Bring columns to the group's types where nothing is lost by it.

    So whole numbers come back that are floats, as pandas makes them where one is missing; a column of nulls alone gets its
    type; and narrow types are widened. What does not fit stays as it is, for :func:`check_types` to tell.

    Raises
    ------
    SchemaMismatchError
        If a column has the right type, but values that the group's wider one cannot hold.
    """
    import pyarrow as pa

    own = {column.name: arrow_type(column.type) for column in columns}
    for at, item in enumerate(rows.schema):
        kind = own.get(item.name)
        if kind is None or kind == item.type:
            continue
        array = rows.column(at)
        if array.null_count == len(array):
            array = pa.chunked_array([pa.nulls(len(array), kind)])
        elif can_hold(item.type, kind):
            try:
                array = exactly(array, kind)
            except LossError as error:
                if str(kind) in _WIDENS.get(str(item.type), ()):
                    raise SchemaMismatchError(f"column {item.name} of {name} cannot be written: {error}") from error
                continue
        else:
            continue
        rows = rows.set_column(at, pa.field(item.name, kind), array)
    return rows


def in_utc(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Name the zone of times as the store does: the engine names its own, which is the same one."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    schema = pa.schema(
        [pa.field(item.name, moment if pa.types.is_timestamp(item.type) else item.type) for item in rows.schema]
    )
    return (
        rows if schema == rows.schema else pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in rows))
    )
