"""Writing groups and reading features back: modes, keys, versions, time travel, changes of columns."""

import datetime

import deltalake
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from hops_magic.features import engine
from hops_magic.features.errors import (
    ConflictError,
    FanoutError,
    FeatureError,
    KeyViolationError,
    SchemaMismatchError,
    UnknownNameError,
)
from hops_magic.features.model import Operation
from hops_magic.features.query import Terms
from hops_magic.features.reading import Request
from hops_magic.features.rules import Rule
from hops_magic.features.store import FeatureStore, request_of

TEAMS = pd.DataFrame({"team_id": [1, 2, 3], "name": ["a", "b", "c"], "average_attendance": [10.0, 20.0, 30.0]})
AGES = pd.DataFrame({"team_id": [1, 2], "average_player_age": [24.0, 25.0]})


@pytest.fixture
def teams(store):
    store.save(TEAMS, "teams", key="team_id", description="weekly team statistics", tags="sport", statistics=False)
    return store


def rows(frame):
    return sorted(map(tuple, frame.itertuples(index=False)))


def test_features_of_two_groups_come_back_joined_in_the_order_asked(teams):
    teams.save(AGES, "ages", key="team_id", statistics=False)
    found = teams.get("average_attendance", "team_id", "average_player_age")
    assert list(found.columns) == ["average_attendance", "team_id", "average_player_age"]
    assert rows(found.fillna(-1)) == [(10.0, 1, 24.0), (20.0, 2, 25.0), (30.0, 3, -1.0)]


@pytest.mark.parametrize(
    "make",
    [pl.from_pandas, pa.Table.from_pandas, lambda frame: frame.to_dict("list"), lambda frame: frame.to_dict("records")],
    ids=["polars", "arrow", "columns", "rows"],
)
def test_any_table_can_be_saved(store, make):
    store.save(make(TEAMS), "teams", key="team_id", statistics=False)
    assert rows(store.get("teams.*")) == rows(TEAMS)


def test_a_dask_dataframe_and_a_named_index_can_be_saved(store):
    import dask.dataframe as dd

    store.save(dd.from_pandas(TEAMS, npartitions=2), "teams", key="team_id", statistics=False)
    store.save(AGES.set_index("team_id"), "ages", key="team_id", statistics=False)
    assert rows(store.get("ages.*")) == rows(AGES)
    assert len(store.get("teams.name")) == 3


@pytest.mark.parametrize(("form", "kind"), [("df", pd.DataFrame), ("polars", pl.DataFrame), ("arrow", pa.Table)])
def test_features_come_back_as_asked(teams, form, kind):
    assert isinstance(teams.get("average_attendance", form=form), kind)


def test_an_upsert_replaces_rows_by_key_and_adds_the_others(teams):
    written = teams.save(
        {"team_id": [3, 4], "name": ["C", "d"], "average_attendance": [31.0, 40.0]}, "teams", statistics=False
    )
    assert (written.commit.operation, written.commit.rows_added, written.commit.rows_changed, written.commit.rows) == (
        Operation.UPSERT,
        1,
        1,
        4,
    )
    assert rows(teams.get("teams.*"))[2:] == [(3, "C", 31.0), (4, "d", 40.0)]
    assert teams.group("teams").rows == 4


@pytest.mark.parametrize("partition", [(), ("name",)])
def test_an_upsert_that_is_too_large_to_merge_does_the_same(store, monkeypatch, partition):
    store.save(TEAMS, "teams", key="team_id", partition_by=partition, statistics=False)
    monkeypatch.setattr("hops_magic.features.writing._MOST_MERGED_BYTES", 0)
    more = pd.DataFrame({"team_id": [3, 4], "name": ["c", "d"], "average_attendance": [31.0, 40.0]})
    commit = store.save(more, "teams", statistics=False).commit
    assert (commit.operation, commit.rows_added, commit.rows_changed, commit.rows) == (Operation.UPSERT, 1, 1, 4)
    assert rows(store.get("teams.*")) == [(1, "a", 10.0), (2, "b", 20.0), (3, "c", 31.0), (4, "d", 40.0)]
    assert rows(store.get("teams.*", as_of=0)) == rows(TEAMS)


