"""The query engine: the only module that opens DuckDB."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import StoreError
from hops_magic.settings import redacted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# of the memory that is free when a query begins; beyond it, the engine spills to disk
_SHARE_OF_MEMORY = 0.5
_LEFT_S = 86_400
# of what is read in parts: 64 MB of numbers
_PART_ROWS = 122_880
_PART_CELLS = 8_000_000
_REASONS = (
    (("No space left", "Disk full"), "the disk is full"),
    (("File too large",), "a file may not grow any more (a quota or limit)"),
    (("Permission denied", "Read-only file system"), "this user may not read or write there"),
    (
        ("No files found", "No such file", "404 Not Found", "NoSuchKey", "not found: Error performing"),
        "a data file is gone: restore it, or read an earlier commit",
    ),
    (
        ("magic bytes", "Could not read enough bytes", "thrift", "don't know what type", "Corrupt", "Snappy", "TProtocol"),
        "a data file is damaged: restore it from a copy, or read an earlier commit",
    ),
)


@contextlib.contextmanager
def connect(*, home: Path | None = None, memory_gib: float | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine in memory for a ``with`` block.

    Parameters
    ----------
    home
        Private folder, below which goes what does not fit into memory; by default, and if this user may not write there,
        that of the system's temporary files.
    memory_gib
        Memory that it may use; by default half of what is free.

    Raises
    ------
    StoreError
        If what is done inside the block fails for reasons of the machine or of the data: no memory, no disk, a damaged file.
    """
    import duckdb
    import psutil

    limit = memory_gib or psutil.virtual_memory().available / 2**30 * _SHARE_OF_MEMORY
    with telling(), tempfile.TemporaryDirectory(prefix="query-", dir=None if home is None else spill_folder(home)) as folder:
        connection = duckdb.connect(
            config={
                "memory_limit": f"{max(limit, 0.25):.2f}GiB",
                "threads": len(os.sched_getaffinity(0)),
                "temp_directory": folder,
                # no extension is ever fetched: what we use is in the package
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        try:
            # naive timestamps are compared by the session's zone
            connection.execute("SET TimeZone='UTC'")
            # rows are ordered where their order is promised; elsewhere results stream in bounded memory
            connection.execute("SET preserve_insertion_order=false")
            # it would be drawn over what the notebook shows
            connection.execute("SET enable_progress_bar=false")
            yield connection
        finally:
            connection.close()


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Tell what an engine that is used inside the block cannot do, as one sentence.

    Raises
    ------
    StoreError
        Instead of the engine's errors, and of those of files.
    """
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise StoreError(_sentence(error)) from error


def is_of_storage(error: Exception) -> bool:
    """Whether a query failed because of the files that it read, not because of what it asks."""
    return any(mark in str(error) for marks, _ in _REASONS for mark in marks)


def spill_folder(home: Path) -> Path:
    """Return the folder for what does not fit into memory, without what processes left in it that were killed."""
    folder = home / "tmp"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        # a store that this user may only read
        return Path(tempfile.gettempdir())
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    return folder


def rows_of(connection: duckdb.DuckDBPyConnection, query: str, params: list[Any] | None = None) -> list[dict[str, Any]]:
    """Run a query with a small answer."""
    answer: list[dict[str, Any]] = connection.sql(query, params=params or []).to_arrow_table().to_pylist()
    return answer


def reader_of(connection: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    """Run a query whose answer is read in parts, of fewer rows the more columns it has."""
    answer = connection.sql(query)
    return answer.to_arrow_reader(max(2_048, min(_PART_ROWS, _PART_CELLS // len(answer.columns))))


def value_of(connection: duckdb.DuckDBPyConnection, query: str, params: list[Any] | None = None) -> Any:
    """Run a query that answers with one value."""
    return next(iter(rows_of(connection, query, params)[0].values()))


def _sentence(error: Exception) -> str:
    first = redacted(next(iter(str(error).strip().splitlines()), type(error).__name__)[:300])
    if "Out of Memory" in first:
        return f"the query needs more memory than is free, and more disk than it may spill to: {first}"
    for marks, reason in _REASONS:
        if any(mark in str(error) for mark in marks):
            return f"{reason} ({first})"
    return f"the data cannot be read: {first}"
