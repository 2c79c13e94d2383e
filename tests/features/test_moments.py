"""Times, commits, ages and ends of splits from Python: values of every library and texts are read alike, or refused."""

import datetime

import numpy as np
import pandas as pd
import pytest

from hops_magic.errors import HopsError, UsageError
from hops_magic.features.moments import age_of, moment_of
from hops_magic.features.store import request_of

DAY = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "value",
    [
        *("2024-05-01", "2024-05-01T02:00+02:00", DAY, datetime.datetime(2024, 5, 1), datetime.date(2024, 5, 1)),
        *(pd.Timestamp("2024-05-01"), pd.Timestamp("2024-05-01 09:00", tz="Asia/Tokyo"), np.datetime64("2024-05-01")),
    ],
    ids=repr,
)
def test_a_time_of_any_library_is_read_and_is_in_utc_where_it_has_no_zone(value):
    assert moment_of(value) == DAY


@pytest.mark.parametrize("value", [3, "3", np.int64(3), np.uint8(3)], ids=repr)
def test_a_whole_number_is_a_commit(value):
    assert moment_of(value) == 3


@pytest.mark.parametrize("value", [True, 1.0, b"2024-05-01", None, pd.NaT, np.datetime64("NaT"), "May", [3]], ids=repr)
def test_what_is_neither_is_refused(value):
    with pytest.raises(UsageError, match="a time is written 2024-05-01 or 2024-05-01T12:30, and a commit as its number"):
        moment_of(value)


@pytest.mark.parametrize(
    "value", ["36h", "1.5d", datetime.timedelta(hours=36), pd.Timedelta("36h"), np.timedelta64(36, "h")]
)
def test_ages_are_read_too(value):
    assert age_of(value) == datetime.timedelta(hours=36)


@pytest.mark.parametrize("value", ["36", "1 day", 36, pd.NaT, np.timedelta64("NaT")], ids=repr)
def test_what_is_no_age_is_refused(value):
    with pytest.raises(UsageError, match="an age is written 90s, 30m, 12h, 7d or 2w, or is a timedelta"):
        age_of(value)


def test_every_door_from_python_takes_them(store):
    times = pd.date_range("2024-01-01", periods=6, tz="UTC")
    store.save(pd.DataFrame({"id": range(6), "at": times, "v": range(6)}), "g", key="id", event_time="at")
    store.save({"id": [0], "at": times[:1], "v": [9]}, "g")
    later = "2199-01-01"
    for commit, changed in ((np.int64(0), 1), ("0", 1), (later, 0), (datetime.date(2199, 1, 1), 0)):
        assert store.diff("g", commit).counts["changed"] == changed
        assert store.statistics("g", commit).rows == 6
        assert store.drift("g", commit).rows_before == 6
        assert store.get("g.v", as_of=commit, form="arrow")["v"].to_pylist().count(9) == 1 - changed
    spine = {"id": [5], "asked": [times[5] + pd.Timedelta("2d")]}
    for age, found in (("1d", [None]), ({"g": "3d"}, [5])):
        assert store.get("g.v", spine=spine, event_time="asked", max_age=age, form="arrow")["v"].to_pylist() == found
    made = store.create_dataset("kept", request_of("g.v", "g.at"), split_by_time={"train": "2024-01-03", "test": None})
    assert made.rows == {"train": 2, "test": 4}


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"split": "train=.8,test=.2"}, r"a split by share is a mapping such as \{'train': .8, 'test': .2\}, got 'train"),
        ({"split": {"train": "most"}}, "a split by share is a mapping such as"),
        ({"split_by_time": "2024"}, r"a split by time is a mapping such as \{'train': '2024-05-01', 'test': None\}"),
        ({"split_by_time": {"train": 3, "test": None}}, "split train must end at a time, e.g. 2024-05-01, got 3"),
    ],
)
def test_splits_that_are_none_are_refused_in_a_sentence(store, splits, said):
    store.save({"id": [1, 2], "at": [DAY, DAY], "v": [1, 2]}, "g", key="id", event_time="at", statistics=False)
    with pytest.raises(HopsError, match=said):
        store.create_dataset("kept", request_of("g.v"), **splits)
    assert store.datasets() == []
