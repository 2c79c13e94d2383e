"""Rows on their way into the store: in memory, or in a file of ours if they may not fit there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import StoreError
from hops_magic.features.model import Column
from hops_magic.features.sources import is_large
from hops_magic.features.sql import parquet, quoted
from hops_magic.features.tables import batches, incoming

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True)
class Spooled:
    """Rows that can be read several times.

    Attributes
    ----------
    nbytes : int
        What they take in memory.
    """

    schema: pa.Schema
    source: pa.Table | Path
    nbytes: int

    def register(self, connection: duckdb.DuckDBPyConnection, view: str) -> None:
        """Make the rows readable in an engine under a name."""
        if isinstance(self.source, Path):
            connection.execute(f"CREATE TEMP VIEW {quoted(view)} AS SELECT * FROM {parquet([str(self.source)])}")
        else:
            connection.register(view, self.source)


@contextlib.contextmanager
def spooled(data: Any, *, name: str, folder: Path, known: Sequence[Column] = ()) -> Iterator[Spooled]:
    """Bring a table to the types that the store keeps; one that comes in parts goes part by part into a file.

    Raises
    ------
    FeatureError
        As for :func:`tables.incoming`.
    StoreError
        If the file cannot be written.
    """
    if not is_large(data):
        table = incoming(data, name=name, known=known)
        yield Spooled(table.schema, table, table.nbytes)
        return
    with tempfile.TemporaryDirectory(prefix="incoming-", dir=folder) as inside:
        path = Path(inside) / "rows.parquet"
        reader = batches(data, name=name, known=known)
        nbytes = _write(reader, path)
        yield Spooled(reader.schema, path, nbytes)


def _write(reader: pa.RecordBatchReader, path: Path) -> int:
    """Write rows to a file; returns what they take in memory."""
    import pyarrow.parquet as pq

    nbytes = 0
    try:
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                nbytes += batch.nbytes
    except OSError as error:
        raise StoreError(f"the rows cannot be put into {path.parent.parent}: {error.strerror or error}") from error
    return nbytes
