"""No value of the future: point-in-time joins against a brute-force oracle, and rules of ties, nulls, ages and late rows."""

import datetime

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
HOURS = strategies.integers(0, 12)
KEYS = strategies.integers(0, 3)


def at(hours):
    return START + datetime.timedelta(hours=hours)


class Clock:
    """The store's clock, which a test sets."""

    def __init__(self):
        self.now = at(1_000)

    def __call__(self):
        return self.now


def oracle(label, rows, *, max_age_h=None, exclude_late=False):
    """The value of the last event that was known, straight from the definition."""
    known = [row for row in rows if row["key"] == label["key"] and label["at"] is not None and row["at"] <= label["at"]]
    if exclude_late:
        known = [row for row in known if row["written"] <= label["at"]]
    last = max(known, key=lambda row: row["at"], default=None)
    if last is None or (max_age_h is not None and label["at"] - last["at"] > max_age_h):
        return None
    return last["value"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    labels=strategies.lists(strategies.tuples(KEYS | strategies.none(), HOURS | strategies.none()), min_size=1, max_size=15),
    writes=strategies.lists(
        strategies.tuples(HOURS, strategies.lists(strategies.tuples(KEYS, HOURS), min_size=1, max_size=6)),
        min_size=1,
        max_size=3,
    ),
    max_age_h=strategies.none() | strategies.integers(1, 12),
    exclude_late=strategies.booleans(),
    # many features of a group are joined in another way than few
    copies=strategies.sampled_from([0, 9]),
)
def test_every_label_gets_what_was_known_at_its_time(tmp_path_factory, labels, writes, max_age_h, exclude_late, copies):
    clock = Clock()
    home = tmp_path_factory.mktemp("home")
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(home)}), clock=clock)
    names = ["value", *(f"copy_{number}" for number in range(copies))]
    rows = {}
    for number, (written, events) in enumerate(sorted(writes)):
        clock.now = at(written)
        batch = {(key, hour): 100 * number + place for place, (key, hour) in enumerate(dict.fromkeys(events))}
        for (key, hour), value in batch.items():
            # an upsert of a row moves it to the later commit
            rows[key, hour] = {"key": key, "at": at(hour), "value": value, "written": clock.now}
        columns = {"key": [k for k, _ in batch], "at": [at(h) for _, h in batch]}
        columns |= {name: list(batch.values()) for name in names}
        store.save(columns, "events", key="key", event_time="at", allow_future=True, statistics=False)
    spine = [
        {"key": key, "at": None if hour is None else at(hour), "label": number} for number, (key, hour) in enumerate(labels)
    ]
    frame = pd.DataFrame(spine).astype({"key": "Int64", "at": "datetime64[us, UTC]"})
    age = datetime.timedelta(hours=max_age_h) if max_age_h else None
    found = store.get(*names, spine=frame, event_time="at", max_age=age, exclude_late=exclude_late, form="arrow")
    expected = [oracle(label, list(rows.values()), max_age_h=age, exclude_late=exclude_late) for label in spine]
    assert found["label"].to_pylist() == list(range(len(spine)))
    for name in names:
        assert found[name].to_pylist() == expected


EVENTS = strategies.lists(strategies.tuples(KEYS, KEYS, HOURS), min_size=1, max_size=8, unique=True)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    labels=strategies.lists(
        strategies.tuples(KEYS | strategies.none(), KEYS, HOURS | strategies.none()), min_size=1, max_size=10
    ),
    pairs=EVENTS,
    singles=EVENTS,
    ages_h=strategies.fixed_dictionaries({}, optional={name: strategies.integers(1, 12) for name in ("pairs", "singles")}),
)
def test_groups_with_keys_of_several_columns_are_each_joined_at_the_labels_time(
    tmp_path_factory, labels, pairs, singles, ages_h
):
    """Of two groups, one is told apart by two columns, the other by one of them; each has ages of its own."""
    home = tmp_path_factory.mktemp("home")
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(home)}), clock=Clock())
    pairs = [{"a": a, "b": b, "at": at(hour), "pair": number} for number, (a, b, hour) in enumerate(pairs)]
    singles = {(b, hour): number for number, (_, b, hour) in enumerate(singles)}
    singles = [{"b": b, "at": at(hour), "single": number} for (b, hour), number in singles.items()]
    store.save(pairs, "pairs", key="a,b", event_time="at", statistics=False)
    store.save(singles, "singles", key="b", event_time="at", statistics=False)
    spine = [{"a": a, "b": b, "at": None if hour is None else at(hour)} for a, b, hour in labels]
    frame = pd.DataFrame(spine).astype({"a": "Int64", "b": "Int64", "at": "datetime64[us, UTC]"})
    ages = {group: datetime.timedelta(hours=hours) for group, hours in ages_h.items()}
    found = store.get("single", "pair", spine=frame, event_time="at", max_age=ages, form="arrow")
    for name, rows, keys in (("pair", pairs, ("a", "b")), ("single", singles, ("b",))):
        events = [{"key": tuple(row[key] for key in keys), "at": row["at"], "value": row[name]} for row in rows]
        asked = [{"key": tuple(row[key] for key in keys), "at": row["at"]} for row in spine]
        age = ages.get(f"{name}s")
        assert found[name].to_pylist() == [oracle(label, events, max_age_h=age) for label in asked]


