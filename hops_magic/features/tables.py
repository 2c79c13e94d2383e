"""Tables that users bring, of pandas, polars, Arrow, Dask, DuckDB or plain Python: brought to one form, or refused.

A timestamp without a zone is read as UTC, one with a zone is converted to UTC; both are kept in microseconds. A named index
of pandas becomes columns.
"""

from __future__ import annotations

import itertools
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError, SchemaMismatchError
from hops_magic.features.model import Column
from hops_magic.features.sources import parts_of, table_of
from hops_magic.features.types import LossError, UnusableTypeError, exactly, is_untyped, stored_type, toward

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_NAME = 255
# control, format (which reverse or hide text), surrogate, line and paragraph separator
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# looked at, at most, for the type of a column that begins with nulls
_MOST_AHEAD_BYTES = 256 * 2**20


def incoming(data: Any, *, name: str, known: Sequence[Column] = ()) -> pa.Table:
    """Bring a table to the types that the store keeps.

    Parameters
    ----------
    data
        A DataFrame of pandas, polars or Dask, a table or reader of Arrow, a relation of DuckDB, a mapping of columns, or a
        list of mappings.
    name
        What messages call it.
    known
        Columns of its group, whose types are taken where nothing is lost by it, as :func:`types.toward` does.

    Raises
    ------
    FeatureError
        If it is no table, has no rows, or a column cannot be kept.
    """
    table = table_of(data, name)
    check_names(table.column_names, name)
    _check_rows(table.num_rows, table.num_columns, name)
    return _as_stored(table, name, known)


def looked_for(table: pa.Table, *, name: str) -> pa.Table:
    """Bring rows that are only looked for to the types of the store: there may be none, and columns of nulls alone.

    Raises
    ------
    SchemaMismatchError
        If a column has values that the store does not know.
    """
    import pyarrow as pa

    arrays = [
        array if pa.types.is_null(array.type) else _stored(array, item.name, name, 0)
        for item, array in zip(table.schema, table.columns, strict=True)
    ]
    return pa.table(arrays, names=table.column_names) if arrays else table


def batches(data: Any, *, name: str, known: Sequence[Column] = ()) -> pa.RecordBatchReader:
    """Bring a table to the types that the store keeps, part by part: it need not fit into memory.

    A table of Dask comes by partition, a reader or relation by batch. The first part decides on the types; a later one
    that does not fit raises while it is read.

    Raises
    ------
    FeatureError
        As for :func:`incoming`.
    """
    import pyarrow as pa

    parts = parts_of(data, name)
    own = {column.name: column for column in known}
    ahead: list[pa.Table] = []
    rows = seen = 0
    for part in parts:
        if not ahead:
            check_names(part.column_names, name)
        rows, seen = rows + part.num_rows, seen + part.nbytes
        ahead.append(part)
        for item in part.schema:
            if item.name not in own and not pa.types.is_null(item.type):
                own[item.name] = Column(name=item.name, type=str(_stored_type(item.name, item.type, name)))
        if rows and (own.keys() >= set(part.column_names) or seen > _MOST_AHEAD_BYTES):
            break
    _check_rows(rows, ahead[0].num_columns if ahead else 0, name)
    first = _as_stored(ahead[0], name, list(own.values()))
    return pa.RecordBatchReader.from_batches(first.schema, _alike(first, itertools.chain(ahead[1:], parts), name))


