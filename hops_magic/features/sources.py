"""Tables of other libraries as Arrow, whole or part by part. None of these libraries is imported that is not in use."""

from __future__ import annotations

import datetime
import decimal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError, SchemaMismatchError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 3
_VALUE_CHARS = 40
_PART_ROWS = 122_880
_ONLY_POLARS = ("Object", "Int128", "UInt128", "Unknown")


def table_of(data: Any, name: str) -> pa.Table:
    """Return a table that a user brought as one of Arrow, types as they are.

    Raises
    ------
    FeatureError
        If it is no table, or a column has no type.
    """
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if _is_pandas(data, "Series"):
        data = data.to_frame()
    if _is_pandas(data, "DataFrame"):
        return _from_pandas(data, name)
    if is_dask(data):
        return _from_pandas(data.compute(), name)
    if hasattr(data, "collect") and hasattr(data, "lazy"):
        data = data.collect()
    for method in ("to_arrow_table", "to_table"):
        if hasattr(data, method):
            found: pa.Table = getattr(data, method)()
            return found
    if hasattr(data, "to_frame") and hasattr(data, "__arrow_c_stream__"):
        data = data.to_frame()
    if hasattr(data, "__arrow_c_stream__"):
        _check_polars(data, name)
        return pa.table(data)
    if isinstance(data, Mapping):
        return _from_columns({str(key): values for key, values in data.items()}, name)
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        return _from_rows(data, name)
    raise FeatureError(
        f"{name} must be a table (pandas, polars, Arrow, Dask, DuckDB), a mapping of columns or a list of mappings, "
        f"got {'an empty list' if isinstance(data, list) and not data else type(data).__name__}"
    )


def is_large(data: Any) -> bool:
    """Whether a table may not fit into memory, and comes in parts."""
    import pyarrow as pa

    return is_dask(data) or isinstance(data, pa.RecordBatchReader) or _reader_method(data) is not None


def parts_of(data: Any, name: str) -> Iterator[pa.Table]:
    """Yield a table in parts: of Dask by partition, of readers by batch, of others all at once."""
    import pyarrow as pa

    method = _reader_method(data)
    if is_dask(data):
        for part in data.partitions:
            yield _from_pandas(part.compute(), name)
    elif isinstance(data, pa.RecordBatchReader) or method is not None:
        reader = data if method is None else getattr(data, method)(_PART_ROWS)
        # there are columns even if there is no batch
        yield reader.schema.empty_table()
        yield from (pa.Table.from_batches([batch]) for batch in reader)
    else:
        yield table_of(data, name)


def _reader_method(data: Any) -> str | None:
    """Return the method by which a relation of DuckDB gives its rows in parts."""
    if not hasattr(data, "to_arrow_table"):
        return None
    return next((method for method in ("to_arrow_reader", "fetch_record_batch") if hasattr(data, method)), None)


def _is_pandas(data: Any, kind: str) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, getattr(pandas, kind))


def is_dask(data: Any) -> bool:
    """Whether data is a DataFrame or a column of Dask."""
    return hasattr(data, "dask") and hasattr(data, "compute") and hasattr(data, "partitions")


def _from_pandas(frame: Any, name: str) -> pa.Table:
    import pyarrow as pa

    _check_index(frame, name)
    columns = pandas_columns(frame, name)
    return pa.table({column: array_of(values, column, name) for column, values in columns.items()})


