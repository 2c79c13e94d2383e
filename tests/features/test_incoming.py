"""Tables that users bring: what is kept of them, and what is refused with which words."""

import datetime
import decimal
import zoneinfo

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from hops_magic.features.errors import FeatureError, SchemaMismatchError
from hops_magic.features.model import Column
from hops_magic.features.tables import batches, incoming
from hops_magic.features.types import check_types, toward

UTC = pa.timestamp("us", tz="UTC")
MOMENT = datetime.datetime(2024, 1, 1, 12)
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
FRAME = pd.DataFrame({"id": [1, 2, 3], "name": ["a", None, "c"], "share": [0.5, None, 1.5]})
ROWS = [{"id": 1, "name": "a", "share": 0.5}, {"id": 2, "name": None, "share": None}, {"id": 3, "name": "c", "share": 1.5}]


def column(values, kind=None):
    return pa.table({"a": values if kind is None else pa.array(values, kind)})


def read(data, **options):
    return incoming(data, name="the data", **options)


def streamed(data, **options):
    return batches(data, name="the data", **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FRAME,
        lambda: FRAME.set_index("id"),
        FRAME.convert_dtypes,
        lambda: FRAME.astype({"name": "category"}),
        lambda: pl.from_pandas(FRAME),
        lambda: pl.from_pandas(FRAME).lazy(),
        lambda: pl.from_pandas(FRAME).with_columns(pl.col("name").cast(pl.Categorical)),
        lambda: pa.Table.from_pandas(FRAME),
        lambda: pa.Table.from_pandas(FRAME).to_batches()[0],
        lambda: pa.Table.from_pandas(FRAME).to_reader(),
        lambda: dd.from_pandas(FRAME, npartitions=2),
        lambda: duckdb.from_arrow(pa.Table.from_pandas(FRAME)),
        lambda: {"id": [1, 2, 3], "name": ("a", None, "c"), "share": pa.array([0.5, None, 1.5])},
        lambda: {"id": np.arange(1, 4), "name": FRAME["name"], "share": pl.Series([0.5, None, 1.5])},
        lambda: ROWS,
    ],
    ids=range(15),
)
def test_every_kind_of_table_is_read_the_same_whole_and_in_parts(make):
    whole, parts = read(make()), streamed(make()).read_all()
    assert whole.schema == parts.schema == pa.schema([("id", pa.int64()), ("name", pa.string()), ("share", pa.float64())])
    assert whole.to_pylist() == parts.to_pylist() == ROWS


@pytest.mark.parametrize(
    ("data", "kind", "kept"),
    [
        (column([1, 200], pa.uint8()), pa.int16(), [1, 200]),
        (column([60000], pa.uint16()), pa.int32(), [60000]),
        (column([2**32 - 1], pa.uint32()), pa.int64(), [2**32 - 1]),
        (column([2**63 - 1, None], pa.uint64()), pa.int64(), [2**63 - 1, None]),
        (column(np.array([0.5], np.float16)), pa.float32(), [0.5]),
        (column(["x"], pa.large_string()), pa.string(), ["x"]),
        (column(["x"], pa.string_view()), pa.string(), ["x"]),
        (column([b"x"], pa.binary(1)), pa.binary(), [b"x"]),
        (column(pa.array(["x", None, "x"]).dictionary_encode()), pa.string(), ["x", None, "x"]),
        (column(pc.run_end_encode(pa.array([1, 1, 2]))), pa.int64(), [1, 1, 2]),
        (column([MOMENT], pa.timestamp("s")), UTC, [MOMENT.replace(tzinfo=datetime.UTC)]),
        (column([MOMENT.replace(tzinfo=PARIS)]), UTC, [MOMENT.replace(hour=11, tzinfo=datetime.UTC)]),
        (column([MOMENT], pa.timestamp("ns")), UTC, [MOMENT.replace(tzinfo=datetime.UTC)]),
        (column([datetime.date(9999, 1, 1)], pa.date64()), pa.date32(), [datetime.date(9999, 1, 1)]),
        (column([decimal.Decimal("1.5")], pa.decimal32(5, 2)), pa.decimal128(5, 2), [decimal.Decimal("1.50")]),
        (column([[1], None], pa.large_list(pa.uint8())), pa.list_(pa.int16()), [[1], None]),
        (column([{"x": 1}]), pa.struct([("x", pa.int64())]), [{"x": 1}]),
        (pd.DataFrame({"a": pd.array([1, None], "Int64")}), pa.int64(), [1, None]),
        (pd.DataFrame({"a": pd.Series(["x", float("nan")], dtype=object)}), pa.string(), ["x", None]),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), pa.int64(), [0, 1]),
        (pd.Series([1], name="a"), pa.int64(), [1]),
        (pl.Series("a", [1]), pa.int64(), [1]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:40],
)
def test_types_are_brought_to_those_that_are_kept(data, kind, kept):
    found = read(data)
    assert found.schema == pa.schema([("a", kind)])
    assert found["a"].to_pylist() == kept


