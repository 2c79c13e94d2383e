"""CSV and Parquet files as tables of the query engine, by the names that a query gives them."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features import engine
from hops_magic.features.csv_options import CsvOptions
from hops_magic.features.csv_reading import Tell, csv_rows
from hops_magic.features.errors import FeatureError
from hops_magic.features.file_places import Files, files_at, is_readable, said_by_folders
from hops_magic.features.model import Column
from hops_magic.features.sql import parquet, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# FROM 'x.csv', JOIN "x.csv"; what follows a comma may be a table too
_TABLE = re.compile(r"""(\bfrom|\bjoin|,)\s*('(?:[^']|'')+'|"(?:[^"]|"")+")""", re.IGNORECASE)
_FOR_CSV = "path_columns"


@contextlib.contextmanager
def opened_csv(
    files: Files, options: CsvOptions, tell: Tell, *, known: Sequence[Column] = (), folder: Path | None = None
) -> Iterator[pa.Table | pa.RecordBatchReader]:
    """Open CSV files for a ``with`` block: as a table, or as a reader if they may not fit into memory."""
    none: Mapping[str, str] = {}
    said = said_by_folders(files.paths) if options.path_columns else dict.fromkeys(files.paths, none)
    with csv_rows(said, options, tell, known=known, folder=folder) as rows:
        yield rows.reader() if rows.is_large else rows.reader().read_all()


def parquet_table(connection: duckdb.DuckDBPyConnection, files: Files, options: CsvOptions) -> str:
    """Return Parquet files as a table of SQL.

    Raises
    ------
    FeatureError
        For options that are those of CSV files, or if a folder gives a column that a file has.
    """
    refuse_options(options, str(files.paths[0]), taken=(_FOR_CSV,))
    names = [str(path) for path in files.paths]
    if not options.path_columns:
        return parquet(names)
    said = said_by_folders(files.paths)[files.paths[0]]
    own = connection.sql(f"FROM {parquet(names)}").columns
    both = next((key for key in said if key.casefold() in {name.casefold() for name in own}), None)
    if both is not None:
        raise FeatureError(
            f"{names[0][-200:]} has a column {both[:40]!r}, and a folder above it gives one of that name: leave "
            f"{options.name('path_columns')} out"
        )
    return parquet(names, folders=True)


def refuse_options(options: CsvOptions, what: str, *, taken: Sequence[str] = ()) -> None:
    """Refuse options of CSV files where none is read."""
    given = [name for name in options.given if name not in taken]
    if given:
        raise FeatureError(f"{options.name(given[0])} is an option of CSV files, and {what[-200:]} is none: leave it out")


@contextlib.contextmanager
def offered(connection: duckdb.DuckDBPyConnection, query: str, options: CsvOptions, tell: Tell) -> Iterator[None]:
    """Make the files that a query names its tables, for a ``with`` block: read as they are when imported by themselves.

    Left to itself, the engine would guess at types, and make columns of folders named ``key=value``.
    """
    reads_csv = False
    with contextlib.ExitStack() as opened:
        for at, (name, files) in enumerate(_named(query).items()):
            view = f"_hops file {at}"
            if files.is_csv:
                reads_csv = True
                _register(connection, view, opened.enter_context(opened_csv(files, options, tell)), opened)
            else:
                kept = CsvOptions(path_columns=options.path_columns, flags=options.flags)
                connection.execute(f"CREATE TEMP VIEW {quoted(view)} AS FROM {parquet_table(connection, files, kept)}")
            connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS FROM {quoted(view)}")
        if not reads_csv:
            refuse_options(options, "what the query reads", taken=(_FOR_CSV,))
        yield


def _register(connection: duckdb.DuckDBPyConnection, view: str, rows: Any, opened: contextlib.ExitStack) -> None:
    """Name a table for an engine; a reader, which can be read once only, by a file."""
    import pyarrow.parquet as pq

    if hasattr(rows, "num_rows"):
        connection.register(view, rows)
        return
    file = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="csv-"))) / "rows.parquet"
    with engine.telling(), pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)
    connection.execute(f"CREATE TEMP VIEW {quoted(view)} AS FROM {parquet([str(file)])}")


def _named(query: str) -> dict[str, Files]:
    """Return the files that a query reads, by the names that it gives them."""
    named: dict[str, Files] = {}
    for before, said in _TABLE.findall(query):
        name = said[1:-1].replace(said[0] * 2, said[0])
        if not is_readable(Path(name)):
            continue
        try:
            named[name] = files_at(name)
        except FeatureError:
            # after a comma it may be a text like any other
            if before != ",":
                raise
    return named
