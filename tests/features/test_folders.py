"""A lake that several catalogs and other programs share: each deletes only what its own writers left."""

from dataclasses import replace
from pathlib import Path

import pytest

from hops_magic.features.errors import FeatureError
from hops_magic.features.store import FeatureStore, request_of

ROWS = {"id": [1, 2], "value": [1.0, 2.0]}


@pytest.fixture
def other(settings):
    """A store with a catalog of its own in the same lake."""
    return FeatureStore(replace(settings, catalog=f"sqlite:///{settings.home}/other.db"))


def folders(settings, *inside):
    return {folder.name for folder in Path(settings.lake, *inside).iterdir()}


def test_catalogs_that_share_a_lake_leave_each_others_data(settings, store, other):
    for each, value in ((store, 1.0), (other, 2.0)):
        each.save({"id": [1], "value": [value]}, "teams", key="id", statistics=False)
        each.create_dataset("wins", request_of("value"), statistics=False)
    for each, value in ((store, 1.0), (other, 2.0)):
        assert each.get("value")["value"].tolist() == [value]
        assert each.read_dataset("wins")["value"].tolist() == [value]


def test_only_what_writers_of_this_catalog_left_is_deleted(settings, store):
    mine = store.catalog.id
    left = (f"1-{mine}-00000000", f"1-{mine}-00000000-quarantine", "1-deadbeef", "1-deadbeef-00000000", "notes")
    for name in left:
        (Path(settings.lake, "teams", name)).mkdir(parents=True)
    first = Path(store.save(ROWS, "teams", key="id", statistics=False).group.location).name
    assert folders(settings, "teams") == {*left[2:], first}
    made = Path(store.create_dataset("wins", request_of("value"), statistics=False).location)
    # a process that made files anew was killed
    made.with_name(f"{made.name}-again-00000000").mkdir()
    again = Path(store.create_dataset("wins", request_of("value"), statistics=False).location)
    assert folders(settings, "datasets", "wins") == {made.name, again.name}


def test_rows_that_were_put_aside_stay_when_a_version_is_begun(settings, store):
    from hops_magic.features.rules import Rule

    store.save(ROWS, "teams", key="id", statistics=False)
    store.edit("teams", rules=[Rule.range("value", 0, 10)], on_fail="quarantine")
    store.save({"id": [3, 4], "value": [3.0, 40.0]}, "teams", statistics=False)
    store.save(ROWS, "teams", mode="version", statistics=False)
    assert store.quarantined("teams@1")["id"].tolist() == [4]


def test_training_datasets_keep_their_folder(store):
    store.save(ROWS, "teams", key="id", statistics=False)
    store.create_dataset("wins", request_of("value"), statistics=False)
    for name in ("datasets", "Datasets"):
        with pytest.raises(FeatureError, match=f"a group cannot be named {name}: training datasets are kept there"):
            store.save(ROWS, name, key="id", statistics=False)
    assert len(store.read_dataset("wins")) == 2
