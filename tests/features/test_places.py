"""The same store on S3 and with its catalog in PostgreSQL: what a team shares."""

import dask
import pandas as pd
import pytest
from writers import BATCH, Writer, batch

from hops_magic.features.errors import StoreError
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.settings import FeatureSettings


@pytest.fixture
def s3_settings(tmp_path, object_store, monkeypatch):
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    place = f"s3://{object_store.bucket}/{tmp_path.name}"
    return FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path / "home"), "HOPS_FEATURES": place})


@pytest.fixture
def team_settings(tmp_path, postgres):
    database = "t" + tmp_path.name.replace("-", "_")
    postgres.run("createdb", "-h", str(postgres.folder), "-U", "hops", database)
    catalog = postgres.uri.replace("/postgres?", f"/{database}?")
    return FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path / "home"), "HOPS_CATALOG": catalog})


@pytest.fixture(params=["s3", "postgresql"])
def shared(request):
    return request.getfixturevalue({"s3": "s3_settings", "postgresql": "team_settings"}[request.param])


def test_groups_are_written_read_changed_and_dropped(shared, day):
    store = FeatureStore(shared)
    teams = pd.DataFrame({"team_id": [1, 2, 3], "budget": [1.0, 2.0, 3.0]})
    store.save(teams, "teams", key="team_id", tags="sport", statistics=False)
    store.save(
        {"team_id": [1, 1], "at": [day(1), day(3)], "form": [0.1, 0.3]},
        "forms",
        key="team_id",
        event_time="at",
        statistics=False,
    )
    store.save({"team_id": [3, 4], "budget": [30.0, 4.0]}, "teams", statistics=False)
    assert sorted(store.get("budget")["budget"]) == [1.0, 2.0, 4.0, 30.0]
    assert sorted(store.get("budget", as_of=0)["budget"]) == [1.0, 2.0, 3.0]
    spine = {"team_id": [1, 1, 4], "when": [day(2), day(4), day(4)]}
    found = store.get("form", "budget", spine=spine, event_time="when", form="arrow")
    assert found["form"].to_pylist() == [0.1, 0.3, None]
    assert store.delete_rows("teams", where="budget > 3", statistics=False).commit.rows == 2
    # another user's store sees the same
    other = FeatureStore(shared)
    assert [commit.operation for commit in other.history("teams")] == ["delete", "upsert", "create"]
    assert [match.full_name for match in other.search("sport")] == ["teams"]
    seen = store.catalog.state()
    other.edit("teams", description="of the league")
    assert store.catalog.state() != seen
    other.drop("teams")
    assert [group.name for group in store.groups()] == ["forms"]


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_dataset_in_an_object_store_streams(s3_settings, file_format):
    store = FeatureStore(s3_settings)
    store.save({"team_id": [1, 2, 3], "budget": [1.0, 2.0, 3.0]}, "teams", key="team_id", statistics=False)
    store.create_dataset("wins", request_of("team_id", "budget"), file_format=file_format, statistics=False)
    # a cluster of another test would be asked, whose workers have no credentials
    with dask.config.set(scheduler="synchronous"):
        assert sorted(store.read_dataset("wins", form="dask")["budget"].compute()) == [1.0, 2.0, 3.0]
    rows = store.read_dataset("wins", form="tf").of_rank(1, 3)
    assert [block["team_id"].to_pylist() for block in rows.blocks()] == [[2]]


def test_four_processes_that_write_one_group_at_once_lose_nothing(shared):
    store = FeatureStore(shared)
    store.save(batch(0), "events", key="id", statistics=False)
    processes = [Writer(shared, "events", number * 1_000, 3) for number in range(1, 5)]
    told = set().union(*(process.told() for process in processes))
    assert [process.failure for process in processes] == [""] * 4
    assert len(told) == 12
    assert len(store.get("id")) == 13 * BATCH


def test_a_writer_that_is_killed_does_not_hold_up_a_team(team_settings):
    store = FeatureStore(team_settings)
    store.save(batch(0), "events", key="id", statistics=False)
    for number in range(1, 6):
        process = Writer(team_settings, "events", number * 1_000, 1_000)
        process.wait_for_first()
        process.process.kill()
        process.process.join()
        assert store.save(batch(number), "events", statistics=False).commit.rows_added == BATCH


def test_wrong_credentials_are_told_without_the_secret(s3_settings, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wr0ng")
    with pytest.raises(StoreError, match=r"the table at s3://.* cannot be used: the credentials") as told:
        FeatureStore(s3_settings).save(batch(0), "events", key="id", statistics=False)
    assert "wr0ng" not in str(told.value)
    assert FeatureStore(s3_settings).groups() == []


def test_a_data_file_that_is_gone_from_s3_is_told(s3_settings):
    from pyarrow.fs import FileSelector, FileSystem

    store = FeatureStore(s3_settings)
    store.save(batch(0), "events", key="id", statistics=False)
    system, root = FileSystem.from_uri(store.group("events").location)
    for info in system.get_file_info(FileSelector(root)):
        if info.base_name.endswith(".parquet"):
            system.delete_file(info.path)
    for ask in (lambda: store.get("value"), lambda: store.get("value", keys={"id": [1]})):
        with pytest.raises(StoreError, match="a data file is gone: restore it, or read an earlier commit"):
            ask()


def test_a_server_that_cannot_be_reached_is_told(tmp_path):
    catalog = f"postgresql://hops:s3cret@/postgres?host={tmp_path}"
    settings = FeatureSettings(home=tmp_path, lake=str(tmp_path), catalog=catalog)
    with pytest.raises(StoreError, match=r"the catalog of features at postgresql://.* cannot be opened") as told:
        FeatureStore(settings)
    assert "s3cret" not in str(told.value)