def _alike(first: pa.Table, parts: Iterable[pa.Table], name: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of all parts, each with the columns and types of the first."""
    yield from first.to_batches()
    rows, columns = first.num_rows, [Column(name=item.name, type=str(item.type)) for item in first.schema]
    for part in parts:
        if set(part.column_names) != set(first.column_names):
            other = sorted(set(part.column_names) ^ set(first.column_names))
            raise SchemaMismatchError(f"the parts of {name} do not have the same columns: {', '.join(other[:8])}")
        stored = _as_stored(part.select(first.column_names), name, columns, after=rows)
        for item, column in zip(stored.schema, columns, strict=True):
            if str(item.type) != column.type:
                raise SchemaMismatchError(
                    f"column {item.name} of {name} is {column.type} at first and {item.type} from row {rows:,} on: "
                    "convert it to one type"
                )
        yield from stored.to_batches()
        rows += part.num_rows


def _as_stored(table: pa.Table, name: str, known: Sequence[Column], *, after: int = 0) -> pa.Table:
    """Bring columns to the types in which they are kept; to those of ``known``, if nothing is lost by it."""
    import pyarrow as pa

    own = {column.name for column in known}
    arrays = [
        array if item.name in own and is_untyped(array.type) else _stored(array, item.name, name, after)
        for item, array in zip(table.schema, table.columns, strict=True)
    ]
    return toward(pa.table(arrays, names=table.column_names), known, name=name)


def _stored(array: pa.ChunkedArray, column: str, name: str, after: int) -> pa.ChunkedArray:
    import pyarrow as pa

    kind = _stored_type(column, array.type, name)
    array = _plain(array)
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        array = _in_microseconds(array, column, name)
    try:
        return exactly(array, kind)
    except LossError as error:
        raise SchemaMismatchError(f"column {column} of {name} cannot be kept: {error.rows(after)}") from error


def _plain(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take values out of what wraps them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        return pa.chunked_array([_decoded(chunk) for chunk in array.chunks], stored_type(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return pa.chunked_array([pc.run_end_decode(chunk) for chunk in array.chunks], kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.chunked_array([chunk.storage for chunk in array.chunks], kind.storage_type)
    return array


def _decoded(chunk: pa.DictionaryArray) -> pa.Array:
    import pyarrow as pa

    # what is not implemented for views of strings is for strings
    values = chunk.dictionary.cast(stored_type(chunk.dictionary.type), safe=False)
    return pa.DictionaryArray.from_arrays(chunk.indices, values).dictionary_decode()


def _stored_type(column: str, kind: pa.DataType, name: str) -> pa.DataType:
    try:
        return stored_type(kind)
    except UnusableTypeError as error:
        raise SchemaMismatchError(f"column {column} of {name} cannot be kept: {error}") from error


def _in_microseconds(array: pa.ChunkedArray, column: str, name: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    cut = pc.cast(array, pa.timestamp("us", tz=array.type.tz), safe=False)
    # multiples are compared as numbers: in nanoseconds, far times would not fit
    if pc.any(pc.not_equal(pc.multiply(cut.cast(pa.int64()), 1000), array.cast(pa.int64()))).as_py():
        warnings.warn(f"column {column} of {name}: times are kept in microseconds, nanoseconds are cut off", stacklevel=6)
    return cut


def _check_rows(rows: int, columns: int, name: str) -> None:
    if columns == 0 or rows == 0:
        raise FeatureError(
            f"{name} has no {'columns' if columns == 0 else 'rows'}: there is nothing to write or to look for"
        )


def check_names(names: Sequence[str], name: str) -> None:
    """Refuse names of columns that the store cannot keep.

    Raises
    ------
    FeatureError
        With the name.
    """
    seen: dict[str, str] = {}
    for column in names:
        invisible = any(unicodedata.category(letter) in _INVISIBLE for letter in column)
        if not column.strip() or len(column) > _LONGEST_NAME or invisible:
            raise FeatureError(
                f"{name} has a column whose name is empty, longer than {_LONGEST_NAME} characters or has invisible ones: "
                f"{column[:60]!a}; rename it"
            )
        if column.lower().startswith("_hops_"):
            raise FeatureError(
                f"{name} has a column {column[:60]!r}: names that begin with _hops_ are kept for the store; rename it"
            )
        if "`" in column:
            raise FeatureError(f"{name} has a column {column[:60]!r}: the lake cannot name one with a back-tick; rename it")
        if "*" in column or "." in column or "@" in column:
            raise FeatureError(
                f"{name} has a column {column[:60]!r}: a name with . or @ or * could not be asked for; rename it"
            )
        if column.casefold() in seen:
            twice = "" if seen[column.casefold()] == column else ", which differ only in case"
            raise FeatureError(f"{name} has columns {seen[column.casefold()]!r} and {column!r}{twice}: rename one")
        seen[column.casefold()] = column
