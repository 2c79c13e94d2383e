"""The values of columns as statistics and drift read them: through the engine, as sorted arrays, a few columns at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from hops_magic.features.engine import rows_of, value_of
from hops_magic.features.model import Column
from hops_magic.features.sql import quoted

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

T = TypeVar("T")

# numbers in memory at once, 8 bytes each
_CELLS = 4_000_000
_COUNTS_IN_A_QUERY = 200
_MOST_THREADS = 4
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_AS_DOUBLES = {"UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM", "FLOAT", "DOUBLE"}
_TEXTS = {"VARCHAR", "BOOLEAN", "UUID", "TIME"}
_DIGITS_OF_A_DOUBLE = 15


class Kind(StrEnum):
    """What can be said of a column's values."""

    NUMBER = "number"
    TIME = "time"
    CATEGORY = "category"
    OTHER = "other"

    @property
    def is_ordered(self) -> bool:
        """Whether values lie on a line."""
        return self in (Kind.NUMBER, Kind.TIME)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A column as the engine sees it.

    Attributes
    ----------
    stored : str
        The engine's type of it.
    """

    column: Column
    stored: str

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def kind(self) -> Kind:
        if self.is_integer or self.stored in _AS_DOUBLES or self.stored.startswith("DECIMAL"):
            return Kind.NUMBER
        if self.stored == "DATE" or self.stored.startswith("TIMESTAMP"):
            return Kind.TIME
        # lists of strings begin like strings
        if self.stored in _TEXTS or (self.stored.startswith("ENUM(") and self.stored.endswith(")")):
            return Kind.CATEGORY
        return Kind.OTHER

    @property
    def is_integer(self) -> bool:
        return self.stored in _INTEGERS

    @property
    def is_date(self) -> bool:
        return self.stored == "DATE"

    @property
    def has_zone(self) -> bool:
        return "TIME ZONE" in self.stored

    @property
    def is_rounded(self) -> bool:
        """Whether different values may become the same double."""
        if self.stored.startswith("DECIMAL"):
            return int(self.stored.removeprefix("DECIMAL(").split(",", maxsplit=1)[0]) > _DIGITS_OF_A_DOUBLE
        return self.stored in _AS_DOUBLES - {"FLOAT", "DOUBLE"}

    @property
    def expression(self) -> str:
        """Its values as an expression of SQL: 64-bit integers or doubles; times as microseconds, infinite ones as null."""
        name = quoted(self.name)
        if self.is_integer:
            return f"CAST({name} AS BIGINT)"
        if self.kind is Kind.TIME:
            return f"epoch_us({name})" if self.has_zone else f"epoch_us(TRY_CAST({name} AS TIMESTAMP))"
        if self.kind is Kind.NUMBER:
            return f"CAST({name} AS DOUBLE)"
        return name if self.stored == "BOOLEAN" else f"CAST({name} AS VARCHAR)"


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """The values of a column of numbers or times.

    Attributes
    ----------
    values : array
        The finite ones, ascending; microseconds for times.
    nulls : int
        NaN is not among them.
    below, above : int
        Negative and positive infinities.
    """

    values: npt.NDArray[np.float64 | np.int64]
    nulls: int = 0
    nan: int = 0
    below: int = 0
    above: int = 0

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Sorted:
        """Sort a column."""
        import numpy as np

        values = np.sort(column.drop_null().to_numpy())
        if values.dtype.kind != "f":
            return cls(values=values, nulls=column.null_count)
        # NaN is sorted to the end
        first = int(np.searchsorted(values, -np.inf, side="right"))
        last, end = (int(place) for place in np.searchsorted(values, [np.inf, np.nan], side="left"))
        return cls(values=values[first:last], nulls=column.null_count, nan=len(values) - end, below=first, above=end - last)

    @property
    def known(self) -> int:
        """Values that are neither null nor NaN."""
        return len(self.values) + self.below + self.above

    @property
    def rows(self) -> int:
        """All rows."""
        return self.known + self.nulls + self.nan


def fields_of(connection: duckdb.DuckDBPyConnection, view: str, columns: Sequence[Column]) -> list[Field]:
    """Return those of the columns that a view has."""
    relation = connection.sql(f"SELECT * FROM {quoted(view)} LIMIT 0")
    stored = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    return [Field(column=column, stored=stored[column.name]) for column in columns if column.name in stored]


def rows_in(connection: duckdb.DuckDBPyConnection, view: str) -> int:
    """Count rows."""
    return int(value_of(connection, f"SELECT count(*) FROM {quoted(view)}"))


def nulls_in(connection: duckdb.DuckDBPyConnection, view: str, fields: Sequence[Field]) -> dict[str, int]:
    """Count nulls, whatever the type."""
    nulls: dict[str, int] = {}
    for begin in range(0, len(fields), _COUNTS_IN_A_QUERY):
        part = fields[begin : begin + _COUNTS_IN_A_QUERY]
        counts = ", ".join(f"count(*) - count({quoted(field.name)}) AS c{i}" for i, field in enumerate(part))
        answer = rows_of(connection, f"SELECT {counts} FROM {quoted(view)}")[0]
        nulls.update({field.name: int(answer[f"c{i}"]) for i, field in enumerate(part)})
    return nulls


def over_sorted(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    fields: Sequence[Field],
    rows: int,
    work: Callable[[Field, Sorted], T],
) -> Iterator[T]:
    """Do some work on each column of numbers or times, in their order, several at a time in threads of their own.

    Sorting in numpy takes a tenth of the time of the engine's quantiles, distinct counts and histograms taken together.
    """
    at_once = max(1, _CELLS // max(1, rows))

    def one(pair: tuple[Field, pa.ChunkedArray]) -> T:
        return work(pair[0], Sorted.of(pair[1]))

    with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        for begin in range(0, len(fields), at_once):
            part = fields[begin : begin + at_once]
            wanted = ", ".join(f"{field.expression} AS c{i}" for i, field in enumerate(part))
            table = connection.sql(f"SELECT {wanted} FROM {quoted(view)}").to_arrow_table()
            yield from pool.map(one, zip(part, table.columns, strict=True))


@dataclass(frozen=True, kw_only=True)
class Values:
    """How often the values of a column of categories occur.

    Attributes
    ----------
    known, distinct : int
        Values that are not null, and different ones.
    top : sequence of (value, count)
        Most frequent first, equally frequent ones in the order of the values.
    """

    known: int
    distinct: int
    top: Sequence[tuple[Any, int]]


def most_frequent(connection: duckdb.DuckDBPyConnection, view: str, field: Field, most: int) -> Values:
    """Count the values of a column of categories."""
    query = f"""
    WITH counted AS MATERIALIZED (
        SELECT {field.expression} AS value, count(*) AS n
        FROM {quoted(view)} WHERE {quoted(field.name)} IS NOT NULL GROUP BY 1
    )
    SELECT value, n, (SELECT count(*) FROM counted) AS of_all, (SELECT CAST(sum(n) AS BIGINT) FROM counted) AS known
    FROM counted ORDER BY n DESC, value LIMIT {most}
    """
    rows = rows_of(connection, query)
    if not rows:
        return Values(known=0, distinct=0, top=())
    return Values(known=rows[0]["known"], distinct=rows[0]["of_all"], top=[(row["value"], row["n"]) for row in rows])
