"""An embedded cluster of its own for these tests, started by a kernel that is dead."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import Place

from hops_magic.engine.cluster import Clusters
from hops_magic.engine.connection import Connection


@pytest.fixture(scope="session")
def make_place() -> Iterator[Callable[[], Place]]:
    """Make homes; whatever runs there at the end is ended."""
    made: list[Place] = []

    def make() -> Place:
        # short, because sockets lie below it
        root = Path(tempfile.mkdtemp(prefix="hops-test-"))
        (root / "tmp").mkdir()
        made.append(Place(root))
        return made[-1]

    yield make
    for place in made:
        Clusters(place.file).stop(force=True)
        shutil.rmtree(place.root)


@pytest.fixture(scope="session")
def place(make_place: Callable[[], Place]) -> Place:
    """A home whose embedded cluster was started by a kernel that was killed right after."""
    place = make_place()
    kernel = place.kernel("import os; Clusters().start(2, 1); os.kill(os.getpid(), 9)")
    _, err = kernel.communicate(timeout=120)
    assert kernel.returncode == -9, err
    return place


@pytest.fixture
def clusters(place: Place) -> Iterator[Clusters]:
    clusters = Clusters(place.file)
    yield clusters
    clusters.close()


@pytest.fixture
def connection(place: Place) -> Connection:
    connection = place.file.live()
    assert connection is not None
    return connection
