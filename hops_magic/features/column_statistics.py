"""What is known of a group's columns at a commit: counts, quantiles, histograms, frequent values, correlation.

Up to two million rows everything is exact. Of more, counts, extremes, mean and standard deviation are exact, the number of
distinct values is the engine's estimate (HyperLogLog, a few per cent off), and the rest comes from a sample of about a
million rows, the same one each time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from hops_magic.features.correlation import Scaled, correlate, one_blas_thread
from hops_magic.features.engine import rows_of, value_of
from hops_magic.features.figures import Figures, Histogram, Value, figures_of, plain, shown
from hops_magic.features.model import Column
from hops_magic.features.sql import listed, quoted
from hops_magic.features.values import Field, Kind, fields_of, most_frequent, nulls_in, over_sorted, rows_in

if TYPE_CHECKING:
    import duckdb

Matrix: TypeAlias = tuple[tuple[float | None, ...], ...]

# more rows than that are sampled
EXACT_ROWS = 2_000_000
SAMPLE_ROWS = 1_000_000
MOST_TOP = 10
MOST_CHARS = 200
MOST_CORRELATED = 100
_SAMPLE_CELLS = 100_000_000
_SAMPLE = "_hops_sample"
_SEED = 20
_COLUMNS_IN_A_QUERY = 50
_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class TopValue:
    """A frequent value, cut to 200 characters, and the rows that have it."""

    value: Value
    count: int


@dataclass(frozen=True, kw_only=True)
class ColumnStatistics:
    """One column.

    Attributes
    ----------
    type : str
        Text of its Arrow type.
    count : int
        Rows with a value: neither null nor NaN.
    nulls : int
        Rows without; ``nan`` of them hold NaN.
    infinite : int
        Infinities; they are counted, and left out of everything below.
    distinct : int, optional
        Different values; None where that is not told.
    is_distinct_estimate : bool
        Whether that is an estimate, for reasons of size or of digits that doubles do not have.
    min, max, mean : optional
        Times as ISO text. None for no values, or where a double cannot hold the answer.
    std : float, optional
        Of a sample (``n - 1``); of times, in seconds.
    quantiles : tuple
        At ``figures.QUANTILES``, linear between neighbours as numpy's default; empty for no values.
    histogram : Histogram, optional
        Of numbers and times.
    top : tuple of TopValue
        Of strings, truth values and numbers with few different values; most frequent first. Counted in the sample, if
        there is one.
    """

    name: str
    type: str
    kind: Kind
    count: int
    nulls: int = 0
    nan: int = 0
    infinite: int = 0
    distinct: int | None = None
    is_distinct_estimate: bool = False
    min: Value = None
    max: Value = None
    mean: Value = None
    std: float | None = None
    quantiles: tuple[Value, ...] = ()
    histogram: Histogram | None = None
    top: tuple[TopValue, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnStatistics:
        """Read what ``Statistics.to_json`` wrote."""
        histogram = data["histogram"]
        return cls(
            **{
                **data,
                "kind": Kind(data["kind"]),
                "quantiles": tuple(data["quantiles"]),
                "histogram": histogram and Histogram(edges=tuple(histogram["edges"]), counts=tuple(histogram["counts"])),
                "top": tuple(TopValue(**value) for value in data["top"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's correlation of numbers, over the rows where both columns are known.

    Attributes
    ----------
    matrix : tuple of tuple
        None where a column does not vary.
    left_out : int
        Columns of numbers beyond the hundred that are compared.
    """

    names: tuple[str, ...]
    matrix: Matrix
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All columns of a table.

    Attributes
    ----------
    sample_rows : int
        Rows that quantiles, histograms, frequent values and correlation are from.
    """

    rows: int
    columns: tuple[ColumnStatistics, ...]
    correlation: Correlation | None = None
    is_sampled: bool = False
    sample_rows: int = 0

    def column(self, name: str) -> ColumnStatistics | None:
        """Return a column by its exact name."""
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without NaN; of the matrix only what is below its diagonal."""
        found = asdict(self)
        for column in found["columns"]:
            column["kind"] = str(column["kind"])
        if self.correlation is not None:
            found["correlation"]["matrix"] = [row[: i + 1] for i, row in enumerate(self.correlation.matrix)]
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Statistics:
        """Read what ``to_json`` wrote."""
        correlation = data["correlation"]
        return cls(
            rows=data["rows"],
            columns=tuple(ColumnStatistics.from_json(column) for column in data["columns"]),
            correlation=correlation
            and Correlation(
                names=tuple(correlation["names"]),
                matrix=_whole(correlation["matrix"]),
                left_out=correlation["left_out"],
            ),
            is_sampled=data["is_sampled"],
            sample_rows=data["sample_rows"],
        )


