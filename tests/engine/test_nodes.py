"""A cluster over several nodes: workers that share no folder, with TLS. Data and ranks cross between them."""

import asyncio
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_until
from watching import job_of

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine.cluster import Clusters
from hops_magic.engine.job import RankSpec
from hops_magic.engine.journal import Journal
from hops_magic.engine.rank import warn_without_common_home
from hops_magic.engine.submit import cluster_state
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.states import RunState
from hops_magic.training import Surroundings, collect, follow, prepare, start


@pytest.fixture(scope="module")
def two_nodes(home):
    """Two workers with folders of their own: to us, two machines."""
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.security import Security

    security = Security.temporary()
    with tempfile.TemporaryDirectory(prefix="hops-nodes-") as folder:
        nodes = [Path(folder) / name / "work" for name in "ab"]
        for node in nodes:
            node.mkdir(parents=True)
        shared = {"security": security, "protocol": "tls", "host": "127.0.0.1"}
        workers = {
            number: {
                "cls": Nanny,
                "options": {**shared, "nthreads": 1, "local_directory": str(node), "memory_limit": 0, "dashboard": False},
            }
            for number, node in enumerate(nodes)
        }
        scheduler = {"cls": Scheduler, "options": {**shared, "port": 0, "dashboard": False}}
        with SpecCluster(scheduler=scheduler, workers=workers, security=security) as cluster:
            clusters = Clusters()
            clusters.use(cluster)
            yield clusters.current(start=False)


def test_ranks_on_two_nodes_train_on_data_that_one_node_got(two_nodes, tmp_path):
    nodes = cluster_state(two_nodes.client)["nodes"]
    assert len({node["host"] for node in nodes.values()}) == 2
    data = np.random.default_rng(0).normal(size=400_000)
    namespace = {"data": data}
    source = """
import hops_magic as hops
part = hops.shard(data)
total = hops.all_reduce(part.sum())
large = hops.all_reduce(data)
"""
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
    options = DistributedOptions(workers=2, framework="none")
    handle = start(two_nodes, prepare(source, namespace, options, surroundings))
    trained = collect(handle, namespace, follow(handle))
    assert trained.run.state is RunState.DONE
    assert len({view.worker for view in trained.run.ranks.values()}) == 2
    assert namespace["total"] == pytest.approx(data.sum())
    np.testing.assert_allclose(namespace["large"], 2 * data)
    # nothing of the run is left on either node
    for node in nodes.values():
        assert not list(Path(node["node_dir"]).iterdir())
    assert os.environ["HOPS_HOME"]


PENALIZED = """
import keras
import tensorflow as tf

keras.config.set_floatx("float64")

class Penalized(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(x)
                predicted = self(x, training=True)
            slopes = inner.gradient(predicted, x)
            length = tf.sqrt(tf.reduce_sum(tf.square(slopes), axis=1))
            loss = tf.reduce_mean(tf.square(y - predicted)) + 0.5 * tf.reduce_mean(tf.square(length - 1.0))
        gradients, norm = tf.clip_by_global_norm(tape.gradient(loss, self.trainable_variables), 0.7)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {"loss": loss, "norm": norm}

rows = keras.Input((3,))
hidden = keras.layers.Dense(4, activation="tanh", use_bias=False)(rows)
model = Penalized(rows, keras.layers.Dense(1, use_bias=False)(hidden))
model.compile(keras.optimizers.SGD(0.3))
begun = [weight.numpy() for weight in model.weights]
model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
ended = [weight.numpy() for weight in model.weights]
"""


def penalized_by_hand(weights, x, y):
    def loss(weights):
        hidden = np.tanh(x @ weights[0])
        slopes = ((1 - hidden**2) * weights[1][:, 0]) @ weights[0].T
        return np.mean((y - hidden @ weights[1]) ** 2) + 0.5 * np.mean((np.linalg.norm(slopes, axis=1) - 1) ** 2)

    def slope(place, index, step=1e-5):
        sides = [[each.copy() for each in weights] for _ in range(2)]
        sides[0][place][index] += step
        sides[1][place][index] -= step
        return (loss(sides[0]) - loss(sides[1])) / (2 * step)

    gradients = [np.zeros_like(each) for each in weights]
    for place, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            gradient[index] = slope(place, index)
    scale = min(1.0, 0.7 / np.sqrt(sum(np.sum(gradient**2) for gradient in gradients)))
    return [weight - 0.3 * scale * gradient for weight, gradient in zip(weights, gradients, strict=True)]


