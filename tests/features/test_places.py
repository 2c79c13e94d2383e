"""The same store on S3 and with its catalog in PostgreSQL: what a team shares."""

from dataclasses import replace
from urllib.parse import unquote

import dask
import pandas as pd
import pytest
from writers import BATCH, Writer, batch

from hops_magic.errors import UsageError
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


@pytest.mark.parametrize("name", ["team=a/ü b", "a%20b%25+c", "a*b&c;d,'e{x}(!)~@:%5B%7C"])
def test_a_prefix_of_any_name_is_the_place_that_is_read_and_written(s3_settings, name):
    from pyarrow.fs import FileSelector, FileSystem

    base = s3_settings.lake
    store = FeatureStore(replace(s3_settings, lake=f"{base}/{name}"))
    rows = pd.DataFrame({"id": [1, 2], "team": ["red", "blue"], "part": ["x=y z", "ü%"]})
    for group, partition in (("whole", ()), ("parted", "part")):
        store.save(rows, group, key="id", partition_by=partition, statistics=False)
        store.save(rows.iloc[:1].assign(team="green"), group, statistics=False)
        found = store.get(f"{group}.team", f"{group}.part", spine=rows[["id"]])
        assert found.to_dict("list") == {"id": [1, 2], "team": ["green", "blue"], "part": ["x=y z", "ü%"]}
    store.create_dataset("kept", request_of("whole.team"), statistics=False)
    assert sorted(store.read_dataset("kept")["team"]) == ["blue", "green"]
    with dask.config.set(scheduler="synchronous"):
        assert sorted(store.read_dataset("kept", form="dask").compute()["team"]) == ["blue", "green"]
    store.drop("whole")
    system, root = FileSystem.from_uri(base)
    inside = f"{root}/{unquote(name)}/"
    written = [info.path for info in system.get_file_info(FileSelector(root, recursive=True)) if info.is_file]
    assert all(path.startswith(inside) for path in written)
    assert any(path.startswith(f"{inside}parted/") for path in written)


@pytest.mark.parametrize(
    "name",
    ["a%b", "a%", "a//b", "a/../b", "a/./b", "a/%2e%2e/b", "a%2Fb", "a%23b", "a%5Cb", "a%0Ab", "a%FFb", "a#b", "a?b", "a[b"],
)
def test_a_prefix_that_is_another_place_for_some_library_is_refused(tmp_path, name):
    settings = FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path / "home"), "HOPS_FEATURES": f"s3://b/{name}"})
    with pytest.raises(
        UsageError, match=r"feature groups cannot be kept in 's3://b/.*', since .*: (set HOPS_FEATURES|write)"
    ):
        FeatureStore(settings)


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