def compute(connection: duckdb.DuckDBPyConnection, view: str, columns: Sequence[Column]) -> Statistics:
    """Compute the statistics of a table or view; columns that it does not have are left out."""
    fields = fields_of(connection, view, columns)
    rows = rows_in(connection, view)
    nulls = nulls_in(connection, view, [field for field in fields if not field.kind.is_ordered])
    with _sampled(connection, view, fields, rows) as sample, one_blas_thread():
        sample_rows = rows if sample == view else rows_in(connection, sample)
        ordered = [field for field in fields if field.kind.is_ordered]
        figures = dict(
            zip((f.name for f in ordered), over_sorted(connection, sample, ordered, sample_rows, figures_of), strict=True)
        )
        found = [
            _ordered(field, figures[field.name])
            if field.kind.is_ordered
            else _unordered(connection, sample, field, rows, nulls[field.name])
            for field in fields
        ]
        correlation = _correlation(connection, sample, ordered, figures)
    if sample != view:
        exact = _exact(connection, view, fields, rows)
        found = [replace(column, **exact.get(column.name, {})) for column in found]
    return Statistics(
        rows=rows, columns=tuple(found), correlation=correlation, is_sampled=sample != view, sample_rows=sample_rows
    )


@contextlib.contextmanager
def _sampled(connection: duckdb.DuckDBPyConnection, view: str, fields: Sequence[Field], rows: int) -> Iterator[str]:
    """Give the name of a table of the rows to look at closely: the view itself, if it has not too many."""
    fields = [field for field in fields if field.kind is not Kind.OTHER]
    if rows <= EXACT_ROWS or not fields:
        yield view
        return
    share = min(SAMPLE_ROWS, _SAMPLE_CELLS // len(fields)) / rows
    threads = value_of(connection, "SELECT current_setting('threads')")
    # each thread draws for itself: with one, the same rows are drawn each time
    connection.execute("SET threads = 1")
    try:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {quoted(_SAMPLE)} AS SELECT {listed([field.name for field in fields])} "
            f"FROM {quoted(view)} USING SAMPLE {100 * share:.6f} PERCENT (bernoulli, {_SEED})"
        )
    finally:
        connection.execute(f"SET threads = {int(threads)}")
    try:
        yield _SAMPLE
    finally:
        connection.execute(f"DROP TABLE {quoted(_SAMPLE)}")


def _ordered(field: Field, figures: Figures) -> ColumnStatistics:
    return ColumnStatistics(
        name=field.name,
        type=field.column.type,
        kind=field.kind,
        count=figures.count,
        nulls=figures.nulls,
        nan=figures.nan,
        infinite=figures.infinite,
        distinct=figures.distinct,
        is_distinct_estimate=field.is_rounded,
        min=shown(figures.min, field),
        max=shown(figures.max, field),
        mean=shown(figures.mean, field),
        std=plain(figures.std if field.kind is Kind.NUMBER or figures.std is None else figures.std / 1e6),
        quantiles=tuple(shown(value, field) for value in figures.quantiles),
        histogram=figures.histogram
        and replace(figures.histogram, edges=tuple(shown(edge, field) for edge in figures.histogram.edges)),
        top=tuple(TopValue(value=plain(value), count=count) for value, count in figures.top)
        if field.kind is Kind.NUMBER
        else (),
    )


def _unordered(connection: duckdb.DuckDBPyConnection, sample: str, field: Field, rows: int, nulls: int) -> ColumnStatistics:
    column = ColumnStatistics(name=field.name, type=field.column.type, kind=field.kind, count=rows - nulls, nulls=nulls)
    if field.kind is Kind.OTHER:
        return column
    values = most_frequent(connection, sample, field, MOST_TOP)
    top = tuple(TopValue(value=_cut(value), count=count) for value, count in values.top)
    return replace(column, distinct=values.distinct, top=top)


