"""The store as it was at a time: of several versions of a group, the newest one that existed then."""

import datetime

import pytest

from hops_magic.features.errors import FeatureError, UnknownNameError


def now():
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture
def moments(store):
    """Times before teams began, before its next version, which has no towns, before towns, and after."""
    found = [now()]
    store.save({"team_id": [1], "town": ["A"], "budget": [1.0]}, "teams", key="team_id", statistics=False)
    found.append(now())
    store.save({"team_id": [1, 2], "budget": [8.0, 9.0]}, "teams", mode="version", statistics=False)
    found.append(now())
    store.save({"team_id": [1], "town": ["Z"]}, "towns", key="team_id", statistics=False)
    return [*found, now()]


def test_a_time_before_a_version_reads_the_one_before_it(store, moments):
    for name in ("teams.budget", "budget", "teams@1.budget"):
        assert store.get(name, as_of=moments[1])["budget"].tolist() == [1.0]
    assert sorted(store.get("budget", as_of=moments[2])["budget"]) == [8.0, 9.0]
    assert store.get("teams@1.budget", as_of=moments[2])["budget"].tolist() == [1.0]


def test_a_bare_name_is_looked_for_in_the_groups_of_that_time(store, moments):
    assert store.get("town", as_of=moments[1])["town"].tolist() == ["A"]
    assert store.get("town", as_of=moments[3])["town"].tolist() == ["Z"]
    with pytest.raises(UnknownNameError, match="no feature 'town' in the store as it was at"):
        store.get("town", as_of=moments[2])


def test_a_time_before_everything_is_told(store, moments):
    with pytest.raises(FeatureError, match=r"teams@1 did not exist at .* its first commit is of"):
        store.get("teams.budget", as_of=moments[0])
    with pytest.raises(FeatureError, match="teams@2 did not exist at"):
        store.get("teams@2.budget", as_of=moments[1])
