"""Answers in files: the same question is answered once, rows come in order, and only a block of them is in memory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hops_magic.errors import UsageError
from hops_magic.features.streaming import write_parts

MEASURE = """
import resource, sys
from hops_magic.features.streaming import StreamedRows
rows = StreamedRows.of(sys.argv[1:])
sum_ = 0
for number, block in enumerate(rows.blocks()):
    sum_ += block.num_rows
    if number == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum_, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
ROWS = 300_001


@pytest.fixture
def points(store):
    rng = np.random.default_rng(0)
    order = rng.permutation(ROWS)
    store.save(
        {"id": order, "x": order * 2.0, "kind": np.where(order % 2, "odd", "even")}, "points", key="id", statistics=False
    )
    return store


def test_rows_come_in_the_order_of_their_key(points):
    rows = points.get("id", "x", form="tf")
    ids = np.concatenate([block.column("id").to_numpy() for block in rows.blocks()])
    assert (ids == np.arange(ROWS)).all()
    assert rows.to_arrow().schema.names == ["id", "x"]


def test_the_same_question_is_answered_once_and_forgotten_after_a_week(points, settings):
    first = points.get("x", form="tf")
    assert points.get("x", form="tf").files == first.files
    other = points.get("id", form="tf")
    assert other.files != first.files
    week = time.time() - 8 * 86_400
    folder = Path(first.files[0]).parent
    os.utime(folder, (week, week))
    points.get("id", form="tf")
    assert not folder.exists()
    points.save({"id": [0], "x": [9.0], "kind": ["odd"]}, "points", statistics=False)
    assert points.get("id", form="tf").files != other.files


def test_a_spine_that_can_be_read_once_only_is_read_once(points):
    spine = pa.table({"id": [5, 3]})
    rows = points.get("x", spine=spine.to_reader(), form="tf")
    assert rows.to_arrow().to_pydict() == {"id": [5, 3], "x": [10.0, 6.0]}
    other = points.get("x", spine=pa.table({"id": [5, 4]}).to_reader(), form="tf")
    assert other.to_arrow()["x"].to_pylist() == [10.0, 8.0]


def test_parts_hold_every_row_once(points):
    rows = points.get("id", form="tf")
    parts = [rows.of_rank(rank, 7) for rank in range(7)]
    ids = [np.concatenate([block.column("id").to_numpy() for block in part.blocks()]) for part in parts]
    assert [len(each) for each in ids] == [len(part) for part in parts]
    assert (np.concatenate(ids) == np.arange(ROWS)).all()
    again = parts[3].of_rank(1, 2)
    assert next(again.blocks()).column("id")[0].as_py() == ids[3][len(ids[3]) // 2]


def test_a_mixed_epoch_has_every_row_once_and_differs_from_the_next(points):
    batches = points.get("id", form="tf").dataset(1_000, shuffle=True, seed=3)
    epochs = [np.concatenate([batch.numpy().ravel() for batch in batches]) for _ in range(2)]
    for epoch in epochs:
        assert (np.sort(epoch) == np.arange(ROWS)).all()
        assert (epoch[:1_000] != np.arange(1_000)).any()
    assert (epochs[0] != epochs[1]).any()
    # rows from all over come early: they lie in three row groups, of which the last is the first to be read
    assert np.ptp(epochs[0][:150_000]) > 250_000
    again = points.get("id", form="tf").dataset(1_000, shuffle=True, seed=3)
    assert (np.concatenate([batch.numpy().ravel() for batch in again]) == epochs[0]).all()


def test_columns_of_other_types_come_as_a_dictionary(points):
    rows = points.get("id", "kind", "x", form="tf")
    features, label = next(iter(rows.dataset(4, label="x", as_dict=True)))
    assert features["kind"].numpy().tolist() == [b"even", b"odd", b"even", b"odd"]
    assert label.numpy().tolist() == [0.0, 2.0, 4.0, 6.0]
    with pytest.raises(UsageError, match="column kind is of type string, not a number: leave it out, encode it"):
        rows.dataset(4)
    with pytest.raises(UsageError, match="label 'y' is no column: they are id, kind, x"):
        rows.dataset(4, label="y")


def test_only_a_block_is_in_memory(tmp_path):
    import pyarrow.parquet as pq

    values = np.random.default_rng(0).normal(size=1_000_000)
    table = pa.table({f"x{number}": values for number in range(40)})
    file = tmp_path / "big.parquet"
    pq.write_table(table, file, row_group_size=122_880)
    assert table.nbytes > 300 * 2**20
    done = subprocess.run([sys.executable, "-c", MEASURE, str(file)], capture_output=True, text=True, check=True)
    count, grown_mib = done.stdout.split()
    assert int(count) == 1_000_000
    assert float(grown_mib) < 120


def test_wide_rows_are_written_in_smaller_groups_and_always_in_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("hops_magic.features.streaming._GROUP_BYTES", 400_000)
    wide = pa.table({f"x{number}": np.arange(10_000.0) + number for number in range(10)})
    names = {}
    for batch, place in ((10_000, "whole"), (777, "parts")):
        folder = tmp_path / place
        folder.mkdir()
        names[place] = write_parts(wide.to_reader(max_chunksize=batch), folder, rows_per_file=6_000)
    assert names["whole"] == names["parts"] == ["part-00000.parquet", "part-00001.parquet"]
    for name in names["whole"]:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    first = pq.ParquetFile(tmp_path / "whole" / names["whole"][0])
    assert [first.metadata.row_group(at).num_rows for at in range(first.num_row_groups)] == [5_000, 1_000]
    assert pq.read_table(tmp_path / "whole").equals(wide)
    write_parts(wide.select(["x0"]).to_reader(), tmp_path)
    assert pq.ParquetFile(tmp_path / "part-00000.parquet").num_row_groups == 1
