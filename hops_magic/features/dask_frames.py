"""Rows in Parquet files as a DataFrame of Dask, whose partitions all have the same types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.features.parquet_files import nulls_told, open_parquet
from hops_magic.features.readers import as_form

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class _Partition:
    """Reads a file; where a column has nulls in some file, all partitions have a type for them.

    Pandas by itself would take the type by what a part happens to hold: floats, which round, or objects.
    """

    nullable: frozenset[str]

    def __call__(self, file: str, columns: Sequence[str] | None = None) -> Any:
        return self.frame(open_parquet(file).read(columns=None if columns is None else list(columns)))

    def frame(self, table: pa.Table) -> Any:
        """Return a partition of some rows."""
        frame = as_form(table, "df")
        for at, item in enumerate(table.schema):
            if item.name in self.nullable:
                frame.isetitem(at, table.column(at).to_pandas(types_mapper=_nullable_type(item.type)))
        return frame


def dask_frame(files: Sequence[str], schema: pa.Schema) -> Any:
    """Return a DataFrame of Dask with a partition for each file."""
    import dask
    import dask.dataframe as dd
    import pyarrow as pa

    told = [nulls_told(file) for file in files]
    nullable = frozenset(
        item.name
        for item in schema
        if (pa.types.is_integer(item.type) or pa.types.is_boolean(item.type))
        and any(each.get(item.name, 0) != 0 for each in told)
    )
    partition = _Partition(nullable)
    # it would make texts of dates and lists, which are objects
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(partition, list(files), meta=partition.frame(schema.empty_table()), label="features")


def _nullable_type(kind: pa.DataType) -> Any:
    import pandas as pd
    import pyarrow as pa

    types = {pa.int8(): "Int8", pa.int16(): "Int16", pa.int32(): "Int32", pa.int64(): "Int64", pa.bool_(): "boolean"}
    return {kind: pd.api.types.pandas_dtype(types[kind])}.get