def test_nanoseconds_are_cut_off_with_a_warning():
    with pytest.warns(UserWarning, match="column a of the data: times are kept in microseconds, nanoseconds are cut off"):
        assert read(column([1999, -1], pa.timestamp("ns")))["a"].cast(pa.int64()).to_pylist() == [1, 0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            column([1, 2**64 - 1, 2, 2**63], pa.uint64()),
            r"rows 1 \(18446744073709551615\), 3 \(9223372036854775808\) do not fit",
        ),
        (column([0, 2**60], pa.timestamp("s")), "row 1 .* does not fit into timestamp"),
        (column([None, None], pa.null()), "every value is null, so its type is unknown: give it one"),
        (column([datetime.time(1)]), "times of day: convert them to strings, or to seconds"),
        (column([datetime.timedelta(1)]), "durations: convert them to seconds as numbers"),
        (column([[("x", 1)]], pa.map_(pa.string(), pa.int64())), "maps: convert them to structs or strings"),
        (column([[1]], pa.list_view(pa.int64())), "views of lists: convert them to lists"),
        (column([(1, 2, 3)], pa.month_day_nano_interval()), "intervals: convert them to numbers"),
        (column([b"0" * 16], pa.uuid()), "values of the type uuid: convert them to strings"),
        (
            pd.DataFrame({"a": pd.period_range("2024", periods=2, freq="M")}),
            "type period: convert them to strings, numbers or",
        ),
        (pd.DataFrame({"a": [1j]}), "column a of the data cannot be kept .*: convert it to numbers, strings or timestamps"),
        (
            {"a": [1, 2**70]},
            r"kept: row 1 has 1180591620717411303424, a whole number of more than 64 bits: convert the column",
        ),
        (pd.DataFrame({"a": [decimal.Decimal("Infinity")]}), "row 0 has Infinity, and decimals are finite: give it another"),
        (pd.DataFrame({"a": [object()]}), "column a of the data cannot be kept"),
        (
            pd.DataFrame({"a": pd.Series([None, 1, "x", 2], dtype=object)}),
            r"column a of the data has values of several types: int \(row 1: 1\), str \(row 2: 'x'\); convert it to one",
        ),
        (pd.DataFrame({"a": pd.Series([True, 2], dtype=object)}), r"bool \(row 0: True\), int \(row 1: 2\)"),
        (pd.DataFrame({"a": pd.Series(["x", b"y"], dtype=object)}), r"str \(row 0: 'x'\), bytes \(row 1: b'y'\)"),
        ({"a": [1, "x"]}, r"int \(row 0: 1\), str \(row 1: 'x'\)"),
        ([{"a": 1}, {"a": "x"}], r"int \(row 0: 1\), str \(row 1: 'x'\)"),
        (pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}), "polars' type Object, which Arrow lacks"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:40],
)
def test_what_cannot_be_kept_is_refused_with_its_column_and_rows(data, said):
    with pytest.raises(SchemaMismatchError, match=said) as caught:
        read(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pd.DataFrame({"a": []}), "the data has no rows: there is nothing to write"),
        (pd.DataFrame(index=[0, 1]), "the data has no columns"),
        (pl.DataFrame(), "the data has no columns"),
        ({}, "the data has no columns"),
        ([], "got an empty list"),
        ("teams.csv", "must be a table .*, got str"),
        (np.zeros((2, 2)), "must be a table .*, got ndarray"),
        ({"a": 1}, "column a of the data must be a list of values, got int"),
        ({"a": "xy"}, "column a of the data must be a list of values, got str"),
        ({"a": [1, 2], "b": [1]}, "do not have the same number of rows: a 2, b 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns named 'a': rename them"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "several columns named '1': rename them"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "names of columns in 2 levels"),
        (pd.DataFrame({"a": [1]}, index=["x"]), "has an index without a name, 'x' and so on: name it to keep it"),
        (pd.DataFrame({"k": [1]}, index=pd.Index([1], name="k")), "has 'k' as a column and as its index"),
        (FRAME.set_index(["id", "name"]).rename_axis(["id", None]), "level 1 of the index of the data has no name"),
        (pa.table([[1], [1]], names=["a", "a"]), "has columns 'a' and 'a': rename one"),
        ({"Age": [1], "age": [1]}, "has columns 'Age' and 'age', which differ only in case: rename one"),
        ({"_hops_x": [1]}, "names that begin with _hops_ are kept for the store"),
        ({"a.b": [1]}, "a name with . or @ or . could not be asked for"),
        ({"a@1": [1]}, "could not be asked for"),
        ({"*": [1]}, "could not be asked for"),
        ({"": [1]}, "empty"),
        ({"  ": [1]}, "empty"),
        ({"a" * 256: [1]}, "longer than 255 characters"),
        ({"a\nb": [1]}, r"invisible ones: 'a\\nb'; rename it"),
        ({"a\u202eb": [1]}, r"invisible ones: 'a\\u202eb'; rename it"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:40],
)
def test_what_is_no_table_is_refused_in_one_sentence(data, said):
    with pytest.raises(FeatureError, match=said) as caught:
        read(data)
    assert "\n" not in str(caught.value)


