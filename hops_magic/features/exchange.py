"""Files of other tools: CSV and Parquet in and out, and SQL over such files and the groups of a store."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features import default_store, engine
from hops_magic.features.csv_options import CsvOptions
from hops_magic.features.csv_reading import Tell
from hops_magic.features.csv_writing import csv_form
from hops_magic.features.errors import FeatureError
from hops_magic.features.file_places import files_at
from hops_magic.features.file_tables import offered, opened_csv, parquet_table
from hops_magic.features.model import Column
from hops_magic.features.names import parse_group
from hops_magic.features.sources import table_of
from hops_magic.features.sql import listed, literal, parquet, quoted
from hops_magic.features.streaming import StreamedRows
from hops_magic.options import options_from

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from hops_magic.features.store import FeatureStore

_WRITERS = {
    ".csv": "FORMAT csv, HEADER",
    ".csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip",
    ".parquet": "FORMAT parquet",
}
_ENDINGS = ".csv or .parquet (.csv may be packed: .csv.gz)"
_QUERY = re.compile(r"\s*(?:select|with|from)\s", re.IGNORECASE)


def import_file(
    place: str | os.PathLike[str], *, store: FeatureStore | None = None, group: str | None = None, **options: Any
) -> pa.Table:
    """Read CSV or Parquet files, or the answer to a query over such files and the groups of a store.

    Types of CSV files are found by looking at all values: whole numbers, numbers, truth values, dates and times in ISO 8601,
    else text. Nothing is guessed that could be wrong, and no value is changed: ``00123`` and ``03/04/2024`` stay text, which
    a warning tells. Empty values and the null markers of pandas (``NA``, ``null`` ...) are null.

    Parameters
    ----------
    place
        A file, a pattern such as ``logs/*.csv.gz``, a folder, or SQL, in which ``teams`` and ``"teams@1"`` are groups and
        ``'x.csv'`` is a file.
    store
        Whose groups a query can name; by default those of this process's store.
    group
        Group of the store that the rows are for: columns that it has are read as values of their types.
    options
        How CSV files are written: the fields of :class:`~hops_magic.features.csv_options.CsvOptions`, which are the options
        of ``%features import``: ``delimiter``, ``quote``, ``escape``, ``encoding``, ``nulls``, ``no_default_nulls``,
        ``quoted_text``, ``types`` (a mapping), ``decimal``, ``thousands``, ``date_format``, ``names``, ``no_header``,
        ``skip_rows`` and ``path_columns``.

    Raises
    ------
    FeatureError
        If there is no such file, or it cannot be read.
    OptionError
        For an option that breaks its rule.
    """
    known = () if group is None else (store or default_store()).group(group).columns
    with open_file(_path_of(place), options_from(CsvOptions, options), _warn, store=store, known=known) as rows:
        return rows if hasattr(rows, "num_rows") else rows.read_all()


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


def _path_of(place: str | os.PathLike[str]) -> str:
    """Return a path as a text."""
    path = os.fspath(place) if isinstance(place, str | os.PathLike) else place
    if not isinstance(path, str) or not path.strip():
        raise FeatureError(f"a file is named by its path, a pattern or a folder, as one text, got {repr(place)[:80]}")
    return path


@contextlib.contextmanager
def open_file(
    place: str, options: CsvOptions, tell: Tell, *, store: FeatureStore | None = None, known: Sequence[Column] = ()
) -> Iterator[pa.Table | pa.RecordBatchReader]:
    """Open what :func:`import_file` reads, for a ``with`` block: a table, or a reader of rows that may not fit into memory.

    Parameters
    ----------
    tell
        Takes sentences on columns of CSV files that may be meant as something else than they are kept as.
    known
        Columns whose types are taken where all values fit.
    """
    if _QUERY.match(place):
        with engine.connect() as connection, offered(connection, place, options, tell):
            _offer_groups(connection, store or default_store(), place)
            yield _table(connection, place, "the query")
        return
    files = files_at(place)
    if files.is_csv:
        folder = None if store is None else engine.spill_folder(store.settings.home)
        with opened_csv(files, options, tell, known=known, folder=folder) as rows:
            yield rows
        return
    with engine.connect() as connection:
        yield _table(connection, f"FROM {parquet_table(connection, files, options)}", place)


def known_columns(group: str, mode: str, store: FeatureStore) -> Sequence[Column]:
    """Return the columns of the group that a write goes to; none if it is made by it."""
    name = parse_group(group)
    found = None if mode == "version" else store.catalog.group(name.name, name.version)
    return () if found is None else found.columns


def _table(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> pa.Table:
    import duckdb

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


def export_file(rows: Any, place: str | os.PathLike[str], *, tell: Tell = _warn) -> int:
    """Write rows to a CSV or Parquet file, whole or not at all; return their number.

    In CSV, what is missing is empty, and a text that could be taken for it (empty, ``NA`` ...) is in quotes, which is told,
    since readers may not tell the two apart. Types are not kept: numbers in texts are read as numbers.

    Parameters
    ----------
    rows
        A table of pandas, polars or Arrow, or streamed rows.
    tell
        Takes sentences on what would not be read back as it is; by default it warns.

    Raises
    ------
    FeatureError
        If the file cannot be written.
    """
    import duckdb

    place = _path_of(place)
    rows = rows if isinstance(rows, StreamedRows) else table_of(rows, "what is exported")
    path = Path(place).expanduser().absolute()
    ending = next((ending for ending in _WRITERS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise FeatureError(f"{place[:200]} cannot be written: the name of a file ends with {_ENDINGS}")
    if not path.parent.is_dir():
        raise FeatureError(f"there is no folder {path.parent}: make it first")
    handle, beside = tempfile.mkstemp(prefix=".export-", suffix=ending, dir=path.parent)
    os.close(handle)
    try:
        with engine.connect() as connection:
            if isinstance(rows, StreamedRows):
                connection.execute(f"CREATE TEMP VIEW answer AS SELECT * FROM {parquet(rows.files)}")
            else:
                connection.register("answer", rows)
            writer = _WRITERS[ending]
            if "csv" in ending:
                form = csv_form(connection, "answer", rows.schema)
                writer += f", FORCE_QUOTE ({listed(form.quoted)})" if form.quoted else ""
                for note in form.notes:
                    tell(note)
            connection.execute("SET preserve_insertion_order=true")
            connection.execute(f"COPY answer TO {literal(beside)} ({writer})")
        Path(beside).replace(path)
    except (duckdb.Error, OSError) as error:
        raise FeatureError(f"{place[:200]} cannot be written: {str(error).splitlines()[0][:200]}") from error
    finally:
        Path(beside).unlink(missing_ok=True)
    return int(rows.num_rows)
