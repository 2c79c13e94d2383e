"""What the tests of a folder share ends with them."""

import inspect
from collections import defaultdict
from pathlib import Path

import pytest


def pytest_configure(config):
    # as a plugin: a conftest's own hooks do not hear of fixtures of the session
    config.pluginmanager.register(Sharing())


class Sharing:
    """Ends a folder's clusters, servers and browsers with its last test: idle, they slow the others down."""

    def __init__(self):
        self.shared = defaultdict(list)

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope == "session":
            self.shared[Path(inspect.getfile(fixturedef.func)).parent].append((fixturedef, request))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item, nextitem):
        done = yield
        folder = item.path.parent
        if nextitem is None or nextitem.path.parent != folder:
            for fixture, request in reversed(self.shared.pop(folder, [])):
                fixture.finish(request)
        return done
