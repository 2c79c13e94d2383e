"""Columns of a stream as arrays: exactly the values that are there, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hops_magic.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class TensorValueError(UsageError, ValueError):
    """Values that no tensor holds as they are."""


class Rows(Protocol):
    """Rows that are read block by block."""

    @property
    def num_rows(self) -> int:
        """How many there are."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Their columns."""
        ...

    def blocks(
        self, columns: Sequence[str] | None = None, *, order: np.random.Generator | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Read the rows in order, or their blocks in a mixed one."""
        ...

    def whole(self) -> Rows:
        """Return the rows of all ranks."""
        ...

    def nulls(self, column: str) -> int:
        """Count the rows without a value."""
        ...


def check_tensor(rows: Rows, name: str) -> int | None:
    """Refuse a column whose values no tensor has as they are; of lists, return the length of all.

    Raises
    ------
    TensorValueError
        For nulls in what is no float, which alone has NaN for them, and for types that no tensor has.
    """
    import pyarrow as pa

    kind = rows.schema.field(name).type
    nulls = rows.nulls(name)
    if nulls and not (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise TensorValueError(
            f"column {name} ({kind}) has {nulls:,} null{'s' if nulls != 1 else ''}, for which a tensor of its type has no "
            "value: fill them before saving, keep them out with a not_null rule, or leave the column out"
        )
    if _is_list(kind):
        return _length(rows, name)
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_temporal,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_binary,
        pa.types.is_large_binary,
    )
    if not any(test(kind) for test in tests):
        raise TensorValueError(
            f"column {name} is of type {kind}, which no tensor has: leave it out, or save its parts as columns"
        )
    return None


def tensor(block: pa.RecordBatch, name: str, length: int | None) -> Any:
    """Return a column that was checked as an array; lists as rows of ``length`` numbers.

    Decimals are float64, times the number of their units since 1970, dates that of days.
    """
    import pyarrow as pa

    array = block.column(name)
    kind = array.type
    if length is not None:
        values = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), length)
        return values.astype(bool) if pa.types.is_boolean(kind.value_type) else values
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(array.to_pylist(), dtype=object)
    if pa.types.is_decimal(kind):
        return floats(array)
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return array.cast(pa.int32()).cast(pa.int64()).to_numpy(zero_copy_only=False)
    if pa.types.is_temporal(kind):
        return array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    # without rows, the conversion of Arrow calls truth values objects
    return (
        array.to_numpy(zero_copy_only=False).astype(bool)
        if pa.types.is_boolean(kind)
        else array.to_numpy(zero_copy_only=False)
    )


def floats(array: pa.Array) -> Any:
    """Return numbers as float64, nulls as NaN."""
    import pyarrow as pa

    # by way of texts, decimals become the nearest float; Arrow's own conversion can miss it
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    return array.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _length(rows: Rows, name: str) -> int:
    """Return the length that all lists of a column have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    inner = rows.schema.field(name).type.value_type
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)):
        raise TensorValueError(f"column {name} holds lists of {inner}: only lists of numbers become tensors; leave it out")
    lengths: set[int] = set()
    for block in rows.blocks([name]):
        array = block.column(name)
        lengths.update(pc.unique(pc.list_value_length(array)).to_pylist())
        if not pa.types.is_floating(inner) and array.flatten().null_count:
            raise TensorValueError(
                f"column {name} has nulls in its lists of {inner}: fill them before saving, or leave it out"
            )
        if len(lengths) > 1:
            low, high = min(lengths), max(lengths)
            raise TensorValueError(
                f"column {name} holds lists of different lengths ({low:,} and {high:,} among them): pad them to one length "
                "before saving, or leave it out"
            )
    return lengths.pop() if lengths else 0
