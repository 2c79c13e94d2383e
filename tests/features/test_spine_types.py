"""Keys and moments of every type that a spine may bring, against plain comparisons; and what a spine has besides them."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from plain_values import UTC, plain, quick

from hops_magic.features.errors import FeatureError, SchemaMismatchError
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.settings import FeatureSettings
from hops_magic.widgets.answers import Answer

BIG = 2**53
US = datetime.timedelta(microseconds=1)
NOON = datetime.datetime(2024, 1, 2, 12, tzinfo=UTC)
MOMENTS = [
    NOON,
    NOON + US,
    datetime.datetime(2024, 1, 2, tzinfo=UTC),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
]
GROUPS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "small": (pa.int8(), [0, 1, -128, 127]),
    "large": (pa.int64(), [0, 1, -1, BIG, BIG + 1, 2**63 - 1, -(2**63)]),
    "money": (pa.decimal128(9, 2), [decimal.Decimal(text) for text in ("0", "1", "1.50", "-0.01", "9999999.99")]),
    "words": (pa.string(), ["", "a", "A", "a ", "a\0", "é", "1", "true"]),
    "flags": (pa.bool_(), [True]),
    "raw": (pa.binary(), [b"", b"a", b"a\0", b"\xff"]),
    "days": (pa.date32(), [datetime.date(2024, 1, 2), datetime.date(1969, 12, 31)]),
    "times": (pa.timestamp("us", "UTC"), MOMENTS),
}
Asked = tuple[pa.DataType, Callable[[Any], Any]]
NUMBERS: list[Asked] = [
    (pa.int64(), int),
    (pa.float64(), float),
    (pa.decimal128(38, 2), decimal.Decimal),
    (pa.string(), str),
]
TIMES: list[Asked] = [
    (pa.timestamp("us"), lambda at: at.replace(tzinfo=None)),
    (pa.timestamp("ns", "Asia/Tokyo"), lambda at: at),
    (pa.timestamp("s", "UTC"), lambda at: at.replace(microsecond=0)),
    (pa.date32(), lambda at: at.date()),
    (pa.string(), lambda at: at.isoformat()),
    (pa.string(), lambda at: at.astimezone(datetime.timezone(datetime.timedelta(hours=-7))).isoformat(" ")),
    (pa.string(), lambda at: at.replace(tzinfo=None).isoformat()),
]
ASKED: dict[str, list[Asked]] = {
    "small": NUMBERS,
    "large": NUMBERS,
    "money": NUMBERS[1:],
    "words": [(pa.large_string(), str), (pa.dictionary(pa.int8(), pa.string()), str)],
    "flags": [(pa.bool_(), bool), (pa.string(), lambda flag: str(flag).lower())],
    "raw": [(pa.large_binary(), bytes)],
    "days": [(kind, lambda day, to=to: to(midnight(day))) for kind, to in TIMES[:4]],
    "times": TIMES,
}
NEAR: dict[str, list[Any]] = {
    "small": [5, -5],
    "large": [BIG - 1, BIG + 2, 3],
    "money": [decimal.Decimal("1.51"), decimal.Decimal(7)],
    "words": ["b", "a\0\0", "É"],
    "flags": [False],
    "raw": [b"b"],
    "days": [datetime.date(2024, 1, 3)],
    "times": [NOON - US, NOON + 2 * US],
}


def midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime(day.year, day.month, day.day, tzinfo=UTC)


def is_equal(asked: Any, key: Any) -> bool:
    """Whether a value that was asked for is a key of a group, as plain Python compares them."""
    if isinstance(asked, str) and not isinstance(key, str):
        asked = {
            bool: lambda: asked == "true",
            datetime.datetime: lambda: datetime.datetime.fromisoformat(asked),
        }.get(type(key), lambda: decimal.Decimal(asked))()
    if isinstance(asked, float) and isinstance(key, decimal.Decimal):
        return asked == float(key)
    if isinstance(asked, datetime.date) and isinstance(key, datetime.date):
        return moment(asked) == moment(key)
    return bool(asked == key)


def moment(value: datetime.date) -> datetime.datetime:
    found = value if isinstance(value, datetime.datetime) else midnight(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def brought(table: pa.Table, library: str, index: int) -> Any:
    """The table as a user of a library has it, with an index of its own."""
    if library == "arrow":
        return table
    if library == "polars":
        return polars.from_arrow(table)
    rows = range(table.num_rows)
    indexes = [
        None,
        [7] * len(rows),
        [f"r{row}" for row in rows],
        pd.date_range("2024-01-01", periods=len(rows)),
        pd.MultiIndex.from_tuples([(row // 2, "x") for row in rows], names=["a", None]),
    ]
    return table.to_pandas(types_mapper=pd.ArrowDtype).set_axis(indexes[index] if index else pd.RangeIndex(len(rows)))


def is_same(answer: Any, spine: Any) -> bool:
    """Whether an answer has the rows of a spine: columns, types and index."""
    if isinstance(spine, pa.Table):
        return bool(answer.select(spine.column_names).equals(spine))
    if isinstance(spine, polars.DataFrame):
        return bool(answer.select(spine.columns).equals(spine) and answer.select(spine.columns).schema == spine.schema)
    pd.testing.assert_frame_equal(answer[list(spine.columns)], spine)
    return True


@pytest.fixture(scope="module")
def keyed(tmp_path_factory) -> FeatureStore:
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path_factory.mktemp("keyed"))}))
    for name, (kind, keys) in GROUPS.items():
        table = pa.table({"key": pa.array(keys, kind), "place": list(range(len(keys)))})
        store.save(table, name, key="key", statistics=False)
    return store


@given(
    group=st.sampled_from(sorted(GROUPS)),
    library=st.sampled_from(["arrow", "pandas", "polars"]),
    index=st.integers(0, 4),
    data=st.data(),
)
@profile(quick, max_examples=150)
def test_keys_of_all_types_meet_what_equals_them(keyed, group, library, index, data):
    keys = GROUPS[group][1]
    kind, given_as = data.draw(st.sampled_from(ASKED[group]))
    values = data.draw(st.lists(st.none() | st.sampled_from([*keys, *NEAR[group]]), min_size=1, max_size=6))
    asked = [None if value is None else given_as(value) for value in values]
    wanted = [
        next((at for at, key in enumerate(keys) if value is not None and is_equal(value, key)), None) for value in asked
    ]
    table = pa.table({"row": list(range(len(asked))), "key": pa.array(asked, kind)})
    form = {"arrow": "arrow", "pandas": "df", "polars": "polars"}[library]
    spine = brought(table, library, index)
    answer = keyed.get(f"{group}.place", spine=spine, form=form)
    assert plain(list(answer["place"].to_pylist() if form == "arrow" else answer["place"])) == wanted
    # texts that were read as another type come as that
    is_read = pa.types.is_string(kind) and group != "words" and any(value is not None for value in asked)
    assert is_same(answer, table.select(["row"]) if is_read and form == "arrow" else spine[["row"]] if is_read else spine)
    looked = keyed.get(f"{group}.place", keys=table.select(["key"]), form="arrow")
    assert looked["place"].to_pylist() == wanted


EVENTS: dict[str, list[datetime.date]] = {
    "seen": [datetime.datetime(1969, 12, 31, 23, 59, 59, 999_998, UTC), *sorted(MOMENTS)],
    "dated": [datetime.date(1969, 12, 31), datetime.date(2024, 1, 1), datetime.date(2024, 1, 3)],
}


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> FeatureStore:
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path_factory.mktemp("events"))}))
    for name, moments in EVENTS.items():
        rows = {"id": [1] * len(moments), "at": moments, "place": list(range(len(moments)))}
        store.save(rows, name, key="id", event_time="at", statistics=False)
    return store


@given(
    group=st.sampled_from(sorted(EVENTS)),
    kind=st.sampled_from(range(len(TIMES))),
    drawn=st.lists(
        st.none() | st.tuples(st.sampled_from([*EVENTS["seen"], *EVENTS["dated"]]).map(moment), st.integers(-2, 2)),
        min_size=1,
        max_size=6,
    ),
    library=st.sampled_from(["arrow", "pandas", "polars"]),
    index=st.integers(0, 4),
)
@profile(quick, max_examples=70)
def test_moments_of_all_types_see_what_was_known(events, group, kind, drawn, library, index):
    arrow, given_as = TIMES[kind]
    asked = [None if each is None else given_as(each[0] + each[1] * US) for each in drawn]
    known = [
        None
        if at is None
        else max((n for n, event in enumerate(EVENTS[group]) if moment(event) <= moment(_read(at))), default=None)
        for at in asked
    ]
    spine = brought(pa.table({"id": [1] * len(asked), "ts": pa.array(asked, arrow)}), library, index)
    form = {"arrow": "arrow", "pandas": "df", "polars": "polars"}[library]
    answer = events.get(f"{group}.place", spine=spine, event_time="ts", form=form)
    assert plain(list(answer["place"].to_pylist() if form == "arrow" else answer["place"])) == known
    assert is_same(answer, spine)


def _read(value: Any) -> Any:
    return datetime.datetime.fromisoformat(value) if isinstance(value, str) else value


WORD = {1: "one", 2: "two"}


@pytest.fixture
def words(store) -> FeatureStore:
    store.save({"id": list(WORD), "word": list(WORD.values())}, "words", key="id", statistics=False)
    at = datetime.datetime(2024, 1, 1, tzinfo=UTC)
    store.save({"id": [1], "at": [at], "v": [1.0]}, "seen", key="id", event_time="at", statistics=False)
    return store


NOTHING = {
    "object": pd.Series([None, None], dtype=object),
    "float": [float("nan")] * 2,
    "nullable": pd.array([None] * 2, "Int64"),
    "text": pd.array([None] * 2, "string"),
    "time": pd.to_datetime([None] * 2),
    "flag": pd.array([None] * 2, "boolean"),
    "category": pd.Categorical([None] * 2),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_column_of_nulls_of_any_type_finds_nothing_and_stays(words, kind):
    for name, event_time in (("id", None), ("ts", "ts"), ("other", None)):
        spine = pd.DataFrame({"id": [1, 2]}).assign(**{name: NOTHING[kind]})
        answer = words.get("seen.v" if event_time else "words.word", spine=spine, event_time=event_time)
        pd.testing.assert_frame_equal(answer[list(spine.columns)], spine)
        found = [None, None] if name != "other" else list(WORD.values())
        assert plain(list(answer.iloc[:, -1])) == found
    assert plain(list(words.get("words.word", keys=pd.DataFrame({"id": NOTHING[kind]}))["word"])) == [None, None]


def test_a_column_of_nulls_without_a_type_is_refused_in_files(words):
    spine = pd.DataFrame({"id": [1, 2], "other": NOTHING["object"]})
    for ask in (
        lambda: words.get("words.word", spine=spine, form="tf"),
        lambda: words.create_dataset("kept", request_of("words.word", spine=spine)),
    ):
        with pytest.raises(FeatureError, match="column other of the spine cannot be kept: every value is null, so its type"):
            ask()


@pytest.mark.parametrize("form", ["df", "polars", "arrow", "tf", "dask"])
def test_a_spine_without_rows_gives_an_answer_without_rows(words, form):
    for spine in (
        pd.DataFrame({"id": [], "ts": []}, dtype="int64"),
        polars.DataFrame(schema={"id": polars.Int8, "ts": polars.Date}),
    ):
        answer = words.get("seen.v", spine=spine, event_time="ts", form=form)
        names = answer.schema.names if form == "tf" else answer.column_names if form == "arrow" else list(answer.columns)
        assert (names, len(answer)) == (["id", "ts", "v"], 0)
    empty = pd.DataFrame({"id": [], "ts": []})
    pd.testing.assert_frame_equal(words.get("seen.v", spine=empty, event_time="ts")[["id", "ts"]], empty)
    assert list(words.get("words.word", keys={"id": []}).columns) == ["id", "word"]
    with pytest.raises(FeatureError, match="the spine has no rows"):
        words.create_dataset("kept", request_of("words.word", spine=empty))


@pytest.mark.parametrize(
    ("moments", "said"),
    [
        ([1_704_067_200, 1_704_067_201], "must hold timestamps, got int64, and the unit of numbers is not guessed: convert"),
        ([1.7e9, 1.7e9], "must hold timestamps, got double, and the unit of numbers is not guessed"),
        (["2024-01-02", "03/04/2024"], r"no times of ISO 8601 .* \(row 1: '03/04/2024'\): convert them"),
        (["2024-01-02T00:00Z", "x"], r"\(row 1: 'x'\)"),
        ([True, False], "must hold timestamps, got bool: convert them"),
        ([datetime.date(2024, 1, 1), NOON], r"values of several types: date \(row 0: .*\), datetime \(row 1: .*\); convert"),
        (pd.period_range("2024-01", periods=2, freq="M"), "values of the type period: convert them"),
        ([uuid.UUID(int=1), uuid.UUID(int=2)], "values of the type uuid: convert them to strings"),
    ],
)
def test_moments_that_would_have_to_be_guessed_are_refused(words, moments, said):
    with pytest.raises(FeatureError, match=said):
        words.get("seen.v", spine=pd.DataFrame({"id": [1, 1], "ts": moments}), event_time="ts")


def test_what_no_store_keeps_is_carried_beside_the_features(words):
    odd = {
        "span": pd.to_timedelta([1, 2], "s"),
        "bins": pd.cut([1, 2], 2),
        "month": pd.period_range("2024", periods=2, freq="M"),
        "thing": [{"a": 1}, "x"],
        "ids": [uuid.UUID(int=1), uuid.UUID(int=2)],
        "sparse": pd.arrays.SparseArray([0, 1]),
        "big": np.array([2**63 + 1, 2], "uint64"),
        "a.b": [1, 2],
        "_hops_row": [8, 9],
    }
    spine = pd.DataFrame({"id": [2, 1], **odd}, index=pd.interval_range(0, 2))
    answer = words.get("words.word", spine=spine)
    pd.testing.assert_frame_equal(answer.drop(columns="word"), spine)
    assert answer["word"].tolist() == ["two", "one"]
    assert words.explain(request_of("words.word", spine=spine)).rows_after == 2
    with pytest.raises(FeatureError, match="column ids of the spine cannot be kept: values of the type uuid"):
        words.get("words.word", spine=spine[["id", "ids"]], form="tf")
    with pytest.raises(SchemaMismatchError, match="column id of the spine cannot be kept: values of the type uuid"):
        words.get("words.word", spine=pd.DataFrame({"id": odd["ids"]}))


def test_an_answer_that_was_shown_gives_the_spine_as_it_was(words):
    words.save({"id": [1, 1, 2], "n": [1, 2, 1], "z": [1, 2, 3]}, "parts", key=["id", "n"], statistics=False)
    spine = pd.DataFrame({"id": pd.array([2, None, 1], "Int16"), "c": pd.Categorical(["x", "y", "x"])}, index=[9, 9, 7])
    shown = Answer(words.shown(request_of("words.word", spine=spine)))
    pd.testing.assert_frame_equal(shown.df[["id", "c"]], spine)
    assert plain(list(shown.df["word"])) == shown.polars["word"].to_list() == ["two", None, "one"]
    several = Answer(words.shown(request_of("parts.z", spine=spine.iloc[[2, 0]], allow_fanout=True))).df
    assert list(zip(several.index, several["id"], several["z"], strict=True)) == [(7, 1, 1), (7, 1, 2), (9, 2, 3)]


def test_spines_of_other_types_are_other_questions(words):
    for values in (pa.array([None, None], pa.int64()), pa.array([None, None], pa.timestamp("us", "UTC"))):
        rows = words.get("words.word", spine=pa.table({"id": [1, 2], "other": values}), form="tf")
        assert rows.schema.field("other").type == values.type


def test_whole_numbers_among_nulls_are_not_rounded(words):
    words.save({"id": [1, 2], "n": [BIG + 1, None], "l": [[BIG + 1, None], [1]]}, "big", key="id", statistics=False)
    frame = words.get("big.n", "big.l").sort_values("n")
    assert frame["n"].tolist() == [BIG + 1, pd.NA]
    assert frame["l"].tolist()[0] == [BIG + 1, None]


@pytest.mark.parametrize("values", [[True, 1.5], [np.True_, 2], [1.5, True]])
def test_truth_values_among_numbers_are_no_numbers(words, values):
    with pytest.raises(SchemaMismatchError, match="values of several types: "):
        words.save({"id": [1, 2], "x": values}, "mixed", key="id", statistics=False)


def test_nanoseconds_in_objects_are_cut_off_with_a_warning(words):
    late = pd.Timestamp("2024-01-01T00:00:00.000000999", tz="UTC")
    with pytest.warns(UserWarning, match="column x of the data for late: times are kept in microseconds"):
        words.save({"id": [1], "x": [late]}, "late", key="id", statistics=False)
