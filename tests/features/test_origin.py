"""Where a write comes from: the notebook, the script or the run, unless it is said."""

import contextvars
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hops_magic.features.errors import UnknownNameError
from hops_magic.frameworks import context
from hops_magic.lineage import uses_of

SCRIPT = """
import hops_magic as hops
hops.features.save({"id": [1]}, "teams", key="id", statistics=False)
hops.features.delete_rows("teams", keys={"id": [1]}, statistics=False)
"""


def sources(store, group="teams"):
    return [(commit.source, commit.run_id) for commit in store.history(group)]


def test_a_script_is_the_source_of_what_it_writes(store, settings, tmp_path, monkeypatch):
    script = tmp_path / "nightly.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("HOPS_HOME", str(settings.home))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    subprocess.run([sys.executable, script.name], cwd=tmp_path, check=True)
    assert sources(store) == [(str(script), "")] * 2


def test_a_notebook_is_the_source_of_what_is_written_from_python(store, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/teams.ipynb")
    store.save({"id": [1]}, "teams", key="id", statistics=False)
    store.save({"id": [2]}, "teams", source="the old system", run_id="abc", statistics=False)
    assert sources(store) == [("the old system", "abc"), ("/home/me/teams.ipynb", "")]


def test_a_rank_writes_and_reads_for_its_run(store, monkeypatch):
    # its cluster may have been started from another notebook
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/other.ipynb")
    told = []

    def rank():
        context.enter(SimpleNamespace(run_id="r1", rank=3, emit=told.append))
        store.save({"id": [1], "town": ["A"]}, "teams", key="id", statistics=False)
        store.get("town")
        store.get("town", form="tf")

    contextvars.copy_context().run(rank)
    assert sources(store) == [("", "r1")]
    assert [(each.rank, each.source, each.name, each.version, each.commit, each.features) for each in told] == [
        (3, "feature group", "teams", 1, 0, ("town",))
    ] * 2


def test_a_feature_that_no_version_has_is_not_unused_but_unknown(store):
    store.save({"id": [1], "rain": [1.0]}, "towns", key="id", statistics=False)
    store.save({"id": [1], "sun": [1.0]}, "towns", key="id", mode="version", statistics=False)
    registry = SimpleNamespace(runs_that_read=lambda names: [], models=list)
    assert uses_of("towns.rain", store, registry) == uses_of("towns@2.sun", store, registry) == []
    for name in ("towns.rian", "towns@2.rain"):
        with pytest.raises(UnknownNameError, match=r"there is no feature '(rian|rain)' in towns"):
            uses_of(name, store, registry)
