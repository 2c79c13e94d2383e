"""Damaged files, full disks and stores that may only be read: each door tells one sentence, and nothing is half-written."""

from pathlib import Path

import pytest
from faulty import DOORS, ROWS, Fault, tried_under

from hops_magic.features.errors import StoreError
from hops_magic.features.store import FeatureStore, request_of


@pytest.fixture(params=["plain", "partitioned"])
def teams(request, store):
    partition = () if request.param == "plain" else "town"
    store.save(ROWS, "teams", key="id", partition_by=partition, statistics=False)
    # an engine is kept for these look-ups
    assert store.get("value", keys={"id": [1]})["value"].tolist() == [1.0]
    return store


def data_files(store):
    return sorted(Path(store.group("teams").location).rglob("*.parquet"))


@pytest.mark.parametrize("damage", ["end", "middle"])
def test_a_damaged_data_file_is_told_at_every_door(teams, damage):
    for file in data_files(teams):
        whole = bytearray(file.read_bytes())
        if damage == "end":
            whole[-4:] = b"\0\0\0\0"
        else:
            whole[4 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - 4)
        file.write_bytes(whole)
    for door in ("get", "look up", "stream", "append", "delete", "dataset", "statistics"):
        if door == "look up" and damage == "end":
            # the end of the file has been read before
            continue
        with pytest.raises(StoreError, match="a data file is damaged: restore it from a copy, or read an earlier commit"):
            DOORS[door](teams)
    with pytest.raises(StoreError, match=r"a data file is .*damaged: restore it"):
        DOORS["save"](teams)
    assert teams.group("teams").commit == 0


def test_a_data_file_that_is_gone_is_told_at_every_door(teams):
    for file in data_files(teams):
        file.unlink()
    for door in ("get", "look up", "stream", "append", "delete", "dataset", "statistics"):
        with pytest.raises(StoreError, match=r"a data file .*is gone.*: restore it, or read an earlier commit"):
            DOORS[door](teams)


def test_a_full_disk_is_told_at_every_door_and_leaves_nothing(settings, store):
    store.save(ROWS, "teams", key="id", statistics=False)
    told = tried_under(Fault.FULL_DISK, settings)
    for door in ("save", "append", "create", "edit", "delete", "dataset", "stream"):
        assert told[door].startswith("StoreError: "), f"{door}: {told[door]}"
    assert "a file may not grow any more" in told["dataset"]
    again = FeatureStore(settings)
    assert [group.full_name for group in again.groups()] == ["teams@1"]
    assert again.group("teams").commit == 0
    assert again.datasets() == []
    assert again.get("value")["value"].tolist() == ROWS["value"]
    assert again.create_dataset("wins", request_of("value"), statistics=False).version == 1


def test_a_store_that_may_only_be_read_is_read_and_says_that_it_cannot_be_written(settings, store):
    store.save(ROWS, "teams", key="id", statistics=False)
    store.create_dataset("wins", request_of("value"), statistics=False)
    told = tried_under(Fault.READ_ONLY, settings)
    for door in ("get", "look up", "read dataset"):
        assert told[door] == "done", f"{door}: {told[door]}"
    for door in ("save", "append", "create", "edit", "delete", "dataset", "stream", "drop", "delete dataset", "open"):
        assert told[door].startswith("StoreError: "), f"{door}: {told[door]}"
    assert FeatureStore(settings).group("teams").commit == 0