def test_rows_that_are_there_are_not_appended_again(teams):
    with pytest.raises(
        KeyViolationError, match=r"1 row of the data is in teams@1 already, e.g. team_id=3: say --mode upsert"
    ):
        teams.save(TEAMS.tail(1), "teams", mode="append")
    written = teams.save(TEAMS.tail(1).assign(team_id=9), "teams", mode="append", statistics=False)
    assert (written.commit.operation, written.commit.rows) == (Operation.APPEND, 4)


def test_rows_are_deleted_by_key_or_by_a_condition(teams):
    assert teams.delete_rows("teams", where="average_attendance > 25 AND name = 'c'", statistics=False).commit.rows == 2
    assert teams.delete_rows("teams", keys={"team_id": [1]}, statistics=False).commit.rows_removed == 1
    assert teams.get("team_id")["team_id"].tolist() == [2]
    with pytest.raises(FeatureError, match="no row of teams@1 matches"):
        teams.delete_rows("teams", keys={"team_id": [1]})
    with pytest.raises(FeatureError, match="cannot be asked of teams@1"):
        teams.delete_rows("teams", where="nmae = 'c'")
    with pytest.raises(FeatureError, match="one expression"):
        teams.delete_rows("teams", where="TRUE); DROP TABLE x; --")


def test_every_commit_can_be_read_again(teams):
    before = datetime.datetime.now(datetime.UTC)
    teams.save({"team_id": [1], "name": ["A"], "average_attendance": [11.0]}, "teams", statistics=False)
    assert teams.get("name", as_of=0).shape == (3, 1)
    assert "A" not in teams.get("name", as_of=before)["name"].tolist()
    assert "A" in teams.get("name")["name"].tolist()
    assert [commit.operation for commit in teams.history("teams")] == [Operation.UPSERT, Operation.CREATE]
    changes = teams.diff("teams", 0)
    assert changes.counts == {"added": 0, "changed": 1, "removed": 0}
    assert changes.changed.to_pylist()[0]["name after"] == "A"
    with pytest.raises(FeatureError, match="teams@1 has no commit 7: the last ones are 0, 1"):
        teams.get("name", as_of=7)
    with pytest.raises(FeatureError, match="teams@1 did not exist at 2020-01-01"):
        teams.get("name", as_of=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))


def test_a_new_version_is_the_default_and_the_old_one_stays(teams):
    teams.save(TEAMS.assign(average_attendance=0.0), "teams", mode="version", statistics=False)
    assert teams.group("teams").version == 2
    assert teams.group("teams").description == "weekly team statistics"
    assert teams.get("average_attendance")["average_attendance"].sum() == 0
    assert teams.get("teams@1.average_attendance")["average_attendance"].sum() == 60
    both = teams.get("teams@1.average_attendance", "teams@2.average_attendance")
    assert list(both.columns) == ["teams_1_average_attendance", "teams_2_average_attendance"]
    with pytest.raises(FeatureError, match="the next version of teams is 3, got 5"):
        teams.save(TEAMS, "teams@5", key="team_id")


def test_columns_change_only_when_that_is_asked_for(teams):
    wider = pd.DataFrame({"team_id": [4], "name": ["d"], "average_attendance": [1.0], "founded": [1901]})
    with pytest.raises(SchemaMismatchError, match=r"teams@1: new: founded \(int64\): say --evolve"):
        teams.save(wider, "teams")
    assert teams.group("teams").commit == 0
    written = teams.save(wider, "teams", evolve=True, statistics=False)
    assert (written.commit.operation, written.commit.rows_added) == (Operation.EVOLVE, 1)
    assert teams.get("founded")["founded"].sum() == 1901
    with pytest.raises(UnknownNameError, match="founded"):
        teams.get("teams.founded", as_of=0)
    with pytest.raises(SchemaMismatchError, match="wider: founded: int64 to double"):
        teams.save(wider.assign(founded=1901.5), "teams")
    teams.save(wider.assign(founded=1901.5), "teams", evolve=True, statistics=False)
    assert teams.get("founded")["founded"].sum() == 1901.5
    with pytest.raises(SchemaMismatchError, match="average_attendance is string in the data and double in the group"):
        teams.save(wider.assign(average_attendance="many"), "teams", evolve=True)
    with pytest.raises(SchemaMismatchError, match="missing: name"):
        teams.save(wider.drop(columns="name"), "teams", evolve=True)


