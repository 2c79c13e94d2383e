"""A real Dask cluster with worker processes, and ways to run small programs on it."""

import os

import pytest
from clusters import worker_processes

from hops_magic.cells.capture import CellOrigin
from hops_magic.runs.options import DistributedOptions
from hops_magic.training import Surroundings, collect, follow, prepare, start


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    os.environ["HOPS_HOME"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def own_home(home, monkeypatch):
    """Tests of another folder that run in the same process have another home."""
    monkeypatch.setenv("HOPS_HOME", str(home))


@pytest.fixture(scope="session")
def dask_cluster(home, tmp_path_factory):
    with worker_processes(4, home, tmp_path_factory.mktemp("scratch")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster(dask_cluster):
    from hops_magic.engine.cluster import Clusters

    clusters = Clusters()
    clusters.use(dask_cluster)
    return clusters.current(start=False)


@pytest.fixture
def launch(cluster, tmp_path):
    """Start a cell's source; returns the handle of its run."""

    def launch(source, namespace=None, *, recorder=None, before=None, **options):
        options.setdefault("framework", "none")
        surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
        prepared = prepare(source, namespace if namespace is not None else {}, DistributedOptions(**options), surroundings)
        if before is not None:
            before(prepared.run_id)
        return start(cluster, prepared, recorder)

    return launch


@pytest.fixture
def run_cell(launch):
    """Run a cell's source to its end, its values come back into the namespace."""

    def run_cell(source, namespace=None, **options):
        namespace = {} if namespace is None else namespace
        handle = launch(source, namespace, **options)
        return collect(handle, namespace, follow(handle))

    return run_cell
