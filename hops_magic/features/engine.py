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

if TYPE_CHECKING:
    import duckdb

# of the memory that is free when a query begins; beyond it, the engine spills to disk
_SHARE_OF_MEMORY = 0.5
_LEFT_S = 86_400


@contextlib.contextmanager
def connect(*, home: Path | None = None, memory_gib: float | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine in memory for a ``with`` block.

    Parameters
    ----------
    home
        Private folder, below which goes what does not fit into memory; by default that of the system's temporary files.
    memory_gib
        Memory that it may use; by default half of what is free.

    Raises
    ------
    StoreError
        If a query inside the block fails for reasons of the machine: no memory, no disk.
    """
    import duckdb
    import psutil

    limit = memory_gib or psutil.virtual_memory().available / 2**30 * _SHARE_OF_MEMORY
    with tempfile.TemporaryDirectory(prefix="query-", dir=None if home is None else spill_folder(home)) as folder:
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
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise StoreError(_sentence(error)) from error
        finally:
            connection.close()


def spill_folder(home: Path) -> Path:
    """Return the folder for what does not fit into memory, without what processes left in it that were killed."""
    folder = home / "tmp"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
    return folder


def rows_of(connection: duckdb.DuckDBPyConnection, query: str, params: list[Any] | None = None) -> list[dict[str, Any]]:
    """Run a query with a small answer."""
    answer: list[dict[str, Any]] = connection.sql(query, params=params or []).to_arrow_table().to_pylist()
    return answer


def value_of(connection: duckdb.DuckDBPyConnection, query: str, params: list[Any] | None = None) -> Any:
    """Run a query that answers with one value."""
    return next(iter(rows_of(connection, query, params)[0].values()))


def _sentence(error: Exception) -> str:
    first = str(error).strip().splitlines()[0][:300]
    if "Out of Memory" in first:
        return f"the query needs more memory than is free, and more disk than it may spill to: {first}"
    return f"the data cannot be read: {first}"
