"""A real Jupyter server with the extension, as `jupyter server` starts it, and a client that is signed in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import authorizing
import pytest
import requests
from recorded_runs import epochs, record
from seeding import seed
from waiting import wait_until, where_it_is

from hops_magic.api.context import Context
from hops_magic.session import Session
from hops_magic.settings import Settings

TOKEN = "a-token-of-the-tests"


@dataclasses.dataclass
class Server:
    """Where it is, and how a signed-in client asks it."""

    url: str
    home: Path
    log: Path
    environment: dict[str, str]
    token: str = TOKEN

    def ask(self, path: str, method: str = "GET", **options) -> requests.Response:
        headers = {"Authorization": f"token {TOKEN}", **options.pop("headers", {})}
        return requests.request(method, f"{self.url}/hops/api/v1{path}", headers=headers, timeout=60, **options)

    def listens(self) -> bool:
        try:
            return self.ask("/about").ok
        except requests.ConnectionError:
            return False

    def get(self, path: str, **query):
        answer = self.ask(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture(scope="session")
def recorded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run, ``good``, to be copied."""
    home = tmp_path_factory.mktemp("recorded") / "home"
    record(Settings.from_environment({"HOPS_HOME": str(home)}), "aaaa00000001", epochs(0.9, 0.5), name="good")
    return home


@pytest.fixture
def context(recorded_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """What endpoints are given, in a home of the test's own that has the run ``good``."""
    home = tmp_path / "home"
    shutil.copytree(recorded_home, home)
    monkeypatch.setenv("HOPS_HOME", str(home))
    made = Context(Session(Settings.from_environment()))
    yield made
    made.close()


@pytest.fixture(scope="session")
def changing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose home may be changed at will."""
    with serving(tmp_path_factory.mktemp("changing")) as made:
        yield made


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    home, root = folder / "hops", folder / "root"
    root.mkdir()
    seed(home)
    environment = {
        **os.environ,
        "HOPS_HOME": str(home),
        "JUPYTER_TOKEN": TOKEN,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(authorizing.__file__).parent), os.environ.get("PYTHONPATH")))),
        **{f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")},
    }
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--port=0", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={root}", "--ServerApp.allow_unauthenticated_access=False"]
    command += [f"--ServerApp.authorizer_class={authorizing.Denying.__module__}.{authorizing.Denying.__name__}"]
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=root)
    try:
        told = folder / "runtime" / f"jpserver-{process.pid}.json"
        url = wait_until(lambda: where_it_is(told), "a server")
        made = Server(url, home, log, environment)
        wait_until(made.listens, "the server's first answer")
        yield made
    finally:
        process.terminate()
        process.wait(20)
        # the embedded cluster outlives the server, by design
        stop = [sys.executable, "-m", "hops_magic", "cluster", "stop", "--force"]
        subprocess.run(stop, env=environment, timeout=60, check=True)