def pandas_columns(frame: Any, name: str) -> dict[str, Any]:
    """Return the columns of a DataFrame of pandas by their names, those of its index that have one first.

    Raises
    ------
    FeatureError
        If names have levels, or two are the same.
    """
    import pandas as pd

    if frame.columns.nlevels > 1:
        raise FeatureError(
            f"{name} has names of columns in {frame.columns.nlevels} levels: make one of each, "
            "e.g. df.columns = ['_'.join(levels) for levels in df.columns]"
        )
    names = [str(column) for column in frame.columns]
    twice = sorted({column for column in names if names.count(column) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise FeatureError(f"{name} has several columns named {', '.join(map(repr, twice))}: rename them")
    levels = {str(level): at for at, level in enumerate(frame.index.names) if level is not None}
    both = [level for level in levels if level in names]
    if both:
        raise FeatureError(f"{name} has {both[0]!r} as a column and as its index: drop one, e.g. df.reset_index(drop=True)")
    index = {level: pd.Series(frame.index.get_level_values(at)) for level, at in levels.items()}
    return index | {column: frame.iloc[:, at] for at, column in enumerate(names)}


def _check_index(frame: Any, name: str) -> None:
    """Refuse an index that says something and has no name to keep it by; numbers only count the rows."""
    index = frame.index
    if all(level is None for level in index.names):
        if index.nlevels == 1 and (index.dtype.kind in "iu" or len(index) == 0):
            return
        raise FeatureError(
            f"{name} has an index without a name, {str(index[0])[:_VALUE_CHARS]!r} and so on: name it to keep it as a "
            "column (df.rename_axis('NAME')), or drop it (df.reset_index(drop=True))"
        )
    unnamed = [at for at, level in enumerate(index.names) if level is None]
    if unnamed:
        raise FeatureError(f"level {unnamed[0]} of the index of {name} has no name: name it, or drop it")


def _check_polars(data: Any, name: str) -> None:
    """Refuse what polars hands over as something else, such as the addresses of Python objects."""
    polars = sys.modules.get("polars")
    if polars is None or not isinstance(data, polars.DataFrame):
        return
    for column, kind in data.schema.items():
        if str(kind) in _ONLY_POLARS:
            raise SchemaMismatchError(
                f"column {column} of {name} is of polars' type {kind}, which Arrow lacks: convert it to numbers or strings"
            )


def _from_columns(columns: Mapping[str, Any], name: str) -> pa.Table:
    import pyarrow as pa

    for column, values in columns.items():
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
            raise FeatureError(f"column {column} of {name} must be a list of values, got {type(values).__name__}")
    sizes = {column: len(values) for column, values in columns.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{column} {size:,}" for column, size in list(sizes.items())[:8])
        raise FeatureError(f"the columns of {name} do not have the same number of rows: {shown}")
    return pa.table({column: array_of(values, column, name) for column, values in columns.items()})


def _from_rows(rows: Sequence[Mapping[Any, Any]], name: str) -> pa.Table:
    keys = dict.fromkeys(key for row in rows for key in row)
    return _from_columns({str(key): [row.get(key) for row in rows] for key in keys}, name)


def array_of(values: Any, column: str, name: str) -> pa.Array | pa.ChunkedArray:
    """Return a column's values as an array of Arrow.

    Raises
    ------
    SchemaMismatchError
        If they are of no type, or of several.
    """
    import pyarrow as pa

    if hasattr(values, "iloc") and hasattr(values, "sparse"):
        values = values.sparse.to_dense()
    try:
        array = pa.Array.from_pandas(values) if hasattr(values, "iloc") else pa.array(values)
    # ValueError: text that is not Unicode, arrays of two dimensions
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        raise SchemaMismatchError(_mixed(values, column, name, error)) from error
    # what has a type of its own is no list of objects of Python
    if str(getattr(values, "dtype", "object")) != "object":
        return array
    if any(isinstance(value, _taken_for(array.type)) for value in values):
        raise SchemaMismatchError(_mixed(values, column, name))
    if pa.types.is_timestamp(array.type) and any(getattr(value, "nanosecond", 0) for value in values):
        # they are cut off with a warning, as those of other columns
        return pa.array(values, pa.timestamp("ns", array.type.tz), from_pandas=True)
    return array


def _taken_for(kind: pa.DataType) -> tuple[type, ...]:
    """Return the types of Python whose values Arrow changes into another type's among which they stand."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_date(kind):
        # its time of day would be cut off
        return (datetime.datetime,)
    if pa.types.is_binary(kind):
        return (str,)
    return (bool, np.bool_) if pa.types.is_integer(kind) or pa.types.is_floating(kind) else ()


def _mixed(values: Any, column: str, name: str, error: Exception | None = None) -> str:
    kinds: dict[str, tuple[int, str]] = {}
    for at, value in enumerate(values):
        if value is not None and not (isinstance(value, float) and value != value):  # noqa: PLR0124 (NaN)
            kinds.setdefault(type(value).__name__, (at, repr(value)[:_VALUE_CHARS]))
    if error is not None and len(kinds) < 2:
        if told := _beyond(values):
            return f"column {column} of {name} cannot be kept: {told}"
        return (
            f"column {column} of {name} cannot be kept ({first_line(error)}): convert it to numbers, strings or timestamps"
        )
    shown = ", ".join(f"{kind} (row {at}: {text})" for kind, (at, text) in list(kinds.items())[:_SHOWN])
    return f"column {column} of {name} has values of several types: {shown}; convert it to one"


def _beyond(values: Any) -> str:
    """Tell the first number that Arrow has no type for, and what to do; nothing if there is none."""
    for at, value in enumerate(values):
        shown = f"row {at} has {str(value)[:_VALUE_CHARS]}"
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return f"{shown}, a whole number of more than 64 bits: convert the column to strings, decimals or floats"
        if isinstance(value, decimal.Decimal) and value.is_infinite():
            return f"{shown}, and decimals are finite: give it another value, or convert the column to floats"
    return ""


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .") if lines else type(error).__name__