def test_names_with_spaces_quotes_and_sql_are_kept(store):
    names = ['a "b" c', "it's; DROP TABLE x", "größe", "order"]
    store.save({name: [1, 2] for name in names}, "odd", key="order", statistics=False)
    assert list(store.get("odd.*").columns) == names
    assert store.get(names[1])[names[1]].tolist() == [1, 2]


def test_an_index_with_names_becomes_columns_and_row_numbers_are_dropped():
    assert read(FRAME.set_index(["id", "name"])).column_names == ["id", "name", "share"]
    assert read(FRAME[FRAME["id"] > 1]).column_names == ["id", "name", "share"]


def test_rows_may_lack_keys():
    assert read([{"a": 1}, {"b": "x", "a": 2}]).to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


# toward the types of a group


def known(**types):
    return [Column(name=name, type=kind) for name, kind in types.items()]


@pytest.mark.parametrize(
    ("values", "kind", "own"),
    [
        ([1, 2], pa.int32(), "int64"),
        ([1, 2], pa.int64(), "int16"),
        ([1, 2], pa.int64(), "double"),
        ([1.0, None], pa.float64(), "int32"),
        ([1.5], pa.float32(), "double"),
        ([datetime.date(2024, 1, 1)], pa.date32(), "timestamp[us, tz=UTC]"),
        ([[1]], pa.list_(pa.int32()), "list<item: int64>"),
        ([{"x": 1}], pa.struct([("x", pa.int64())]), "struct<x: double>"),
        ([decimal.Decimal("1.5")], pa.decimal128(5, 1), "decimal128(10, 2)"),
        ([None, None], pa.float64(), "string"),
        ([None], pa.null(), "list<item: int64>"),
    ],
)
def test_values_are_brought_to_the_types_of_their_group_where_nothing_is_lost(values, kind, own):
    found = read(column(values, kind), known=known(a=own))
    assert str(found.schema.field("a").type) == own
    assert check_types(found.schema, known(a=own)).fits
    assert streamed(column(values, kind), known=known(a=own)).read_all() == found


@pytest.mark.parametrize(
    ("values", "kind", "own", "said"),
    [
        ([1, 2**40], pa.int64(), "int32", "wider: a: int32 to int64"),
        ([1.5], pa.float64(), "int64", "wider: a: int64 to double"),
        ([1], pa.int64(), "string", "of another type: a is int64 in the data and string in the group"),
        (["1"], pa.string(), "int64", "of another type: a is string in the data and int64 in the group"),
        ([True], pa.bool_(), "int64", "of another type: a is bool in the data"),
        ([MOMENT], UTC, "date32[day]", "wider: a: date32.day. to timestamp"),
    ],
)
def test_what_does_not_fit_is_told(values, kind, own, said):
    change = check_types(read(column(values, kind), known=known(a=own)).schema, known(a=own))
    assert not change.fits
    assert change.is_possible == said.startswith("wider")
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(change.sentence())


def test_new_and_missing_columns_are_told():
    change = check_types(pa.schema([("a", pa.int64()), ("c", pa.string())]), known(a="int64", b="double"))
    assert change.sentence() == "new: c (string); missing: b"
    assert not change.is_possible


def test_whole_numbers_that_a_float_cannot_hold_are_refused_with_their_rows():
    table = column([1, 2**53 + 1, 2**53, -(2**60) - 1])
    said = r"column a of the data cannot be written: rows 1 \(9007199254740993\), 3 \(-1152921504606846977\) do not fit"
    with pytest.raises(SchemaMismatchError, match=said):
        toward(table, known(a="double"))


