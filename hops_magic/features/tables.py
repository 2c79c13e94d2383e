"""Tables that users bring, of pandas, polars, Arrow, Dask, DuckDB or plain Python: brought to one form, or refused.

A timestamp without a zone is read as UTC.
"""

from __future__ import annotations

import sys
import unicodedata
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError, SchemaMismatchError
from hops_magic.features.types import UnusableTypeError, stored_type

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_NAME = 255
_SHOWN = 3


def incoming(data: Any, *, name: str) -> pa.Table:
    """Bring a table to the types that the store keeps.

    Parameters
    ----------
    data
        A DataFrame of pandas (a named index becomes columns), polars or Dask, a table or reader of Arrow, a relation of
        DuckDB, a mapping of columns, or a list of mappings.
    name
        What messages call it.

    Raises
    ------
    FeatureError
        If it is no table, has no rows, or a column cannot be kept.
    """
    table = _as_arrow(data, name)
    _check_names(table.column_names, name)
    if table.num_columns == 0 or table.num_rows == 0:
        raise FeatureError(
            f"{name} has no {'columns' if table.num_columns == 0 else 'rows'}: there is nothing to write or to look for"
        )
    return _as_stored(table, name)


def _as_arrow(data: Any, name: str) -> pa.Table:
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.Series):
        data = data.to_frame()
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _from_pandas(data, name)
    if hasattr(data, "dask") and hasattr(data, "compute"):
        return _from_pandas(data.compute(), name)
    if hasattr(data, "collect") and hasattr(data, "lazy"):
        data = data.collect()
    if hasattr(data, "to_arrow_table"):
        return data.to_arrow_table()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    try:
        if isinstance(data, Mapping):
            return pa.table({str(key): pa.array(value) for key, value in data.items()})
        if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
            return pa.Table.from_pylist([dict(row) for row in data])
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise FeatureError(f"{name} cannot be read as columns: {_first_line(error)}") from error
    raise FeatureError(f"{name} must be a table (pandas, polars, Arrow, Dask, DuckDB) or columns, got {type(data).__name__}")


def _from_pandas(frame: Any, name: str) -> pa.Table:
    import pyarrow as pa

    if any(index is not None for index in frame.index.names):
        frame = frame.reset_index()
    if not frame.columns.is_unique:
        twice = sorted({str(column) for column in frame.columns[frame.columns.duplicated()]})
        raise FeatureError(f"{name} has several columns named {', '.join(twice)}: rename them")
    columns = {}
    for column in frame.columns:
        try:
            columns[str(column)] = pa.Array.from_pandas(frame[column])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise SchemaMismatchError(_mixed(frame[column], str(column), name, error)) from error
        if isinstance(columns[str(column)], pa.ChunkedArray):
            continue
    return pa.table(columns)


def _mixed(values: Any, column: str, name: str, error: Exception) -> str:
    kinds: dict[str, int] = {}
    for at, value in enumerate(values):
        if value is not None and value == value:  # noqa: PLR0124 (NaN)
            kinds.setdefault(type(value).__name__, at)
    if len(kinds) < 2:
        return f"column {column} of {name} cannot be kept: {_first_line(error)}"
    shown = ", ".join(f"{kind} (row {at}: {str(values.iloc[at])[:40]!r})" for kind, at in list(kinds.items())[:_SHOWN])
    return f"column {column} of {name} has values of several types: {shown}; convert it to one"


def _as_stored(table: pa.Table, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays, fields = [], []
    for item, array in zip(table.schema, table.columns, strict=True):
        try:
            kind = stored_type(item.type)
        except UnusableTypeError as error:
            raise SchemaMismatchError(f"column {item.name} of {name} cannot be kept: {error}") from error
        try:
            if pa.types.is_timestamp(item.type) and item.type.unit == "ns" and item.type != kind:
                array = _in_microseconds(array, item.name, name)  # noqa: PLW2901
            stored = array if array.type == kind else array.cast(kind)
        except pa.ArrowInvalid as error:
            if not pa.types.is_uint64(item.type):
                raise SchemaMismatchError(f"column {item.name} of {name} cannot be kept: {_first_line(error)}") from error
            largest = pa.scalar(2**63 - 1, pa.uint64())
            rows = pc.indices_nonzero(pc.fill_null(pc.greater(array, largest), False)).slice(0, _SHOWN).to_pylist()
            raise SchemaMismatchError(
                f"column {item.name} of {name} has whole numbers beyond 9,223,372,036,854,775,807 (rows "
                f"{', '.join(map(str, rows))}): "
                "convert it to strings or floats"
            ) from error
        arrays.append(stored)
        fields.append(pa.field(item.name, kind))
    return pa.table(arrays, schema=pa.schema(fields))


def _in_microseconds(array: pa.ChunkedArray, column: str, name: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    cut = pc.cast(array, pa.timestamp("us", tz=array.type.tz), safe=False)
    if not pc.all(pc.equal(cut.cast(array.type), array)).as_py():
        warnings.warn(f"column {column} of {name}: times are kept in microseconds, nanoseconds are cut off", stacklevel=5)
    return cut


def _check_names(names: list[str], name: str) -> None:
    seen: dict[str, str] = {}
    for column in names:
        bad = next((letter for letter in column if unicodedata.category(letter) in ("Cc", "Cf", "Cs")), None)
        if not column or len(column) > _LONGEST_NAME or bad is not None:
            raise FeatureError(
                f"{name} has a column whose name is empty, too long or has invisible characters: {column[:60]!r}; rename it"
            )
        if column.startswith("_hops_"):
            raise FeatureError(
                f"{name} has a column {column[:60]!r}: names that begin with _hops_ are kept for the store; rename it"
            )
        if column in ("*",) or "." in column or "@" in column:
            raise FeatureError(
                f"{name} has a column {column[:60]!r}: a name with . or @ or * could not be asked for; rename it"
            )
        if column.casefold() in seen:
            raise FeatureError(
                f"{name} has columns {seen[column.casefold()]!r} and {column!r}, which differ only in case: rename one"
            )
        seen[column.casefold()] = column


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
