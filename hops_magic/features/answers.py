"""Rows of an answer, in memory or in files: sorted and cut by the engine, a page of them at a time."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hops_magic.features import column_statistics, engine
from hops_magic.features.errors import UnknownNameError
from hops_magic.features.model import Column
from hops_magic.features.names import nearest
from hops_magic.features.query import ROW
from hops_magic.features.readers import as_form
from hops_magic.features.spine import SpineRows
from hops_magic.features.sql import parquet, quoted
from hops_magic.features.streaming import StreamedRows

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class AnswerRows:
    """Rows that are looked at in parts; threads may share them.

    Parameters
    ----------
    rows : Table or StreamedRows
        Of files, only what is asked for is read.
    spine : SpineRows, optional
        What features were found for: its columns come first, and come into memory as they were brought.
    numbers : array, optional
        Number of the spine's row that each row is of.
    """

    def __init__(
        self, rows: pa.Table | StreamedRows, spine: SpineRows | None = None, numbers: pa.ChunkedArray | None = None
    ) -> None:
        self._rows = rows
        self._spine = spine
        self._numbers = numbers
        self._lock = threading.Lock()
        self._statistics: column_statistics.Statistics | None = None

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self._rows.schema

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return int(self._rows.num_rows)

    def arrow(self) -> pa.Table:
        """Return all rows, in memory, as the engine has them."""
        return self._rows.to_arrow() if isinstance(self._rows, StreamedRows) else self._rows

    def whole(self, form: str) -> Any:
        """Return all rows in memory, as ``df`` (pandas), ``polars`` or ``arrow``."""
        table = self.arrow()
        if self._spine is None or self._numbers is None:
            return as_form(table, form)
        own = self._spine.brought
        features = table.drop_columns(list(own.columns)).append_column(ROW, self._numbers)
        return self._spine.beside(features, own.as_form(form), form)

    def page(self, *, offset: int = 0, limit: int, sort: str = "") -> pa.Table:
        """Return some rows, in their order or by a column (``-`` before it for descending); nulls come last.

        Raises
        ------
        UnknownNameError
            If there is no such column.
        """
        if not sort:
            return self._slice(offset, limit)
        name = sort if sort in self.schema.names else sort.removeprefix("-")
        if name not in self.schema.names:
            raise UnknownNameError("column", name, nearest(name, self.schema.names), "the answer")
        way = "ASC" if sort == name else "DESC"
        with engine.connect() as connection:
            self._register(connection)
            connection.execute("SET preserve_insertion_order=true")
            # rows that are alike keep their order, so that no page repeats what another has
            numbered = f"SELECT *, row_number() OVER () AS {ROW} FROM answer"
            return connection.sql(
                f"SELECT * EXCLUDE ({ROW}) FROM ({numbered}) ORDER BY {quoted(name)} {way} NULLS LAST, {ROW} "
                f"LIMIT {int(limit)} OFFSET {int(offset)}"
            ).to_arrow_table()

    def statistics(self) -> column_statistics.Statistics:
        """Return what is known of the columns; computed once."""
        with self._lock:
            if self._statistics is None:
                columns = [Column(name=item.name, type=str(item.type)) for item in self.schema]
                with engine.connect() as connection:
                    self._register(connection)
                    self._statistics = column_statistics.compute(connection, "answer", columns)
            return self._statistics

    def _slice(self, offset: int, limit: int) -> pa.Table:
        if not isinstance(self._rows, StreamedRows):
            return self._rows.slice(offset, limit)
        first = min(offset, self.num_rows)
        part = replace(self._rows, first=self._rows.first + first, num_rows=min(limit, self.num_rows - first))
        return part.to_arrow()

    def _register(self, connection: duckdb.DuckDBPyConnection) -> None:
        if isinstance(self._rows, StreamedRows):
            connection.execute(f"CREATE TEMP VIEW answer AS SELECT * FROM {parquet(self._rows.files)}")
        else:
            connection.register("answer", self._rows)
