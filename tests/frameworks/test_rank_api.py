"""What a cell calls through ``hops``, inside a run and outside of one."""

import collections
import os
import subprocess
import sys

import dask
import numpy as np
import pytest
from ringing import on_ring

import hops_magic as hops
from hops_magic.errors import UsageError
from hops_magic.frameworks.context import RankContext, enter
from hops_magic.runs.events import Metrics


def in_run(ring, events=None, folder=None):
    """Make this process a rank."""
    enter(
        RankContext(
            run_id="r",
            rank=ring.rank,
            world_size=ring.world_size,
            attempt=0,
            seed=0,
            threads=1,
            gpus=(),
            strategy="none",
            batch="global",
            checkpoint_dir=folder,
            scratch_dir=folder,
            checkpoint_s=None,
            collective=ring,
            emit=(events if events is not None else []).append,
            stop_requested=lambda: False,
        )
    )


def test_outside_a_run_there_is_one_rank():
    assert (hops.rank, hops.world_size, hops.should_stop()) == (0, 1, False)
    assert hops.all_reduce({"a": 2, "b": [1.5, np.ones(2)]})["a"] == 2
    assert hops.gather("x") == ["x"]
    assert hops.broadcast("x") == "x"
    assert hops.shard([1, 2, 3]) == [1, 2, 3]
    hops.barrier()
    hops.report(loss=1.0)
    with pytest.raises(UsageError, match="only inside a run"):
        hops.checkpoint_dir  # noqa: B018 (asking is the test)


def test_values_keep_their_kind(tmp_path):
    def body(ring):
        in_run(ring)
        reduced = hops.all_reduce({"int": 2, "float": 0.5, "array": np.arange(3), "list": [1, (2.0,)]})
        mean = hops.all_reduce(ring.rank, "mean")
        return {**reduced, "array": reduced["array"].tolist()}, mean, type(reduced["int"]).__name__

    expected = ({"int": 4, "float": 1.0, "array": [0, 2, 4], "list": [2, (4.0,)]}, 0.5, "int")
    assert on_ring(2, body, tmp_path) == [expected, expected]


def test_what_is_built_of_values_comes_back_built_alike(tmp_path):
    Pair = collections.namedtuple("Pair", "x y")

    def body(ring):
        in_run(ring)
        names = ["b", "a"] if ring.rank else ["a", "b"]  # another order of the same names
        found = hops.all_reduce({"flag": True, "half": np.float32(1.5), "pair": Pair(1, np.ones((2, 2)))})
        return (
            hops.all_reduce({name: {"a": 1.0, "b": 2.0}[name] for name in names}),
            found["flag"],
            type(found["half"]).__name__,
            type(found["pair"]).__name__,
            found["pair"].y.tolist(),
            hops.all_reduce([]),
            hops.all_reduce(ring.rank == 1, "max"),
        )

    expected = ({"a": 2.0, "b": 4.0}, 2, "float32", "Pair", [[2.0, 2.0], [2.0, 2.0]], [], True)
    assert on_ring(2, body, tmp_path) == [expected, expected]


@pytest.mark.parametrize("pair", [({"a": 1}, {"b": 1}), (np.ones((2, 3)), np.ones((3, 2))), (1, 1.0), ([1, 2], [1])])
def test_values_that_differ_in_names_shapes_or_kinds_are_refused_on_all_ranks(pair, tmp_path):
    def body(ring):
        in_run(ring)
        return hops.all_reduce(pair[ring.rank])

    for answer in on_ring(2, body, tmp_path):
        assert "CollectiveError: ranks do not call the same collectives" in answer