def test_rows_of_another_type_are_shown(teams):
    rows = pd.DataFrame({"team_id": range(10), "name": "a", "average_attendance": ["1.5"] * 7 + ["many", "2", "few"]})
    with pytest.raises(
        SchemaMismatchError, match=r"\(average_attendance: rows 7 \(many\), 9 \(few\), 0 \(1\.5\)\): convert"
    ):
        teams.save(rows, "teams", evolve=True)
    rows["average_attendance"] = pd.Timestamp("2024-01-01", tz="UTC")
    with pytest.raises(SchemaMismatchError, match=r"rows 0 \(2024-01-01 00:00:00\+00\), 1 \("):
        teams.save(rows, "teams")
    assert teams.group("teams").commit == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"event_time": "average_attendance"},
            "the event time of teams@1 is none, got average_attendance: say --mode version",
        ),
        ({"partition_by": "name"}, "the partition of teams@1 is none, got name: say --mode version"),
        ({"key": "name"}, "the key of teams@1 is team_id, got name: say --mode version"),
        ({"column_descriptions": {"nome": "its name"}}, "there is no column 'nome'"),
        ({"foreign_keys": "name=towns.town"}, "there is no group 'towns'"),
        ({"foreign_keys": "name=teams.nome"}, "there is no column 'nome' in teams@1"),
        (
            {"foreign_keys": "name=teams@1.name"},
            "a foreign key holds for the version that a query reads: write teams, got teams@1",
        ),
    ],
)
def test_what_a_write_cannot_do_is_not_passed_over(teams, options, message):
    with pytest.raises(FeatureError, match=message):
        teams.save(TEAMS, "teams", **options, statistics=False)
    assert teams.group("teams").commit == 0
    assert teams.save(TEAMS, "teams", key="team_id", statistics=False).commit.number == 1


def test_a_version_is_begun_under_its_number(teams):
    with pytest.raises(FeatureError, match="the next version of teams is 2, got 7"):
        teams.save(TEAMS, "teams@7", mode="version")
    assert teams.save(TEAMS, "teams@2", mode="version", statistics=False).group.version == 2


def test_foreign_keys_are_checked_and_taken_away(teams):
    teams.save(AGES.rename(columns={"team_id": "team"}), "ages", key="team", statistics=False)
    with pytest.raises(UnknownNameError, match="there is no group 'team' in the store"):
        teams.edit("ages", foreign_keys=["team=team.team_id"])
    assert len(teams.edit("ages", foreign_keys=["team=teams.team_id"]).foreign_keys) == 1
    assert teams.edit("ages", foreign_keys=[]).foreign_keys == ()
    with pytest.raises(FeatureError, match="--on-fail must be one of reject, quarantine, warn, got 'ignore'"):
        teams.edit("ages", on_fail="ignore")


