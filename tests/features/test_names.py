"""Names and places of every kind: folders, columns, partitions and keys come back as they went in, or are refused first."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from hops_magic.errors import HopsError, UsageError
from hops_magic.features.errors import ConflictError, FeatureError, SchemaMismatchError
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.settings import FeatureSettings

AWKWARD = "ab Aé=%#?&+:;,'\"\\/[]{}()<>|^~$!-_ü日😀`\u00a0"
text = st.text(AWKWARD, min_size=1, max_size=8)
numbers = itertools.count()


def store_in(folder: Path) -> FeatureStore:
    return FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(folder / "home")}))


@pytest.fixture(scope="module")
def names_store(tmp_path_factory) -> FeatureStore:
    home = tmp_path_factory.mktemp("names")
    return FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(home)}))


def use(store: FeatureStore, parts: list[str]) -> None:
    """Write, change, read in every way, go back, delete and drop."""
    rows = pd.DataFrame({"id": [1, 2], "team": ["red", "blue"], "part": parts})
    told = dict(zip([1, 2], parts, strict=True))
    for group, partition_by in (("whole", ()), ("parted", ("part",))):
        store.save(rows, group, key="id", partition_by=partition_by)
        store.save(rows.assign(team=["green", "blue"]), group, statistics=False)
        assert store.get(f"{group}.part", f"{group}.id").set_index("id")["part"].to_dict() == told
        assert sorted(store.get(f"{group}.team")["team"]) == ["blue", "green"]
        assert sorted(store.get(f"{group}.team", as_of=0)["team"]) == ["blue", "red"]
        assert sorted(store.get(f"{group}.team", form="dask").compute()["team"]) == ["blue", "green"]
        store.delete_rows(group, keys={"id": [2]}, statistics=False)
        store.save({"id": [3], "team": ["grey"], "part": parts[:1]}, group, mode="append", statistics=False)
        assert sorted(store.get(f"{group}.team")["team"]) == ["green", "grey"]
        assert [commit.operation.value for commit in store.history(group)] == ["append", "delete", "upsert", "create"]
    store.create_dataset("kept", request_of("whole.team"), statistics=False)
    assert sorted(store.read_dataset("kept", form="dask").compute()["team"]) == ["green", "grey"]
    store.drop("whole")


@pytest.mark.parametrize("name", ["team=a", "a b ", "ü", "q'u\"o`te", "a%b", "a*", "{x,y}", "日本=😀", "a::b", "%", "~"])
def test_a_store_in_a_folder_of_any_name_reads_what_it_wrote(tmp_path, name):
    use(store_in(tmp_path / name), ["x=y z", "ü%"])
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a[1]", "a#b", "a?b=c", "a%20b", "a%2523b", "a|b^", "a\\b", "a\nb\x7f"])
def test_a_folder_that_the_lake_would_misread_is_told_to_it_in_another_way(tmp_path, name):
    store = store_in(tmp_path / name)
    use(store, ["x-y_z", "1.5~"])
    with pytest.raises(FeatureError, match=r"in its path none can be named after 'a b': use letters from A to Z"):
        store.save({"id": [1], "part": ["a b"]}, "more", key="id", partition_by="part", statistics=False)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert sorted(entry.name for entry in Path(store.settings.lake).iterdir()) == ["datasets", "parted", "whole"]
    # the same folder, by a link that any library reads
    (tmp_path / "link").symlink_to(tmp_path / name)
    assert sorted(store_in(tmp_path / "link").get("parted.team")["team"]) == ["green", "grey"]


@given(
    name=st.text(AWKWARD.replace("/", "") + "\n\t\x01", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
)
@profile(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_store_is_where_its_folder_is_whatever_its_name(tmp_path_factory, name):
    above = tmp_path_factory.mktemp("folders")
    if "\\" in name and set("*?[").intersection(name):
        with pytest.raises(UsageError, match="the engine cannot read a path with both a backslash and one of"):
            store_in(above / name)
        assert list(above.iterdir()) == []
        return
    store = store_in(above / name)
    rows = pd.DataFrame({"id": [1, 2], "part": ["x", "y"], "value": [1, 2]})
    for partition_by in ((), ("part",)):
        group = f"g{len(partition_by)}"
        store.save(rows, group, key="id", partition_by=partition_by, statistics=False)
        store.save(rows.iloc[1:].assign(value=20), group, statistics=False)
        assert store.get(f"{group}.value", spine={"id": [2, 1]})["value"].tolist() == [20, 1]
        assert len(store.history(group)) == 2
    assert [entry.name for entry in above.iterdir()] == [name]


def test_a_folder_that_is_no_text_is_refused_before_anything_is_written(tmp_path):
    for variable in ("HOPS_HOME", "HOPS_FEATURES"):
        environment = {"HOPS_HOME": str(tmp_path / "home"), variable: str(tmp_path / "\udc80")}
        with pytest.raises(UsageError, match=f"the folder's name is no text of UTF-8: set {variable} to another place"):
            FeatureStore(FeatureSettings.from_environment(environment))
    assert list(tmp_path.iterdir()) == []


def test_a_uri_names_the_folder_that_its_escapes_spell(tmp_path):
    uri = f"file://{tmp_path}/a%5B1%5D%2520b"
    environment = {"HOPS_HOME": str(tmp_path / "home"), "HOPS_FEATURES": uri}
    use(FeatureStore(FeatureSettings.from_environment(environment)), ["x", "y"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a[1]%20b", "home"]
    with pytest.raises(UsageError, match=r"since a URI cannot have '\[': set HOPS_FEATURES to another place"):
        FeatureStore(FeatureSettings.from_environment({**environment, "HOPS_FEATURES": f"file://{tmp_path}/a[1]"}))


@given(
    columns=st.lists(text, min_size=3, max_size=3, unique_by=str.casefold),
    parts=st.lists(text, min_size=3, max_size=3),
    keys=st.lists(st.text(AWKWARD + "\0", max_size=6), min_size=3, max_size=3, unique=True),
)
@profile(max_examples=70, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_names_and_values_come_back_or_are_refused_before_anything_is_written(names_store, columns, parts, keys):
    key, part, feature = columns
    group = f"g{next(numbers)}"
    rows = pd.DataFrame({key: keys, part: parts, feature: [1, 2, 3]})
    try:
        names_store.save(rows, group, key=[key], partition_by=[part], statistics=False)
    except HopsError:
        assert not Path(names_store.settings.lake, group).exists()
        return
    names_store.save(rows.iloc[1:].assign(**{feature: [20, 30]}), group, statistics=False)
    found = names_store.get(f"{group}.{feature}", f"{group}.{part}", spine=rows[[key]])
    assert found[feature].tolist() == [1, 20, 30]
    assert found[part].tolist() == parts
    looked = names_store.get(f"{group}.{feature}", keys=rows[[key]].iloc[2:])
    assert looked[feature].tolist() == [30]
    assert names_store.delete_rows(group, keys=rows[[key]].iloc[2:], statistics=False).commit.rows_removed == 1


@pytest.mark.parametrize(
    ("rows", "partition", "said"),
    [
        ({"id": [1], "a`b": [1]}, (), "the lake cannot name one with a back-tick; rename it"),
        ({"id": [1], "p": ["x" * 300]}, "p", "a folder cannot be named after its value 'xxx.*: shorten it"),
        ({"id": [1], "p": ["ü" * 50]}, "p", "which takes 300 characters"),
        ({"id": [1], "a:b": ["x"]}, "a:b", "cannot be a partition, since the lake would take"),
        ({"id": [1], "a//b": ["x"]}, "a//b", "one of these would be empty: rename it"),
        ({"id": [1], "ID": [2]}, (), "which differ only in case: rename one"),
    ],
)
def test_what_the_lake_cannot_hold_is_refused_before_anything_is_written(store, settings, rows, partition, said):
    with pytest.raises(FeatureError, match=said):
        store.save(rows, "things", key="id", partition_by=partition)
    assert store.groups() == []
    assert not Path(settings.lake, "things").exists()


def test_names_that_differ_only_in_case_are_one_name(store):
    store.save({"id": [1, 2], "town": ["A", "B"]}, "teams", key="id", statistics=False)
    with pytest.raises(SchemaMismatchError, match="column TOWN of the data and town of teams@1 differ only in case"):
        store.save({"id": [1], "TOWN": ["C"]}, "teams", evolve=True, statistics=False)
    with pytest.raises(ConflictError, match="there is a group teams, and Teams differs from it only in case"):
        store.save({"id": [1]}, "Teams", key="id", statistics=False)
    # as the engine compares them, ID is the key, and TOWN stays the spine's own
    found = store.get("teams.town", spine=pd.DataFrame({"ID": [2, 1], "TOWN": ["x", "y"]}))
    assert found.to_dict("list") == {"ID": [2, 1], "TOWN": ["x", "y"], "teams_town": ["B", "A"]}


def test_an_answer_with_two_columns_of_one_name_is_refused(store):
    store.save({"id": [1], "x": [1]}, "g", key="id", statistics=False)
    with pytest.raises(FeatureError, match="the answer would have several columns named g_x"):
        store.get("g.x", spine={"id": [1], "x": [5], "g_x": [6]})


def test_numbers_of_versions_are_never_used_twice(store):
    for value in (1, 2, 3):
        store.save({"id": [1], "a": [value]}, "g", key="id", mode="version", statistics=False)
    store.create_dataset("kept", request_of("g@3.a"), statistics=False)
    store.create_dataset("kept", request_of("g@3.a"), statistics=False)
    store.drop("g@3")
    assert store.save({"id": [1], "a": [4]}, "g", mode="version", statistics=False).group.full_name == "g@4"
    store.drop("g")
    assert store.save({"id": [1], "a": [5]}, "g", key="id", statistics=False).group.full_name == "g@5"
    store.delete_dataset("kept@2")
    assert store.create_dataset("kept", request_of("g.a"), statistics=False).version == 3
    store.delete_dataset("kept")
    assert store.create_dataset("kept", request_of("g.a"), statistics=False).version == 4
