"""Statistics of columns against pandas, and of columns that break statistics."""

import datetime
import decimal
import json
import math

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hops_magic.features import column_statistics
from hops_magic.features.column_statistics import Statistics, compute
from hops_magic.features.engine import connect
from hops_magic.features.figures import QUANTILES
from hops_magic.features.model import Column
from hops_magic.features.values import Kind

SECOND = 1_000_000


@pytest.fixture
def engine():
    with connect(memory_gib=1) as connection:
        yield connection


def computed(engine, table: pa.Table) -> Statistics:
    """Statistics that also survive JSON, without NaN."""
    engine.register("rows", table)
    found = compute(engine, "rows", [Column(name=field.name, type=str(field.type)) for field in table.schema])
    assert Statistics.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    return found


def one(engine, values, kind=None):
    return computed(engine, pa.table({"x": pa.array(values, kind)})).columns[0]


def numbers(rows=5_000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "normal": rng.normal(1e9, 3.0, rows),
            "whole": rng.integers(-500, 40_000, rows),
            "skewed": rng.lognormal(0, 2, rows).astype("float32"),
            "flag": rng.integers(0, 3, rows),
        }
    )
    frame["sum"] = frame["normal"] * 0.3 - 2 * frame["whole"] + rng.normal(0, 9_000, rows)
    for name, share in {"normal": 0.1, "sum": 0.2}.items():
        frame.loc[rng.random(rows) < share, name] = None
    return frame


def test_figures_are_those_of_pandas(engine):
    frame = numbers()
    found = computed(engine, pa.Table.from_pandas(frame))
    assert found.rows == 5_000
    assert not found.is_sampled
    for name in frame:
        column, values = found.column(name), frame[name].astype("float64")
        assert (column.count, column.nulls) == (values.count(), values.isna().sum())
        assert column.distinct == values.nunique()
        assert not column.is_distinct_estimate
        assert (column.min, column.max) == (values.min(), values.max())
        assert column.mean == pytest.approx(values.mean(), rel=1e-12)
        assert column.std == pytest.approx(values.std(), rel=1e-9)
        assert column.quantiles == pytest.approx(values.quantile(QUANTILES).tolist(), rel=1e-12)
        assert sum(column.histogram.counts) == column.count
        counts, _ = np.histogram(values.dropna(), bins=column.histogram.edges)
        assert list(column.histogram.counts) == counts.tolist()


def test_correlation_is_that_of_pandas_with_pairwise_nulls(engine):
    frame = numbers()
    found = computed(engine, pa.Table.from_pandas(frame)).correlation
    assert found.names == tuple(frame)
    assert np.array(found.matrix, dtype=float) == pytest.approx(frame.corr().to_numpy(), abs=1e-6)


def test_a_column_that_does_not_vary_correlates_with_nothing(engine):
    table = pa.table({"a": [1.0, 2.0, 3.0], "b": [5.1, 5.1, 5.1], "c": [None, None, 1.0], "d": pa.nulls(3, pa.float64())})
    matrix = computed(engine, table).correlation.matrix
    assert matrix[0] == (1.0, None, None, None)
    assert all(value is None for row in matrix[1:] for value in row)


def test_an_empty_table(engine):
    table = pa.table({"a": pa.array([], "float64"), "s": pa.array([], "string"), "l": pa.array([], pa.list_(pa.int64()))})
    found = computed(engine, table)
    assert found.rows == 0
    assert [(column.count, column.nulls) for column in found.columns] == [(0, 0)] * 3
    assert found.column("a").mean is None
    assert found.column("a").histogram is None
    assert found.column("s").top == ()


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.int32(), pa.string(), pa.bool_(), pa.timestamp("us"), pa.date32(), pa.null()], ids=str
)
def test_a_column_of_nulls(engine, kind):
    column = one(engine, [None, None], kind)
    assert (column.count, column.nulls) == (0, 2)
    assert (column.min, column.mean, column.std, column.quantiles, column.histogram, column.top) == (
        None,
        None,
        None,
        (),
        None,
        (),
    )


def test_a_constant_column(engine):
    column = one(engine, [0.1] * 7)
    assert (column.min, column.max, column.mean, column.std, column.distinct) == (0.1, 0.1, 0.1, 0.0, 1)
    assert column.histogram.counts == (7,)
    assert set(column.quantiles) == {0.1}