def test_a_batch_of_nulls_and_of_floats_is_written_to_a_group_that_knows_better(store):
    store.save({"id": [1, 2], "age": [10, 20], "name": ["a", "b"]}, "teams", key="id", statistics=False)
    store.save(pd.DataFrame({"id": [3, 4], "age": [None, 40], "name": [None, None]}), "teams", statistics=False)
    assert [column.type for column in store.group("teams").columns] == ["int64", "int64", "string"]
    assert store.get("age", form="arrow")["age"].to_pylist().count(None) == 1


# part by part


def reader(*parts):
    return pa.RecordBatchReader.from_batches(parts[0].schema, [batch for part in parts for batch in part.to_batches()])


def partitions(*frames):
    return dd.from_delayed([dask.delayed(frame) for frame in frames], meta=frames[0], verify_meta=False)


def test_parts_are_made_alike():
    frames = [pd.DataFrame({"a": values, "b": "x"}) for values in ([1, 2], [3.0, None], [None])]
    found = streamed(partitions(*frames)).read_all()
    assert found.schema == pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert found["a"].to_pylist() == [1, 2, 3, None, None]


def test_a_part_is_read_when_it_is_asked_for():
    read_so_far = []

    def parts():
        for number in range(5):
            read_so_far.append(number)
            yield pa.record_batch({"a": [number]})

    stream = streamed(pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), parts()))
    assert read_so_far == [0]
    assert stream.read_next_batch()["a"].to_pylist() == [0]
    assert read_so_far == [0]
    assert stream.read_all()["a"].to_pylist() == [1, 2, 3, 4]


def test_the_type_of_a_column_that_begins_with_nulls_is_looked_for():
    nulls, texts = pd.DataFrame({"a": [None, None]}, dtype=object), pd.DataFrame({"a": ["x"]})
    assert streamed(partitions(nulls, nulls, texts)).read_all()["a"].to_pylist() == [None] * 4 + ["x"]
    with pytest.raises(SchemaMismatchError, match="every value is null"):
        streamed(reader(column([None], pa.null()), column([None], pa.null())))


def test_parts_that_do_not_go_together_are_refused():
    first = pd.DataFrame({"a": [1, 2]})
    for other, said in (
        (pd.DataFrame({"a": ["x"]}), "column a of the data is int64 at first and string from row 2 on"),
        (pd.DataFrame({"a": [0.5]}), "column a of the data is int64 at first and double from row 2 on"),
        (pd.DataFrame({"b": [1]}), "the parts of the data do not have the same columns: a, b"),
        (pd.DataFrame({"a": np.array([2**63], np.uint64)}), r"row 2 \(9223372036854775808\) does not fit into int64"),
    ):
        with pytest.raises(SchemaMismatchError, match=said):
            streamed(partitions(first, other)).read_all()


def test_no_rows_in_any_part():
    with pytest.raises(FeatureError, match="the data has no rows"):
        streamed(reader(column([], pa.int64()), column([], pa.int64())))
    with pytest.raises(FeatureError, match="the data has no rows"):
        streamed(partitions(FRAME[:0]))
    assert streamed(reader(column([], pa.int64()), column([1], pa.int64()))).read_all().num_rows == 1


def test_a_table_in_parts_is_read_into_the_store_part_by_part(store, settings):
    parts, rows = 20, 50_000

    def made():
        for at in range(parts):
            ids = pa.array(np.arange(at * rows, (at + 1) * rows))
            yield pa.record_batch({"id": ids, **{f"x{number}": pc.cast(ids, pa.float64()) for number in range(8)}})

    first = next(made())
    before = pa.total_allocated_bytes()
    pool_peak = []

    def watched():
        for batch in made():
            pool_peak.append(pa.total_allocated_bytes() - before)
            yield batch

    store.save(pa.RecordBatchReader.from_batches(first.schema, watched()), "big", key="id", statistics=False)
    assert max(pool_peak) < 8 * first.nbytes
    assert store.group("big").rows == parts * rows
    assert list((settings.home / "tmp").iterdir()) == []


def test_a_part_that_does_not_fit_leaves_nothing(store, settings):
    bad = partitions(pd.DataFrame({"id": [1], "a": [1]}), pd.DataFrame({"id": [2], "a": ["x"]}))
    with pytest.raises(
        SchemaMismatchError, match="column a of the data for teams is int64 at first and string from row 1 on"
    ):
        store.save(bad, "teams", key="id")
    assert store.groups() == []
    assert list((settings.home / "tmp").iterdir()) == []
