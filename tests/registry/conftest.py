"""Real stores for the tests of the record: SQLite in a private home, PostgreSQL on a socket of its own."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded_runs import record
from services import Postgres, running_postgres

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


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server
