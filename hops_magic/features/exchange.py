"""Files of other tools: CSV and Parquet in and out, and SQL over such files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hops_magic.features import engine
from hops_magic.features.errors import FeatureError
from hops_magic.features.sql import literal

if TYPE_CHECKING:
    import pyarrow as pa

_READERS = {
    ".csv": "read_csv",
    ".csv.gz": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
}
_WRITERS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet"}


def import_file(place: str) -> pa.Table:
    """Read a CSV or Parquet file, or the answer to a query over such files.

    Raises
    ------
    FeatureError
        If there is no such file, or it cannot be read.
    """
    import duckdb

    if place.lstrip().lower().startswith(("select ", "with ", "from ")):
        query, what = place, "the query"
    else:
        what = place
        ending = next((ending for ending in _READERS if place.lower().endswith(ending)), None)
        if ending is None:
            raise FeatureError(
                f"{place[:200]} is no file that can be read: {', '.join(_READERS)}, or SQL that begins with SELECT"
            )
        if "://" not in place and not any(letter in place for letter in "*?[") and not Path(place).exists():
            raise FeatureError(f"there is no file {place[:200]}")
        query = f"SELECT * FROM {_READERS[ending]}({literal(place)})"
    with engine.connect() as connection:
        try:
            return connection.sql(query).to_arrow_table()
        except (duckdb.Error, AttributeError) as error:
            raise FeatureError(f"{what[:200]} cannot be read: {str(error).splitlines()[0][:200]}") from error


def export_file(table: pa.Table, place: str) -> int:
    """Write a table to a CSV or Parquet file, whole or not at all; return its rows.

    Raises
    ------
    FeatureError
        If the file cannot be written.
    """
    import duckdb

    path = Path(place).expanduser().absolute()
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise FeatureError(f"--to must name a file that ends with {' or '.join(_WRITERS)}, got {place[:200]}")
    if not path.parent.is_dir():
        raise FeatureError(f"there is no folder {path.parent}: make it first")
    handle, beside = tempfile.mkstemp(prefix=".export-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        with engine.connect() as connection:
            connection.register("answer", table)
            connection.execute("SET preserve_insertion_order=true")
            connection.execute(f"COPY answer TO {literal(beside)} ({writer})")
        Path(beside).replace(path)
    except (duckdb.Error, OSError) as error:
        raise FeatureError(f"{place[:200]} cannot be written: {str(error).splitlines()[0][:200]}") from error
    finally:
        Path(beside).unlink(missing_ok=True)
    return int(table.num_rows)