def _exact(
    connection: duckdb.DuckDBPyConnection, view: str, fields: Sequence[Field], rows: int
) -> dict[str, dict[str, Any]]:
    """What is exact of a table that is otherwise sampled, by column; and estimates of distinct values."""
    fields = [field for field in fields if field.kind is not Kind.OTHER]
    found: dict[str, dict[str, Any]] = {}
    for begin in range(0, len(fields), _COLUMNS_IN_A_QUERY):
        part = fields[begin : begin + _COLUMNS_IN_A_QUERY]
        inner = ", ".join(f"{_inner(field)} AS c{i}" for i, field in enumerate(part))
        raw = ", ".join(f"{field.expression} AS r{i}" for i, field in enumerate(part))
        wanted = ", ".join(_aggregates(i, field) for i, field in enumerate(part))
        query = f"SELECT {wanted} FROM (SELECT {inner}, {raw} FROM {quoted(view)})"
        answer = rows_of(connection, query)[0]
        found.update({field.name: _exact_of(field, rows, answer, i) for i, field in enumerate(part)})
    return found


def _inner(field: Field) -> str:
    if field.kind is Kind.NUMBER and not field.is_integer:
        return f"CASE WHEN isfinite({field.expression}) THEN {field.expression} END"
    return field.expression


def _aggregates(i: int, field: Field) -> str:
    always = f"count(r{i}) AS count{i}, approx_count_distinct(c{i}) AS distinct{i}"
    if not field.kind.is_ordered:
        return always
    return (
        f"{always}, count(c{i}) AS finite{i}, count(*) FILTER (isnan(CAST(r{i} AS DOUBLE))) AS nan{i}, "
        f"min(c{i}) AS min{i}, max(c{i}) AS max{i}, avg(c{i}) AS mean{i}, stddev_samp(c{i}) AS std{i}"
    )


def _exact_of(field: Field, rows: int, answer: Mapping[str, Any], i: int) -> dict[str, Any]:
    # an estimate may exceed the number of values
    distinct = {"distinct": min(answer[f"distinct{i}"], answer[f"count{i}"]), "is_distinct_estimate": True}
    if not field.kind.is_ordered:
        return distinct
    known, nan, std = answer[f"count{i}"] - answer[f"nan{i}"], answer[f"nan{i}"], answer[f"std{i}"]
    return {
        **distinct,
        "count": known,
        "nulls": rows - known,
        "nan": nan,
        "infinite": known - answer[f"finite{i}"],
        "min": shown(answer[f"min{i}"], field),
        "max": shown(answer[f"max{i}"], field),
        "mean": shown(answer[f"mean{i}"], field),
        "std": plain(std if std is None or field.kind is Kind.NUMBER else std / 1e6),
    }


def _correlation(
    connection: duckdb.DuckDBPyConnection, sample: str, fields: Sequence[Field], figures: Mapping[str, Figures]
) -> Correlation | None:
    numbers = [field for field in fields if field.kind is Kind.NUMBER]
    compared = numbers[:MOST_CORRELATED]
    if len(compared) < 2:
        return None
    scaled = [
        Scaled(field=field, mean=known.mean or 0.0, std=known.std or 1.0, has_gaps=bool(known.nulls or known.infinite))
        for field in compared
        for known in (figures[field.name],)
    ]
    matrix = correlate(connection, sample, scaled)
    return Correlation(
        names=tuple(field.name for field in compared),
        matrix=tuple(
            tuple(None if math.isnan(value) else round(value, _DIGITS) for value in row) for row in matrix.tolist()
        ),
        left_out=len(numbers) - len(compared),
    )


def _whole(lower: Sequence[Sequence[float | None]]) -> Matrix:
    """Return a symmetric matrix from what is below its diagonal."""
    size = len(lower)
    return tuple(tuple(lower[max(i, j)][min(i, j)] for j in range(size)) for i in range(size))


def _cut(value: Value) -> Value:
    if isinstance(value, str) and len(value) > MOST_CHARS:
        return value[: MOST_CHARS - 1] + "…"
    return value
