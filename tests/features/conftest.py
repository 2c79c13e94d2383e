"""A feature store in a folder of the test's own, and the services that one can live on."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import ObjectStore, Postgres, running_object_store, running_postgres

from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings


@pytest.fixture
def settings(tmp_path: Path) -> FeatureSettings:
    return FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path / "home")})


@pytest.fixture
def store(settings: FeatureSettings) -> FeatureStore:
    return FeatureStore(settings)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with running_object_store(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def day():
    """Midnight of a day of January 2024."""
    return lambda number: datetime.datetime(2024, 1, number, tzinfo=datetime.UTC)