def test_a_whole_fit_over_two_nodes_clips_and_penalizes_as_one_process(two_nodes, tmp_path):
    rng = np.random.default_rng(2)
    namespace = {"X": rng.normal(size=(13, 3)), "Y": rng.normal(size=(13, 1))}
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
    handle = start(two_nodes, prepare(PENALIZED, namespace, DistributedOptions(workers=2), surroundings))
    trained = collect(handle, namespace, follow(handle))
    assert trained.run.state is RunState.DONE
    assert len({view.worker for view in trained.run.ranks.values()}) == 2
    expected = namespace["begun"]
    for _ in range(2):
        for first in range(0, 13, 5):
            expected = penalized_by_hand(expected, *(namespace[name][first : first + 5] for name in "XY"))
    for mine, theirs in zip(expected, namespace["ended"], strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-6, atol=1e-8)
    assert not trained.run.warnings


FITS = """
import time
import keras
import numpy as np
import tensorflow as tf
keras.config.set_floatx("float64")
keras.utils.set_random_seed(3)
draws = np.random.default_rng(3)
x, y = draws.normal(size=(70, 6)), draws.integers(0, 2, 70)
wait = time.sleep

def fitted(*args, **given):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)])
    model.set_weights([np.full(each.shape, 0.1) * np.arange(1, each.shape[-1] + 1) for each in model.weights])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(*args, epochs=2, verbose=0, **given)
    return np.concatenate([each.numpy().ravel() for each in model.weights])

def batches():
    own = np.random.default_rng(4)
    while True:
        rows = own.permutation(70)[:15]
        yield x[rows], y[rows]

def heavy(a, b):
    for _ in range(60):
        a = tf.linalg.matvec(tf.linalg.inv(tf.eye(6, dtype=tf.float64) + 0.01 * tf.linalg.diag(a)), a)
    return a, b

class Slow(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        wait(0.01)
        return x[index * 14 : index * 14 + 14], y[index * 14 : index * 14 + 14]

trained = {
    "arrays": fitted(x, y, batch_size=16),
    "deal": fitted(batches(), steps_per_epoch=4),
    "push": fitted(tf.data.Dataset.from_tensor_slices((x, y)).shuffle(32, seed=1).map(heavy).batch(16)),
    "alternate": fitted(Slow()),
}
"""


@pytest.mark.timeout(900)  # two machines' worth of TensorFlow
def test_a_fit_over_two_nodes_is_that_of_one_process_whichever_way_its_rows_take(two_nodes, tmp_path):
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
    trained = {}
    for workers in (1, 2):
        namespace = {}
        options = DistributedOptions(workers=workers, threads_per_rank=1, out=("trained",))
        handle = start(two_nodes, prepare(FITS, namespace, options, surroundings))
        ended = collect(handle, namespace, follow(handle))
        assert ended.run.state is RunState.DONE
        trained[workers] = namespace["trained"]
    assert len({view.worker for view in ended.run.ranks.values()}) == 2
    assert {way for _, way in ended.run.inputs} == set(trained[2])
    for way, weights in trained[2].items():
        np.testing.assert_allclose(weights, trained[1][way], rtol=1e-10, err_msg=way)


def test_a_stop_does_not_wait_for_data_on_their_way(two_nodes, tmp_path):
    def keep_waiting(dask_worker):
        async def never(**asked):
            (Path(dask_worker.local_directory) / "asked").touch()
            await asyncio.sleep(3600)

        usual, dask_worker.handlers["hops_buffer"] = dask_worker.handlers["hops_buffer"], never
        dask_worker.handlers["usual"] = usual

    def answer_again(dask_worker):
        dask_worker.handlers["hops_buffer"] = dask_worker.handlers.pop("usual")

    nodes = cluster_state(two_nodes.client)["nodes"]
    folders = [Path(folder) for folder in two_nodes.client.run(lambda dask_worker: dask_worker.local_directory).values()]
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
    options = DistributedOptions(workers=2, framework="none")
    namespace = {"data": np.arange(400_000.0)}
    two_nodes.client.run(keep_waiting)
    try:
        handle = start(two_nodes, prepare("data[0]", namespace, options, surroundings))
        wait_until(lambda: any((folder / "asked").exists() for folder in folders), "the question for the data")
        handle.stop()
        ended = follow(handle)
    finally:
        two_nodes.client.run(answer_again)
    assert ended.state is RunState.STOPPED
    for node in nodes.values():
        assert not list(Path(node["node_dir"]).iterdir())


def test_ranks_that_do_not_see_the_folder_of_their_run_say_what_that_means(tmp_path):
    prepared = prepare("1", {}, DistributedOptions(framework="none"), Surroundings(origin=CellOrigin(label="In[1]")))
    job = job_of(prepared, "r")
    spec = RankSpec(
        job=job, attempt=0, rank=1, threads=1, gpus=(), addresses=(), token=b"", buffer_dir="", run_dir=str(tmp_path / "run")
    )
    said = []
    warn_without_common_home(spec, said.append)
    assert "no HOPS_HOME in common: checkpoints and the model stay where rank 0 runs" in said[0].message
    # the supervisor's journal lies there: a common disk
    Journal(tmp_path / "run").close()
    warn_without_common_home(spec, said.append)
    assert len(said) == 1
