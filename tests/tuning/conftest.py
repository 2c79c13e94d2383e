"""A real Dask cluster of three workers, a real registry, and ways to tune small cells on them."""

import os

import pytest
from clusters import worker_processes
from studying import ranks_of
from waiting import wait_until

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine.submit import cluster_state
from hops_magic.session import Session
from hops_magic.settings import Settings
from hops_magic.training import Surroundings
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.preparing import prepare_study
from hops_magic.tuning.space import Space


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning-home")
    os.environ["HOPS_HOME"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def own_home(home, monkeypatch):
    """Tests of another folder that run in the same process have another home."""
    monkeypatch.setenv("HOPS_HOME", str(home))


@pytest.fixture(scope="session")
def dask_cluster(home, tmp_path_factory):
    with worker_processes(3, home, tmp_path_factory.mktemp("tuning-scratch")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session(dask_cluster, home):
    made = Session(Settings.from_environment())
    made.clusters.use(dask_cluster)
    return made


@pytest.fixture
def begin(session, tmp_path):
    """Start a study of a cell's source and return its handle."""

    def begin(source, space, namespace=None, *, search=None, stop=None, **options):
        options.setdefault("minimize", "loss")
        options.setdefault("framework", "none")
        options.setdefault("seed", 1)
        for name, value in (("search", search), ("stop", stop)):
            if isinstance(value, str):
                options[name] = value
        surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
        prepared = prepare_study(
            source,
            {} if namespace is None else namespace,
            Space.of(space),
            TuneOptions(**options, detach=True),
            surroundings,
            search=None if isinstance(search, str) else search,
            stop=None if isinstance(stop, str) else stop,
        )
        return session.run_study(prepared, {})

    return begin


@pytest.fixture
def tune(session, begin):
    """Run a study to its end; ``best`` and ``study`` come back into the namespace."""

    def tune(source, space, namespace=None, **options):
        namespace = {} if namespace is None else namespace
        handle = begin(source, space, namespace, **options)
        return session.watch_study(handle, namespace, space=Space.of(space), show=False)

    return tune


@pytest.fixture
def nothing_is_left(session):
    """After the test, workers are back, and neither slots nor ranks are held."""
    yield
    client = session.clusters.current().client
    wait_until(lambda: len(cluster_state(client)["slots"]) == 3, "the workers' return")
    wait_until(lambda: not cluster_state(client)["held"] and not cluster_state(client)["queue"], "the slots' release")
    wait_until(lambda: not ranks_of(session), "the end of every rank")
