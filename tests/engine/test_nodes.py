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
