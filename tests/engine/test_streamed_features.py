"""Rows that stream from the feature store into runs: each rank reads its own, or all ranks the same global batches."""

import numpy as np
import pytest

from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings

ROWS = 200_003


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path_factory.mktemp("store"))}))
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    store.save({"id": np.arange(ROWS), "x": x, "y": 3 * x + 1}, "points", key="id", statistics=False)
    return store.get("id", "x", "y", form="tf")


def test_ranks_share_the_rows_among_them(run_cell, rows):
    namespace = {"rows": rows}
    source = """
import hops_magic as hops
mine = hops.shard(rows)
ids = [int(each) for block in mine.blocks(["id"]) for each in (block.column("id")[0], block.column("id")[-1])]
parts = hops.gather((len(mine), ids[0], ids[-1]))
"""
    run_cell(source, namespace, workers=3)
    assert namespace["parts"] == [(66_667, 0, 66_666), (66_668, 66_667, 133_334), (66_668, 133_335, 200_002)]


def test_a_stream_trains_a_model_on_two_ranks_as_on_one(run_cell, rows):
    source = """
import keras
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.1), "mse")
batches = rows.dataset(4_096, label="y", columns=["x"], shuffle=True, seed=5)
history = model.fit(batches, epochs=2, verbose=0)
weights = model.get_weights()
"""
    trained = []
    for workers in (1, 2):
        namespace = {"rows": rows}
        run_cell(source, namespace, workers=workers, framework="keras")
        trained.append(namespace["weights"])
    np.testing.assert_allclose(np.ravel(trained[0][0]), np.ravel(trained[1][0]), rtol=1e-5)
    np.testing.assert_allclose(trained[0][1], trained[1][1], rtol=1e-5)
    assert abs(float(np.ravel(trained[1][0])[0]) - 3) < 0.1


def test_a_script_records_what_it_has_read(cluster, home):
    from hops_magic import features
    from hops_magic.session import Session
    from hops_magic.settings import Settings

    features.default_store.cache_clear()
    features.save({"id": [1, 2], "v": [3.0, 4.0]}, "script_rows", key="id", statistics=False)
    namespace = {"df": features.get("v")}
    session = Session(Settings.from_environment())
    options = {"workers": 1, "framework": "none", "name": "summed", "show": False}
    session.train("total = float(df['v'].sum())", cluster=cluster, namespace=namespace, **options)
    assert namespace["total"] == 7
    (read,) = session.registry.run("summed").inputs
    assert (read.full_name, read.commit, read.features) == ("script_rows@1", 0, ("v",))
    assert [use.name.split()[0] for use in session.uses_of("script_rows.v")] == ["summed"]
