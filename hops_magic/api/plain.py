"""Values of tables as JSON, cut to what a page can show."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from hops_magic.api.routing import Payload

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CELL_CHARS = 1_000
MOST_TEXT_CHARS = 20_000
# beyond them a browser's numbers are no longer exact
_MOST_EXACT = 2**53


def finite(value: Any) -> Any:
    """Return a number that JSON knows, or None."""
    return value if value is None or math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(finite)]


class Column(Payload):
    """Of a table."""

    name: str
    type: str


class Table(Payload):
    """Rows of cells: numbers, truth values, null, or text of at most a thousand characters; ``total`` rows in all."""

    columns: list[Column]
    rows: list[list[float | int | bool | str | None]]
    total: int


def table_of(table: pa.Table, total: int | None = None) -> Table:
    """Return an Arrow table as plain cells."""
    columns = [[cell(value) for value in column.to_pylist()] for column in table.columns]
    return Table(
        columns=[Column(name=item.name, type=str(item.type)) for item in table.schema],
        rows=[list(row) for row in zip(*columns, strict=True)] if columns else [],
        total=table.num_rows if total is None else total,
    )


def cell(value: Any) -> float | int | bool | str | None:
    """Return one value as a cell."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _MOST_EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value[: MOST_CELL_CHARS // 2].hex()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return shortened(str(value), MOST_CELL_CHARS)


def shortened(text: str, most: int = MOST_TEXT_CHARS) -> str:
    """Cut a text that is too long to show."""
    return text if len(text) <= most else text[: most - 1] + "…"


def seconds(moment: datetime.datetime | None) -> float | None:
    """Return seconds since the epoch."""
    return None if moment is None else moment.timestamp()
