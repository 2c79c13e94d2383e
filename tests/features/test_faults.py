"""Killed writers, writers at once, and stores that are damaged: commits are whole or absent, and the reason is told."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from writers import BATCH, Writer, batch

from hops_magic.features.errors import StoreError
from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings


def written(store, group):
    """The commits that are there: each whole, and the catalog agrees with the data."""
    counts = store.get("commit", form="arrow")["commit"].value_counts().to_pylist()
    assert {count["counts"] for count in counts} == {BATCH}
    found = store.group(group)
    assert found.rows == BATCH * len(counts)
    assert store.catalog.commits(found)[-1].number == found.commit
    return {count["values"] for count in counts}


@pytest.mark.parametrize("folder", ["plain", "a[1] %20b#"])
def test_writers_that_are_killed_leave_whole_commits(tmp_path, folder):
    settings = FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path / folder)})
    store = FeatureStore(settings)
    chance = random.Random(7)
    store.save(batch(0), "events", key="id", statistics=False)
    told = {0}
    for kill in range(1, 26):
        process = Writer(settings, "events", kill * 1_000, 1_000)
        told.add(process.wait_for_first())
        process.process.join(chance.random() * 0.2)
        process.process.kill()
        told |= process.told()
        process.process.join()
        # what a writer was told is written stays written
        assert told <= written(FeatureStore(settings), "events")
    assert store.save(batch(1), "events", statistics=False).commit.rows_added == BATCH


def test_a_writer_that_is_killed_while_it_makes_a_group_leaves_none_or_a_whole_one(settings, store):
    chance = random.Random(3)
    for kill in range(10):
        process = Writer(settings, f"made_{kill}", 0, 1)
        process.process.join(0.1 + chance.random() * 0.5)
        process.process.kill()
        process.process.join()
        known = {group.name: group for group in store.groups()}
        if f"made_{kill}" in known:
            assert store.get(f"made_{kill}.id").shape == (BATCH, 1)
        assert store.save(batch(7), f"made_{kill}", key="id", statistics=False).group.version == 1
        # nothing is left of those that came to nothing
        assert len(list((settings.home / "features" / f"made_{kill}").iterdir())) == 1


@pytest.mark.parametrize("folder", ["plain", "a[1] %20b#"])
def test_four_processes_that_write_one_group_at_once_lose_nothing(tmp_path, folder):
    settings = FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path / folder)})
    store = FeatureStore(settings)
    store.save(batch(0), "events", key="id", statistics=False)
    processes = [Writer(settings, "events", number * 1_000, 5) for number in range(1, 5)]
    told = set().union(*(process.told() for process in processes))
    for process in processes:
        process.process.join()
        assert process.process.exitcode == 0
    assert len(told) == 20
    assert written(store, "events") == told | {0}


def test_four_processes_that_make_one_group_at_once_make_one(settings, store):
    processes = [Writer(settings, "events", number, 1) for number in range(4)]
    told = set().union(*(process.told() for process in processes))
    assert told == {0, 1, 2, 3}
    assert written(store, "events") == told
    assert [group.version for group in store.versions("events")] == [1]


def test_the_catalog_takes_in_a_commit_that_it_was_not_told(settings, store):
    store.save(batch(0), "events", key="id", statistics=False)
    with sqlite3.connect(settings.home / "features.db") as now, sqlite3.connect(":memory:") as before:
        now.backup(before)
        store.save(batch(1), "events", statistics=False)
        before.backup(now)
    again = FeatureStore(settings)
    assert again.group("events").commit == 0
    assert len(again.get("id")) == 2 * BATCH
    assert (again.group("events").commit, again.group("events").rows) == (1, 2 * BATCH)


def test_the_catalog_takes_in_columns_that_it_was_not_told(settings, store):
    store.save(batch(0), "events", key="id", column_descriptions={"value": "what it is worth"}, statistics=False)
    wider = {**batch(1), "more": [1.5] * BATCH, "value": [0.5] * BATCH}
    with sqlite3.connect(settings.home / "features.db") as now, sqlite3.connect(":memory:") as before:
        now.backup(before)
        store.save({**wider, "commit": [0.5] * BATCH}, "events", evolve=True, statistics=False)
        before.backup(now)
    again = FeatureStore(settings)
    again.history("events")
    known = {column.name: (column.type, column.description) for column in again.group("events").columns}
    assert known["commit"] == ("double", "")
    assert known["value"] == ("double", "what it is worth")
    assert known["more"] == ("double", "")


def test_an_evolving_write_that_was_killed_can_be_repeated(settings, store):
    store.save(batch(0), "events", key="id", statistics=False)
    wider = {**batch(1), "more": [1.5] * BATCH}
    with sqlite3.connect(settings.home / "features.db") as now, sqlite3.connect(":memory:") as before:
        now.backup(before)
        store.save(wider, "events", evolve=True, statistics=False)
        before.backup(now)
    again = FeatureStore(settings)
    again.save({**batch(2), "more": [2.5] * BATCH}, "events", evolve=True, statistics=False)
    found = again.get("more", form="arrow")["more"]
    assert found.null_count == BATCH
    assert sorted(found.drop_null().to_pylist()) == [1.5] * BATCH + [2.5] * BATCH


def without_journal(settings):
    for kind in ("-wal", "-shm"):
        (settings.home / f"features.db{kind}").unlink(missing_ok=True)


def files(store, pattern):
    return sorted(Path(store.group("events").location).glob(pattern))


def test_a_deleted_data_file_is_named(store):
    store.save(batch(0), "events", key="id", statistics=False)
    (gone,) = files(store, "*.parquet")
    gone.unlink()
    with pytest.raises(StoreError, match=f"a data file of .* is gone .{gone.name}.: restore it, or read an earlier commit"):
        store.get("value")


def test_a_damaged_log_is_told(store):
    store.save(batch(0), "events", key="id", statistics=False)
    (log,) = files(store, "_delta_log/*.json")
    log.write_text('{"add": ')
    with pytest.raises(StoreError, match=r"the table at .* cannot be used: a file of its log is damaged"):
        store.get("value")


def test_a_table_that_is_gone_is_told(store):
    store.save(batch(0), "events", key="id", statistics=False)
    shutil.rmtree(store.group("events").location)
    with pytest.raises(StoreError, match="there is no table at"):
        store.get("value")


def test_a_damaged_catalog_is_told(settings, store):
    without_journal(settings)
    (settings.home / "features.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"the catalog of features at sqlite:///.* cannot be opened"):
        FeatureStore(settings)


def test_a_catalog_of_an_unknown_kind_is_told(tmp_path):
    settings = FeatureSettings(home=tmp_path, lake=str(tmp_path), catalog="mongodb://me:s3cret@host/x")
    with pytest.raises(StoreError, match="HOPS_CATALOG must be sqlite:///FILE or postgresql://") as told:
        FeatureStore(settings)
    assert "s3cret" not in str(told.value)


def test_a_disk_that_takes_no_more_leaves_nothing(settings, store):
    store.save(batch(0), "events", key="id", statistics=False)
    process = Writer(settings, "events", 1, 1, file_bytes=64)
    assert process.told() == set()
    assert "StoreError: the table at" in process.failure
    assert written(FeatureStore(settings), "events") == {0}
