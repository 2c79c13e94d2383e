"""Rows in files as a DataFrame of Dask: every partition has the types of the whole, and the values that were stored."""

import datetime
import decimal

import dask
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from plain_values import UTC, plain, quick

from hops_magic.errors import UsageError
from hops_magic.features.streaming import StreamedRows, write_parts

BIG = 2**53
VALUES = {
    "whole": (pa.int64(), [BIG + 1, -BIG - 1, 0]),
    "small": (pa.int8(), [-128, 127]),
    "flag": (pa.bool_(), [True, False]),
    "float": (pa.float64(), [0.5, -1.0]),
    "text": (pa.string(), ["", "a", "None"]),
    "time": (pa.timestamp("us", "UTC"), [datetime.datetime(1, 1, 1, tzinfo=UTC), datetime.datetime(2024, 1, 2, tzinfo=UTC)]),
    "day": (pa.date32(), [datetime.date(1, 1, 1), datetime.date(2024, 1, 2)]),
    "decimal": (pa.decimal128(9, 2), [decimal.Decimal("1.50"), decimal.Decimal("-0.01")]),
    "bytes": (pa.binary(), [b"", b"a"]),
    "list": (pa.list_(pa.int64()), [[BIG + 1, None], [], [1]]),
    "struct": (pa.struct([("a", pa.int64())]), [{"a": BIG + 1}, {"a": None}]),
}


@given(
    kinds=st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True),
    size=st.integers(0, 4),
    data=st.data(),
)
@profile(quick, max_examples=60)
def test_partitions_have_the_types_of_the_whole(tmp_path_factory, kinds, size, data):
    drawn = {kind: [data.draw(st.none() | st.sampled_from(VALUES[kind][1])) for _ in range(size)] for kind in kinds}
    table = pa.table({kind: pa.array(values, VALUES[kind][0]) for kind, values in drawn.items()})
    folder = tmp_path_factory.mktemp("parts")
    names = write_parts(table.to_reader(), folder, rows_per_file=data.draw(st.integers(1, 2)))
    frame = StreamedRows.of([str(folder / name) for name in names]).to_dask()
    parts = dask.compute(*frame.to_delayed(), scheduler="synchronous")
    for part in parts:
        assert dict(part.dtypes) == dict(frame.dtypes)
    for kind, values in drawn.items():
        assert [plain(value) for part in parts for value in part[kind]] == values
    some = frame[kinds[-1:]].compute(scheduler="synchronous")
    assert list(some.columns) == kinds[-1:]
    assert len(some) == size


def test_no_part_of_a_rank_is_taken_for_the_whole(tmp_path):
    names = write_parts(pa.table({"x": [1, 2, 3, 4]}).to_reader(), tmp_path)
    rows = StreamedRows.of([str(tmp_path / name) for name in names])
    assert len(rows.to_dask()) == 4
    for rank in (0, 1):
        with pytest.raises(UsageError, match="a rank's part has no Dask DataFrame: take it of all rows"):
            rows.of_rank(rank, 2).to_dask()
