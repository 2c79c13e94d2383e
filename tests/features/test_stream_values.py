"""What streams give TensorFlow is what was stored, or is refused by the name of its column."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hops_magic.errors import UsageError
from hops_magic.features.rules import Rule
from hops_magic.features.streaming import StreamedRows

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
KINDS = {
    "int8": (pa.int8(), lambda rng: int(rng.integers(-128, 128)), int),
    "int64": (pa.int64(), lambda rng: int(rng.integers(-(2**63), 2**63 - 1)), int),
    "float": (pa.float64(), lambda rng: float(rng.normal()), float),
    "bool": (pa.bool_(), lambda rng: bool(rng.integers(2)), bool),
    "text": (pa.string(), lambda rng: str(rng.choice(["", "a", "\u00e4"])), str.encode),
    "bytes": (pa.binary(), lambda rng: rng.bytes(3), bytes),
    "time": (
        pa.timestamp("us", tz="UTC"),
        lambda rng: EPOCH + datetime.timedelta(microseconds=int(rng.integers(-(2**50), 2**50))),
        lambda moment: (moment - EPOCH) // datetime.timedelta(microseconds=1),
    ),
    "date": (
        pa.date32(),
        lambda rng: EPOCH.date() + datetime.timedelta(days=int(rng.integers(-9_000, 9_000))),
        lambda day: (day - EPOCH.date()).days,
    ),
    "decimal": (pa.decimal128(9, 2), lambda rng: decimal.Decimal(int(rng.integers(0, 10**6))) / 100, float),
    "list": (pa.list_(pa.float32()), lambda rng: [float(x) for x in rng.integers(0, 9, 3)], list),
    "flags": (pa.list_(pa.bool_()), lambda rng: [bool(x) for x in rng.integers(0, 2, 2)], list),
    "fixed": (pa.list_(pa.int64(), 2), lambda rng: [int(x) for x in rng.integers(0, 9, 2)], list),
}
HAVE_NAN = ("float", "decimal")


def streamed(tmp_path, table, row_group_size=3):
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=row_group_size)
    return StreamedRows.of([str(tmp_path / "part.parquet")])


@pytest.mark.parametrize("kind", KINDS)
def test_random_values_come_as_they_are_or_are_refused(tmp_path, kind):
    arrow, draw, told = KINDS[kind]
    for seed in range(9):
        rng = np.random.default_rng(seed)
        values = [None if seed % 3 == 0 and rng.random() < 0.3 else draw(rng) for _ in range(int(rng.integers(1, 12)))]
        rows = streamed(tmp_path, pa.table({"v": pa.array(values, arrow), "x": [1.0] * len(values)}))
        wanted = {"columns": ["v"], "as_dict": True} if seed % 2 else {"label": "v", "columns": ["x"]}
        if None in values and kind not in HAVE_NAN:
            # every rank refuses, also one whose own rows have no nulls
            for part in (rows, rows.of_rank(0, 2), rows.of_rank(1, 2)):
                with pytest.raises(UsageError, match=r"column v \(.*\) has \d+ nulls?, .* fill them"):
                    part.dataset(4, **wanted)
            continue
        batches = [batch["v"] if seed % 2 else batch[1] for batch in rows.dataset(4, **wanted)]
        seen = np.concatenate([batch.numpy() for batch in batches]).tolist()
        expected = [float("nan") if value is None else told(value) for value in values]
        np.testing.assert_equal(seen, expected)


def test_lists_of_different_lengths_and_nulls_in_lists_are_refused(tmp_path):
    rows = streamed(tmp_path, pa.table({"v": pa.array([[1.0], [1.0, 2.0]]), "w": pa.array([[1], [None]])}))
    with pytest.raises(UsageError, match=r"column v holds lists of different lengths \(1 and 2 among them\): pad them"):
        rows.dataset(2, columns=["v"], as_dict=True)
    with pytest.raises(UsageError, match="column w has nulls in its lists of int64: fill them"):
        rows.dataset(2, columns=["w"], as_dict=True)
    with pytest.raises(UsageError, match="column t holds lists of string"):
        streamed(tmp_path, pa.table({"t": pa.array([["a"]])})).dataset(2, as_dict=True)
    with pytest.raises(UsageError, match="column s is of type struct"):
        streamed(tmp_path, pa.table({"s": pa.array([{"a": 1}])})).dataset(2, as_dict=True)


def test_nulls_in_one_tensor_are_nan_and_never_whole_numbers(tmp_path):
    rows = streamed(tmp_path, pa.table({"n": [1, None], "b": [None, True]}))
    np.testing.assert_equal(next(iter(rows.dataset(2))).numpy().tolist(), [[1, float("nan")], [float("nan"), 1]])
    with pytest.raises(UsageError, match="column n has nulls, which dtype='int64' cannot hold: fill them"):
        rows.dataset(2, dtype="int64")


def test_columns_of_a_unique_rule_may_be_a_list():
    assert Rule.unique(["a", "b"]) == Rule.unique("a", "b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": ["a"], "label": "a"}, "no column is left for the features"),
        ({"columns": []}, "no column is left for the features"),
        ({"columns": ["a", "a"]}, "columns must name each column once, got 'a' twice"),
        ({"batch_size": 1.5}, "batch_size must be a whole number, got 1.5"),
        ({"batch_size": "2"}, "batch_size must be a whole number, got '2'"),
    ],
)
def test_what_makes_no_batch_is_refused_in_a_sentence(tmp_path, options, said):
    table = pa.table({"a": [1.0, 2.0], "age": [3.0, 4.0]})
    rows = streamed(tmp_path, table)
    with pytest.raises(UsageError, match=said):
        rows.dataset(**({"batch_size": 2} | options))
    (batch,) = rows.dataset(2, columns="age")
    assert batch.numpy().tolist() == [[3.0], [4.0]]
