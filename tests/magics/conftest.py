"""A kernel with a home and an embedded cluster of its own; a shell in this process for magics that need neither."""

import os
from types import ModuleType

import pytest
from feature_shell import run, with_magic
from IPython.core.interactiveshell import InteractiveShell
from kernels import Kernel
from traitlets.config import Config


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


@pytest.fixture(scope="session")
def ipython():
    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell(config=config, user_module=ModuleType("notebook"))


@pytest.fixture
def shell(ipython, tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return with_magic(ipython, tmp_path)


@pytest.fixture(scope="session")
def filled_home(ipython, tmp_path_factory):
    """A store with groups, for tests that only read."""
    home = tmp_path_factory.mktemp("filled")
    shell = with_magic(ipython, home)
    for line in (
        'save teams -g teams --key team_id --describe "budget of teams" --describe-column "town=where it plays"',
        "save players -g players --key team_id",
        "save games -g games --key team_id --event-time played_at",
        "save weather -g weather --key station",
        "save seats -g seats --key team_id,row_no",
    ):
        run(shell, line)
    return home


@pytest.fixture
def reading(ipython, filled_home):
    return with_magic(ipython, filled_home)