def test_tensors_come_back_as_tensors():
    code = """
import numpy as np, tensorflow as tf, hops_magic as hops
found = hops.all_reduce({"loss": tf.constant(2.0), "w": tf.Variable([1.0])})
assert tf.is_tensor(found["loss"]) and tf.is_tensor(found["w"]), found
assert sum(int(x) for x in hops.shard(tf.data.Dataset.range(4))) == 6
hops.report(loss=tf.constant(1.0))
try:
    tf.function(lambda x: hops.all_reduce(x))(tf.constant(1.0))
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert "outside of a tf.function" in done.stdout, done.stderr


def test_every_row_is_in_one_part(tmp_path):
    import pandas as pd

    rows = list(range(10))

    def body(ring):
        in_run(ring)
        parts = [hops.shard(rows), hops.shard(np.array(rows)).tolist(), hops.shard(pd.DataFrame({"x": rows}))["x"].tolist()]
        left, right = hops.shard((rows, np.array(rows)))
        assert left == right.tolist()
        return parts, hops.shard({"a": rows})["a"]

    found = on_ring(3, body, tmp_path)
    for number in range(3):
        assert [row for parts, _ in found for row in parts[number]] == rows
    assert [row for _, part in found for row in part] == rows
    assert {len(parts[0]) for parts, _ in found} == {3, 4}


def test_dask_collections_give_each_rank_its_partitions(tmp_path):
    import dask.array as da
    import dask.bag as db
    import dask.dataframe as dd
    import pandas as pd

    frame = dd.from_pandas(pd.DataFrame({"x": range(40)}), npartitions=5)
    array = da.arange(40, chunks=10)
    bag = db.from_sequence(range(40), npartitions=4)

    def body(ring):
        in_run(ring)
        return hops.shard(frame)["x"].tolist(), hops.shard(array).tolist(), list(hops.shard(bag))

    found = on_ring(2, body, tmp_path)
    for number in range(3):
        assert sorted(row for parts in found for row in parts[number]) == list(range(40))
        assert all(parts[number] for parts in found)


def test_more_ranks_than_partitions_leave_some_with_nothing(tmp_path):
    import dask.array as da
    import dask.dataframe as dd
    import pandas as pd

    frame = dd.from_pandas(pd.DataFrame({"x": range(4)}), npartitions=1)
    array = da.ones((4, 3), chunks=(4, 3))

    def body(ring):
        in_run(ring)
        return len(hops.shard(frame)), hops.shard(array).shape

    assert on_ring(2, body, tmp_path) == [(4, (4, 3)), (0, (0, 3))]


def test_reports_become_metrics(tmp_path):
    def body(ring):
        events = []
        in_run(ring, events)
        hops.report(step=3, loss=np.float32(0.5))
        hops.report(loss=1)
        with pytest.raises(UsageError, match="loss must be a number, got 'bad'"):
            hops.report(loss="bad")
        return events

    (events, _) = on_ring(2, body, tmp_path)
    assert events[0] == Metrics(rank=0, step=3, scope="user", values={"loss": 0.5})
    assert events[1].values == {"loss": 1.0}


def test_a_wrong_operation_or_root_is_refused():
    with pytest.raises(UsageError, match="must be one of sum"):
        hops.all_reduce(1, "product")
    with pytest.raises(UsageError, match="root must be a rank below 1"):
        hops.broadcast(1, root=3)
    with pytest.raises(UsageError, match="needs data with a length"):
        hops.shard(iter([1]))
    with pytest.raises(UsageError, match=r"not Delayed.*: compute it first"):
        hops.shard(dask.delayed(1))
    with pytest.raises(UsageError, match=r"all_reduce\['a'\] must be a number or an array of numbers, got str"):
        hops.all_reduce({"a": "text"})
    with pytest.raises(UsageError, match="step must be a number"):
        hops.report("first", loss=1)
    with pytest.raises(UsageError, match=r"loss must be a number, got '0\.5'"):
        hops.report(loss="0.5")


def test_importing_hops_imports_nothing_heavy():
    code = (
        "import sys, hops_magic; print([m for m in ('numpy', 'distributed', 'tensorflow', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_the_extension_imports_no_framework():
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; s = InteractiveShell.instance();"
        "s.run_line_magic('load_ext', 'hops_magic');"
        "print([m for m in ('distributed', 'tensorflow', 'mlflow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_rank_knows_its_place_in_threads_that_libraries_start():
    code = """
import threading, types, hops_magic as hops
from hops_magic.frameworks.context import enter_process
enter_process(types.SimpleNamespace(rank=1, world_size=2, splits=[]))
found = []
thread = threading.Thread(target=lambda: found.extend([hops.rank, hops.shard([1, 2])]))
thread.start()
thread.join()
assert found == [1, [2]], found
"""
    subprocess.run([sys.executable, "-c", code], check=True)
