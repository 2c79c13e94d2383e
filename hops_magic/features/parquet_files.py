"""Files of Parquet, here or in an object store, and what they say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hops_magic.features.errors import StoreError
from hops_magic.features.folders import file_system

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


def open_parquet(file: str) -> ParquetFile:
    """Open a file by its path or URI.

    Raises
    ------
    StoreError
        If it is gone.
    """
    import pyarrow.parquet as pq

    if "://" in file:
        system, path = file_system(file)
        return pq.ParquetFile(path, filesystem=system)
    try:
        return pq.ParquetFile(file)
    except FileNotFoundError:
        raise StoreError(f"the file {file} is gone: ask for the features again") from None


def nulls_told(file: str) -> dict[str, int | None]:
    """Return what a file says of the nulls in its columns, so that none of it is read; None where it does not say.

    Lists and structs are not among the columns.
    """
    metadata = open_parquet(file).metadata
    told: dict[str, int | None] = {}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for part in map(group.column, range(group.num_columns)):
            said = part.statistics
            before = told.get(part.path_in_schema, 0)
            known = before is not None and said is not None and said.has_null_count
            told[part.path_in_schema] = before + said.null_count if known else None
    return told
