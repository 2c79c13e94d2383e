"""Real stores for the tests of the record: SQLite in a private home, PostgreSQL on a socket of its own."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded_runs import record

from hops_magic.registry import open_registry
from hops_magic.registry.registry import Registry
from hops_magic.runs.run import Run
from hops_magic.settings import Settings


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose tables are made once, to be copied: making them takes seconds."""
    home = tmp_path_factory.mktemp("template") / "home"
    open_registry(Settings.from_environment({"HOPS_HOME": str(home)}))
    return home


@pytest.fixture
def settings(empty_home: Path, tmp_path: Path) -> Settings:
    return _settings(empty_home, tmp_path)


@pytest.fixture(scope="module")
def shared_settings(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home for tests that only read."""
    return _settings(empty_home, tmp_path_factory.mktemp("shared"))


def _settings(empty_home: Path, folder: Path) -> Settings:
    home = folder / "home"
    shutil.copytree(empty_home, home)
    home.chmod(0o700)
    return Settings.from_environment({"HOPS_HOME": str(home)})


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return open_registry(settings)


@pytest.fixture
def recorded(settings: Settings) -> Callable[..., Run]:
    """Record a run from start to end."""

    return functools.partial(record, settings)


class Postgres:
    """A PostgreSQL server of the test's own, on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        # PostgreSQL refuses to run as root
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            shutil.chown(folder, "postgres", "postgres")
        self.run("initdb", "-D", str(self.data), "-U", "hops", "-A", "trust", "--no-sync")

    def run(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.user)

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")

    @property
    def uri(self) -> str:
        return f"postgresql://hops:s3cret@/postgres?host={self.folder}"


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    # a socket's path must be short, and the server's user must get there
    folder = Path(tempfile.mkdtemp(prefix="hops-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder)
    server.start()
    try:
        yield server
    finally:
        subprocess.run(
            [str(server.bin / "pg_ctl"), "-D", str(server.data), "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            cwd="/",
            **server.user,
        )
        shutil.rmtree(folder)