def test_one_row_has_no_deviation(engine):
    assert one(engine, [3]).std is None


def test_nan_counts_as_null_and_infinities_are_counted_apart(engine):
    column = one(engine, [1.0, math.nan, None, math.inf, -math.inf, math.inf, 3.0])
    assert (column.count, column.nulls, column.nan, column.infinite) == (5, 2, 1, 3)
    assert (column.min, column.max, column.mean, column.distinct) == (1.0, 3.0, 2.0, 4)
    assert sum(column.histogram.counts) == 2


def test_only_nan_and_infinities(engine):
    column = one(engine, [math.nan, math.inf])
    assert (column.count, column.nulls, column.infinite, column.min, column.histogram) == (1, 1, 1, None, None)


@pytest.mark.parametrize("scale", [1e308, 1e-200, 5e-324])
def test_doubles_at_the_ends_of_their_range(engine, scale):
    column = one(engine, [scale, -scale, scale, 0.0])
    assert column.max == scale
    assert sum(column.histogram.counts) == 4
    # the mean of the largest ones is out of reach of a plain sum
    if scale == 1e-200:
        assert column.std == pytest.approx(math.sqrt(11 / 12) * scale)


def test_whole_numbers_stay_whole_and_have_bins_of_whole_width(engine):
    column = one(engine, [1, 2, 2, 3, 7], pa.int64())
    assert (column.min, column.max) == (1, 7)
    assert column.histogram.edges == tuple(0.5 + i for i in range(8))
    assert column.histogram.counts == (1, 2, 1, 0, 0, 0, 1)
    assert (column.top[0].value, column.top[0].count) == (2, 2)
    extremes = one(engine, [2**63 - 1, -(2**63), 0], pa.int64())
    assert (extremes.max, extremes.min, sum(extremes.histogram.counts)) == (2**63 - 1, -(2**63), 3)
    wide = one(engine, list(range(1_000)), pa.int16())
    assert len(wide.histogram.counts) == 20
    assert set(wide.histogram.counts) == {50}
    assert wide.top == ()


def test_decimals_and_wide_numbers_are_doubles(engine):
    column = one(engine, [decimal.Decimal("1.50"), decimal.Decimal("2.50"), None], pa.decimal128(10, 2))
    assert (column.kind, column.min, column.mean, column.distinct, column.is_distinct_estimate) == (
        Kind.NUMBER,
        1.5,
        2.0,
        2,
        False,
    )
    assert one(engine, [2**64 - 1, 2**64 - 2], pa.uint64()).is_distinct_estimate


def test_times_are_iso_text(engine):
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    moments = [start + datetime.timedelta(days=day) for day in range(3)]
    column = one(engine, [*moments, None], pa.timestamp("us", tz="UTC"))
    assert (column.min, column.mean, column.max) == ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z")
    assert column.std == pytest.approx(86_400)
    assert column.histogram.edges[0] == "2024-01-01T00:00:00Z"
    assert sum(column.histogram.counts) == 3
    days = one(engine, [moment.date() for moment in moments])
    assert (days.min, days.quantiles[3], days.max) == ("2024-01-01", "2024-01-02", "2024-01-03")
    assert one(engine, [datetime.datetime(1969, 12, 31, 23, 59, 59, 500_000)]).min == "1969-12-31T23:59:59.500000"


def test_frequent_values_of_strings_and_truth_values(engine):
    words = ["b"] * 3 + ["a"] * 3 + ["c", None, "x" * 5_000]
    column = one(engine, words)
    assert (column.count, column.nulls, column.distinct) == (8, 1, 4)
    assert [(value.value, value.count) for value in column.top[:2]] == [("a", 3), ("b", 3)]
    assert len(column.top[-1].value) == 200
    truths = one(engine, [True, False, True])
    assert [(value.value, value.count) for value in truths.top] == [(True, 2), (False, 1)]
    many = one(engine, [f"{i:05}" for i in range(3_000)])
    assert (many.distinct, len(many.top)) == (3_000, 10)


