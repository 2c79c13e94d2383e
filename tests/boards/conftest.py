"""What a kernel's boards speak for: a home with features, runs and models, one for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from seeding import seed

from hops_magic.api.context import Context
from hops_magic.session import Session
from hops_magic.settings import Settings


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    home = tmp_path_factory.mktemp("boards")
    seed(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOPS_HOME", str(home))
        made = Context(Session(Settings.from_environment()))
        yield made
        made.close()