@pytest.fixture
def weather(store, day):
    store.save(
        {"city": ["a", "a", "b"], "at": [day(1), day(3), day(2)], "degrees": [1.0, 3.0, 2.0]},
        "weather",
        key="city",
        event_time="at",
        statistics=False,
    )
    return store


def test_a_value_of_the_very_moment_is_known(weather, day):
    spine = {"city": ["a", "a", "a"], "when": [day(3), day(3) - datetime.timedelta(microseconds=1), day(1)]}
    assert weather.get("degrees", spine=spine, event_time="when")["degrees"].tolist() == [3.0, 1.0, 1.0]


def test_times_without_a_zone_are_utc_and_with_one_are_converted(weather):
    times = pd.to_datetime(["2024-01-03T00:00"])
    for spine_times in (
        times,
        times.tz_localize("UTC").tz_convert("America/New_York"),
        times.tz_localize("UTC").tz_convert("Asia/Tokyo"),
    ):
        spine = pd.DataFrame({"city": ["a"], "when": spine_times})
        assert weather.get("degrees", spine=spine, event_time="when")["degrees"].tolist() == [3.0]


def test_dates_stand_for_their_first_moment(weather):
    spine = {"city": ["a", "a"], "when": [datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)]}
    assert weather.get("degrees", spine=spine, event_time="when")["degrees"].tolist() == [1.0, 3.0]


def test_a_base_with_an_event_time_is_joined_at_its_own_moments(weather, day):
    weather.save(
        {"flight": [1, 2, 3], "city": ["a", "a", "b"], "leaves": [day(2), day(4), day(1)], "delay": [5, 6, 7]},
        "flights",
        key="flight",
        event_time="leaves",
        foreign_keys="city=weather.city",
        statistics=False,
    )
    found = weather.get("flight", "delay", "degrees", form="arrow").sort_by("flight")
    assert found["degrees"].to_pylist() == [1.0, 3.0, None]


def test_values_expire_by_group(weather, day):
    weather.save({"city": ["a"], "at": [day(1)], "people": [9]}, "census", key="city", event_time="at", statistics=False)
    spine = {"city": ["a"], "when": [day(9)]}
    aged = weather.get("degrees", "people", spine=spine, event_time="when", max_age={"weather": datetime.timedelta(days=2)})
    assert aged["people"].tolist() == [9]
    assert aged["degrees"].isna().all()
    with pytest.raises(FeatureError, match="--max-age names group 'wether'"):
        weather.get("degrees", spine=spine, event_time="when", max_age={"wether": datetime.timedelta(days=2)})


def test_the_spine_keeps_its_rows_order_and_columns(weather, day):
    spine = pd.DataFrame({"y": [2, 1, 2, 1], "city": ["b", "zzz", "b", "a"], "when": [day(5)] * 4, "degrees": [0, 0, 0, 0]})
    found = weather.get("degrees", spine=spine, event_time="when")
    assert list(found.columns) == ["y", "city", "when", "degrees", "weather_degrees"]
    assert found["y"].tolist() == [2, 1, 2, 1]


def test_a_request_without_meaning_is_refused(weather, day):
    spine = {"city": ["a"], "when": [day(3)], "n": [1]}
    with pytest.raises(UnknownNameError, match="no column 'wen' in the spine: did you mean when"):
        weather.get("degrees", spine=spine, event_time="wen")
    with pytest.raises(FeatureError, match="must hold timestamps, got int64"):
        weather.get("degrees", spine=spine, event_time="n")
    with pytest.raises(FeatureError, match="give the spine too"):
        weather.get("degrees", event_time="when")
    with pytest.raises(FeatureError, match="these have none"):
        weather.get("degrees", spine={"city": ["a"]}, exclude_late=True)
    with pytest.raises(FeatureError, match="exclude each other"):
        weather.get("degrees", spine=spine, keys={"city": ["a"]})