def test_lists_and_structs_are_only_counted(engine):
    table = pa.table({"l": [[1], None, []], "s": [{"a": 1}, None, None], "t": pa.array([["a"], ["a"], None])})
    found = computed(engine, table)
    assert [(column.kind, column.count, column.nulls) for column in found.columns] == [
        (Kind.OTHER, 2, 1),
        (Kind.OTHER, 1, 2),
        (Kind.OTHER, 2, 1),
    ]
    assert found.correlation is None


def test_names_are_data(engine):
    hostile = '"; DROP TABLE rows; --'
    found = computed(engine, pa.table({hostile: [1.0, 2.0], "select": [1, 2], "c0": ["a", "b"]}))
    assert [column.count for column in found.columns] == [2, 2, 2]


def test_hundreds_of_columns(engine):
    rng = np.random.default_rng(0)
    table = pa.table({f"n{i}": rng.normal(size=50) for i in range(220)} | {f"s{i}": ["a", "b"] * 25 for i in range(40)})
    found = computed(engine, table)
    assert len(found.columns) == 260
    assert (len(found.correlation.names), found.correlation.left_out) == (100, 120)


def test_columns_that_the_view_lacks_are_left_out(engine):
    engine.register("rows", pa.table({"a": [1]}))
    found = compute(engine, "rows", [Column(name="a", type="int64"), Column(name="later", type="int64")])
    assert [column.name for column in found.columns] == ["a"]


class TestOfMoreRowsThanAreReadClosely:
    """The limits are lowered, to have a small such table."""

    @pytest.fixture(autouse=True)
    def _few_rows(self, monkeypatch):
        monkeypatch.setattr(column_statistics, "EXACT_ROWS", 10_000)
        monkeypatch.setattr(column_statistics, "SAMPLE_ROWS", 5_000)

    @pytest.fixture
    def table(self):
        frame = numbers(rows=60_000)
        frame.loc[::100, "normal"] = math.inf
        frame["word"] = np.where(frame["whole"] < 20_000, "low", "high")
        frame["key"] = [f"k{i}" for i in range(len(frame))]
        frame["at"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame["whole"], unit="s")
        frame["nested"] = [[1]] * len(frame)
        return pa.Table.from_pandas(frame)

    def test_figures_of_all_rows_are_exact_and_the_rest_is_near(self, engine, table):
        whole = computed(engine, table)
        assert whole.is_sampled
        assert whole.rows == 60_000
        assert whole.sample_rows == pytest.approx(5_000, rel=0.1)
        frame = table.to_pandas()
        for name in ("normal", "whole", "skewed", "sum"):
            column = whole.column(name)
            values = frame[name].astype("float64").replace(math.inf, math.nan)
            assert column.count - column.infinite == values.count()
            assert column.nulls == frame[name].isna().sum()
            assert (column.min, column.max) == (values.min(), values.max())
            assert column.mean == pytest.approx(values.mean(), rel=1e-9)
            assert column.std == pytest.approx(values.std(), rel=1e-6)
            ranks = [(values <= quantile).sum() / values.count() for quantile in column.quantiles]
            assert ranks == pytest.approx(QUANTILES, abs=0.03)
        assert whole.column("normal").infinite == 600
        assert whole.column("key").is_distinct_estimate
        assert whole.column("key").distinct == pytest.approx(60_000, rel=0.1)
        assert all(column.distinct <= column.count for column in whole.columns if column.distinct is not None)
        assert whole.column("at").min.startswith("2023-12-31T23:")
        assert whole.column("nested").count == 60_000
        shares = {value.value: value.count / whole.sample_rows for value in whole.column("word").top}
        assert shares["low"] == pytest.approx((frame["word"] == "low").mean(), abs=0.03)

    def test_the_sample_is_the_same_each_time_and_leaves_nothing_behind(self, engine, table):
        threads = engine.sql("SELECT current_setting('threads') AS n").to_arrow_table()
        first, second = (computed(engine, table) for _ in range(2))
        assert first.sample_rows == second.sample_rows
        for one, other in zip(first.columns, second.columns, strict=True):
            assert (one.quantiles, one.histogram, one.top) == (other.quantiles, other.histogram, other.top)
        assert engine.sql("SELECT current_setting('threads') AS n").to_arrow_table() == threads
        with pytest.raises(duckdb.CatalogException):
            engine.sql('SELECT * FROM "_hops_sample"')
