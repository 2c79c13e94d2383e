"""Files of other tools: CSV and Parquet in and out, and SQL over such files and the groups of a store."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hops_magic.features import default_store, engine
from hops_magic.features.errors import FeatureError
from hops_magic.features.sql import listed, literal, parquet, quoted
from hops_magic.features.streaming import StreamedRows

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from hops_magic.features.store import FeatureStore

_READERS = {
    ".csv": "read_csv",
    ".csv.gz": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
}
_WRITERS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet"}


def import_file(place: str, *, store: FeatureStore | None = None) -> pa.Table:
    """Read a CSV or Parquet file, or the answer to a query over such files and the groups of a store.

    Parameters
    ----------
    place
        A file, or SQL, in which ``teams`` and ``"teams@1"`` are groups.
    store
        Whose groups a query can name; by default those of this process's store.

    Raises
    ------
    FeatureError
        If there is no such file, or it cannot be read.
    """
    import duckdb

    is_query = place.lstrip().lower().startswith(("select ", "with ", "from "))
    if is_query:
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
        if is_query:
            _offer_groups(connection, store or default_store(), place)
        try:
            return connection.sql(query).to_arrow_table()
        except (duckdb.Error, AttributeError) as error:
            raise FeatureError(f"{what[:200]} cannot be read: {str(error).splitlines()[0][:200]}") from error


def _offer_groups(connection: duckdb.DuckDBPyConnection, store: FeatureStore, query: str) -> None:
    """Make the groups that a query may name readable in an engine: by name the latest version, by full name any."""
    said = query.casefold()
    for group in store.groups():
        if group.name.casefold() not in said:
            continue
        for version in [group, *store.versions(group.name)]:
            name = group.name if version is group else version.full_name
            if name.casefold() in said:
                _, table = store.opened(version)
                whole, columns = f"_hops {name}", listed(version.column_names)
                table.register(connection, whole)
                connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS SELECT {columns} FROM {quoted(whole)}")


def export_file(rows: pa.Table | StreamedRows, place: str) -> int:
    """Write rows to a CSV or Parquet file, whole or not at all; return their number.

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
            if isinstance(rows, StreamedRows):
                connection.execute(f"CREATE TEMP VIEW answer AS SELECT * FROM {parquet(rows.files)}")
            else:
                connection.register("answer", rows)
            connection.execute("SET preserve_insertion_order=true")
            connection.execute(f"COPY answer TO {literal(beside)} ({writer})")
        Path(beside).replace(path)
    except (duckdb.Error, OSError) as error:
        raise FeatureError(f"{place[:200]} cannot be written: {str(error).splitlines()[0][:200]}") from error
    finally:
        Path(beside).unlink(missing_ok=True)
    return int(rows.num_rows)