def test_whole_numbers_that_pandas_made_floats_are_whole_again(store):
    store.save({"id": [1, 2], "n": [5, 6]}, "counts", key="id", statistics=False)
    store.save(pd.DataFrame({"id": [3, 4], "n": [7, None]}), "counts", statistics=False)
    assert store.group("counts").column("n").type == "int64"
    assert store.get("n", form="arrow")["n"].null_count == 1


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (TEAMS, {}, "a new group needs its primary key: say --key COLUMN; the columns are team_id, name"),
        (TEAMS, {"key": "team_id,team_id"}, "--key team_id,team_id names a column twice"),
        (TEAMS, {"key": "team"}, r"no column 'team' in the data \(--key\)"),
        (TEAMS, {"key": "average_attendance"}, "average_attendance cannot be a key, since it is of type double"),
        (TEAMS, {"key": "team_id", "event_time": "name"}, "--event-time name must hold timestamps or dates, got string"),
        (TEAMS.head(0), {"key": "team_id"}, "the data for teams has no rows"),
        (
            pd.concat([TEAMS, TEAMS]),
            {"key": "team_id"},
            "several rows of the data for teams have the same team_id: team_id=1",
        ),
        (
            TEAMS.assign(team_id=[1.0, None, 3.0]).astype({"team_id": "Int64"}),
            {"key": "team_id"},
            "key team_id is null in 1 row",
        ),
        (
            TEAMS.assign(t=pd.Timestamp("2999-01-01")),
            {"key": "team_id", "event_time": "t"},
            "3 rows .* still to come .*--allow-future",
        ),
        (
            TEAMS.assign(x=[1, "a", None]),
            {"key": "team_id"},
            r"column x .* values of several types: int \(row 0: 1\), str \(row 1",
        ),
        (
            TEAMS.assign(x=np.array([1, 2, 2**64 - 1], "uint64")),
            {"key": "team_id"},
            r"column x .*row 2 .*convert the column to strings or floats",
        ),
        (TEAMS.assign(x=pd.Timedelta("1s")), {"key": "team_id"}, "column x .*durations: convert them to seconds"),
        (TEAMS.assign(_hops_x=1), {"key": "team_id"}, "kept for the store"),
        (TEAMS.assign(Name="x"), {"key": "team_id"}, "differ only in case"),
        ([1, 2], {"key": "team_id"}, "must be a table"),
    ],
)
def test_what_cannot_be_saved_is_told_and_leaves_nothing(store, settings, data, options, message):
    with pytest.raises(FeatureError, match=message):
        store.save(data, "teams", **options)
    assert store.groups() == []
    with pytest.raises(UnknownNameError):
        store.get("name")


@pytest.mark.parametrize("name", ["1teams", "te ams", "teams;drop", "", "a.b", 'te"ams', "../../etc"])
def test_a_group_has_a_usable_name(store, name):
    with pytest.raises(FeatureError, match="a group is written NAME or NAME@VERSION"):
        store.save(TEAMS, name, key="team_id")


def test_names_and_values_with_quotes_and_sql_are_only_names_and_values(store):
    odd = 'x" FROM teams; DROP TABLE "y'
    value = "'; DROP TABLE teams; --"
    store.save({"id": [value, "b"], odd: [1, 2], "select": [3, 4]}, "odd", key="id", statistics=False)
    store.save({"id": [value], "z": [5]}, "other", key="id", statistics=False)
    found = store.get(odd, "select", "z", keys={"id": [value]})
    assert found.to_dict("list") == {"id": [value], odd: [1], "select": [3], "z": [5]}
    assert store.delete_rows("odd", keys={"id": [value]}, statistics=False).commit.rows == 1
    store.save({"id": ["b"], odd: [9], "select": [9]}, "odd", statistics=False)
    assert store.get(odd)[odd].tolist() == [9]


def test_a_group_can_be_partitioned(store):
    frame = pd.DataFrame({"id": range(6), "season": ["2023", "2024", "a/b c"] * 2, "v": np.arange(6.0)})
    store.save(frame, "games", key="id,season", partition_by="season", statistics=False)
    store.save(frame.head(1).assign(v=9.0), "games", statistics=False)
    assert rows(store.get("games.*")) == rows(frame.assign(v=[9.0, 1.0, 2.0, 3.0, 4.0, 5.0]))


def test_present_values_are_looked_up_by_key(teams, day):
    teams.save(
        {"team_id": [1, 1, 2], "at": [day(1), day(3), day(2)], "form": [0.1, 0.3, 0.2]},
        "forms",
        key="team_id",
        event_time="at",
        statistics=False,
    )
    found = teams.get("form", "name", keys={"team_id": [2, 1, 7]})
    assert found["form"].tolist()[:2] == [0.2, 0.3]
    assert found["name"].tolist()[:2] == ["b", "a"]
    assert found.iloc[2, 1:].isna().all()


def test_a_join_that_multiplies_rows_says_so(teams):
    teams.save({"team_id": [1, 1], "player": [1, 2], "goals": [3, 4]}, "players", key="team_id,player", statistics=False)
    teams.save({"team_id": [1, 1], "coach": [1, 2], "wins": [5, 6]}, "coaches", key="team_id,coach", statistics=False)
    with pytest.raises(FanoutError):
        teams.get("goals", "wins")
    request = Request(names=("goals", "wins"), terms=Terms(), allow_fanout=True)
    told = teams.explain(request)
    assert (told.rows_before, told.rows_after) == (2, 4)
    assert len(teams.answer(request)) == 4


