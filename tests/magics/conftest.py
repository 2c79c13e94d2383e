"""A kernel with a home and an embedded cluster of its own."""

import os

import pytest
from kernels import Kernel


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """A home, a runtime folder and a notebook's folder of the tests' own."""
    root = tmp_path_factory.mktemp("magics")
    places = {name: root / name for name in ("home", "runtime", "work")}
    for folder in places.values():
        folder.mkdir(mode=0o700)
    return places


@pytest.fixture(scope="session")
def env(places):
    return {
        **os.environ,
        "HOPS_HOME": str(places["home"]),
        "JUPYTER_RUNTIME_DIR": str(places["runtime"]),
        "HOPS_VIEW": "stream",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


@pytest.fixture(scope="session")
def kernel(env, places):
    kernel = Kernel(env, places["work"])
    loaded = kernel.run("%load_ext hops_magic\nimport hops_magic as hops")
    assert not loaded.error, loaded.error
    started = kernel.run("%cluster start -n 2 --threads 1")
    assert not started.error, started.error
    yield kernel
    kernel.run("%cluster stop --force")
    kernel.close()