def test_descriptions_tags_and_keys_can_be_edited_and_found(teams):
    teams.edit("teams", column_descriptions={"name": "what fans call it"}, tags=["sport", "2024"])
    assert teams.group("teams").tags == ("2024", "sport")
    assert [match.full_name for match in teams.search("fans")] == ["teams.name"]
    assert [(match.where, match.text[match.start : match.end]) for match in teams.search("SPORT")] == [("tag", "sport")]
    assert [match.full_name for match in teams.search("attend")] == ["teams.average_attendance"]
    whole = teams.search("a")
    assert len(whole) > 3
    assert [match for first in range(0, len(whole), 2) for match in teams.search("a", limit=2, offset=first)] == whole
    with pytest.raises(UnknownNameError, match="no column 'nme'"):
        teams.edit("teams", column_descriptions={"nme": "?"})
    with pytest.raises(FeatureError, match=r"a foreign key is written COLUMN=GROUP\.KEY"):
        teams.edit("teams", foreign_keys=["league"])


def test_a_group_that_exists_is_not_created_again_and_can_be_dropped(teams, settings):
    with pytest.raises(ConflictError, match="teams@1 exists"):
        teams.save(TEAMS, "teams", key="team_id", mode="create")
    with pytest.raises(FeatureError, match="there is no group players"):
        teams.save(AGES, "players", mode="append")
    teams.drop("teams")
    assert teams.groups() == []
    assert not list((settings.home / "features" / "teams").glob("*"))


def test_what_another_store_changes_is_seen_at_once(teams, settings):
    other = FeatureStore(settings)
    assert teams.get("name", keys={"team_id": [1]})["name"].tolist() == ["a"]
    seen = [teams.catalog.state()]
    for change in (
        lambda: other.edit("teams", description="of the league"),
        lambda: other.edit("teams", tags=["sport"]),
        lambda: other.edit("teams", rules=[Rule.not_null("name")]),
        lambda: other.create_dataset("names", request_of("name"), statistics=False),
        lambda: other.delete_dataset("names"),
        lambda: other.save({"team_id": [1], "name": ["Bergen"], "average_attendance": [1.0]}, "teams", statistics=False),
    ):
        change()
        seen.append(teams.catalog.state())
    assert len(set(seen)) == len(seen)
    assert teams.get("name", keys={"team_id": [1]})["name"].tolist() == ["Bergen"]
    for each in (other, teams):
        each.drop("teams")
        with pytest.raises(UnknownNameError, match="there is no feature 'name'"):
            teams.get("name", keys={"team_id": [1]})
        teams.save({"team_id": [1], "name": ["Rome"]}, "teams", key="team_id", statistics=False)
        assert teams.get("name", keys={"team_id": [1]})["name"].tolist() == ["Rome"]


def test_files_that_are_put_together_keep_what_look_ups_skip_by(teams, monkeypatch):
    monkeypatch.setattr("hops_magic.features.lake._FILES_BEFORE_COMPACTING", 3)
    for number in range(10, 13):
        teams.save(TEAMS.assign(team_id=[number, 100 * number, -number]), "teams", mode="append", statistics=False)
    # the commit that puts files together tells the catalog when the table is next opened
    group, _ = teams.opened(teams.group("teams"))
    assert teams.catalog.commits(group)[-1].operation is Operation.COMPACT
    (file,) = deltalake.DeltaTable(group.location).file_uris()
    with engine.connect() as connection:
        chunks = engine.rows_of(
            connection, f"SELECT path_in_schema AS name, bloom_filter_offset AS bloom FROM parquet_metadata('{file}')"
        )
    assert {chunk["name"] for chunk in chunks if chunk["bloom"] is not None} == {"team_id"}
    assert teams.get("name", keys={"team_id": [10, -12]})["name"].tolist() == ["a", "c"]


def test_the_home_is_private(teams, settings):
    assert (settings.home / "features.db").stat().st_mode & 0o077 == 0
