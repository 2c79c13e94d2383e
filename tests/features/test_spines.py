"""A spine comes back as it went in: its rows, types and index, with the right features beside them."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from hops_magic.features.errors import SchemaMismatchError
from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings

BIG = 2**53
WHOLE = {0: "zero", 1: "one", -3: "minus", BIG: "even", BIG + 1: "odd", 2**63 - 1: "last"}
TEXTS = {"a": 1, "a\0b": 2, "ab": 3, "A": 4, "": 5, "é": 6, "a ": 7}
IDS = [1, 0, 0, -3]
quick = profile(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> FeatureStore:
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path_factory.mktemp("spines"))}))
    store.save({"id": list(WHOLE), "word": list(WHOLE.values())}, "whole", key="id", statistics=False)
    store.save({"code": list(TEXTS), "n": list(TEXTS.values())}, "texts", key="code", statistics=False)
    return store


@given(
    keys=st.lists(
        st.sampled_from([0.0, 1.0, -3.0, float(BIG), BIG + 2.0, 2.0**63, -(2.0**63), 0.5, math.nan, math.inf]), min_size=1
    ),
    limit=st.none() | st.integers(1, 5),
)
@quick
def test_float_keys_meet_whole_numbers_exactly_and_no_row_twice(known, keys, limit):
    found = known.get("whole.word", spine=pd.DataFrame({"id": keys}), limit=limit)
    wanted = [WHOLE.get(int(key)) if math.isfinite(key) and key == int(key) else None for key in keys][:limit]
    assert [None if pd.isna(word) else word for word in found["word"]] == wanted
    np.testing.assert_array_equal(found["id"], keys[:limit])


@given(keys=st.lists(st.sampled_from([*TEXTS, "b", "a\0", "\0", "É"]), min_size=1))
@quick
def test_text_keys_are_compared_letter_by_letter(known, keys):
    spine = pd.DataFrame({"code": keys})
    wanted = [TEXTS.get(key) for key in keys]
    for asked in ({"spine": spine}, {"keys": spine}):
        found = known.get("texts.n", form="arrow", **asked)
        assert found["n"].to_pylist() == wanted
        assert found["code"].to_pylist() == keys


COLUMNS = {
    "nullable": pd.array([1, None, 3, 4], "Int64"),
    "small": np.array([1, 2, 3, 255], "uint8"),
    "half": np.array([0.1, 2, 3, 4], "float16"),
    "category": pd.Categorical(["x", "y", None, "x"], categories=["y", "x", "unused"], ordered=True),
    "naive": pd.to_datetime(["2024-01-01", None, "2024-01-02", "1999-12-31"]).as_unit("s"),
    "zoned": pd.date_range("2024-03-30", periods=4, tz="Europe/Berlin"),
    "flag": pd.array([True, None, False, True], "boolean"),
    "plain": [True, False, True, False],
    "words": pd.array(["a", None, "b", "c"], "string"),
    "day": [datetime.date(2024, 1, 1)] * 4,
    7: [0.5, math.nan, 1.5, 2.5],
}
INDEXES = [None, [9, 9, 3, 1], pd.Index([3, 1, 2, 0], name="row"), pd.Index(list("dcba"), name="letter")]


@given(
    names=st.lists(st.sampled_from(list(COLUMNS)), min_size=1, unique=True),
    index=st.sampled_from(range(len(INDEXES))),
    order=st.permutations(range(4)),
)
@quick
def test_a_dataframe_keeps_its_types_its_index_and_its_order(known, names, index, order):
    spine = pd.DataFrame({"id": IDS, **{name: COLUMNS[name] for name in names}}, index=INDEXES[index]).iloc[list(order)]
    before = spine.copy()
    answer = known.get("whole.word", spine=spine)
    pd.testing.assert_frame_equal(answer.drop(columns="word"), spine)
    pd.testing.assert_frame_equal(spine, before)
    assert answer["word"].tolist() == [WHOLE[key] for key in spine["id"]]
    if spine.index.is_unique:
        answer["again"] = spine["id"]
        assert answer["again"].tolist() == spine["id"].tolist()


def test_polars_and_arrow_keep_their_types(known):
    frame = polars.DataFrame({"id": IDS, "small": [1, 2, 3, 4], "c": ["x", "y", "x", None]}).with_columns(
        polars.col("small").cast(polars.UInt8),
        polars.col("c").cast(polars.Enum(["y", "x"])),
        polars.col("id").cast(polars.Int16),
    )
    answer = known.get("whole.word", spine=frame, form="polars")
    assert answer.drop("word").equals(frame)
    assert answer.drop("word").schema == frame.schema
    table = pa.table({"id": pa.array(IDS, pa.int32()), "at": pa.array([0, 1, 2, None], pa.timestamp("s"))})
    found = known.get("whole.word", spine=table, form="arrow")
    assert found.drop_columns(["word"]).equals(table)


def test_a_wider_type_never_rounds_what_is_stored(store):
    store.save({"id": [1, 2], "a": [BIG + 1, 5]}, "g", key="id", statistics=False)
    with pytest.raises(SchemaMismatchError, match=f"would round 1 of its stored values \\({BIG + 1}\\)"):
        store.save({"id": [2], "a": [0.5]}, "g", evolve=True, statistics=False)
    store.save({"id": [1], "a": [BIG]}, "g", statistics=False)
    store.save({"id": [2], "a": [0.5]}, "g", evolve=True, statistics=False)
    assert sorted(store.get("g.a")["a"]) == [0.5, float(BIG)]


def test_a_foreign_key_of_floats_meets_whole_numbers_exactly(known):
    known.save(
        {"n": [1, 2, 3], "ref": [float(BIG), 1.0, 0.5]}, "refs", key="n", foreign_keys="ref=whole.id", statistics=False
    )
    found = known.get("refs.n", "whole.word").sort_values("n")
    assert found["word"].fillna("").tolist() == ["even", "one", ""]


def test_a_diff_counts_the_rows_that_a_new_column_changes(store):
    store.save({"id": [1, 2], "a": [1, 2]}, "g", key="id", statistics=False)
    store.save({"id": [1, 2], "a": [1, 2], "w": ["x", "y"]}, "g", evolve=True, statistics=False)
    found = store.diff("g", 0, 1)
    assert found.counts["changed"] == store.history("g")[0].rows_changed == 2
    assert found.changed.select(["w before", "w after"]).to_pylist()[0] == {"w before": None, "w after": "x"}


def test_a_wide_group_is_upserted_without_a_merge_and_counts_its_rows(store):
    wide = pd.DataFrame({f"c{number}": np.arange(50.0) for number in range(300)}).assign(id=range(50))
    store.save(wide, "wide", key="id", statistics=False)
    commit = store.save(wide.assign(id=wide["id"] + 25, c1=-1.0), "wide", statistics=False).commit
    assert (commit.operation, commit.rows_added, commit.rows_changed, commit.rows) == ("upsert", 25, 25, 75)
    assert (store.get("wide.c1")["c1"] == -1.0).sum() == 50


@pytest.mark.parametrize("partition_by", [(), ("part",)])
def test_rows_of_a_wide_group_are_deleted_without_a_merge_and_counted(store, partition_by):
    wide = pd.DataFrame({f"c{number}": np.arange(6.0) for number in range(120)}).assign(id=range(6), part=list("aabbcc"))
    store.save(wide, "wide", key="id", partition_by=partition_by, statistics=False)
    commit = store.delete_rows("wide", keys={"id": [0, 5, 77]}, statistics=False).commit
    assert (commit.operation, commit.rows_removed, commit.rows_added, commit.rows_changed) == ("delete", 2, 0, 0)
    assert store.diff("wide", before=0).counts["removed"] == 2
    assert store.get("wide.c7", spine={"id": [0, 1, 2, 3, 4, 5]})["c7"].dropna().tolist() == [1, 2, 3, 4]
    assert len(store.get("wide.c7", as_of=0)) == 6
    assert store.delete_rows("wide", where="c3 >= 0", statistics=False).commit.rows == 0
    assert len(store.get("wide.*")) == 0
    assert store.save(wide, "wide", statistics=False).commit.rows_added == 6


def test_texts_of_a_spine_are_read_to_the_letter(store, day):
    store.save({"id": [1, 3], "ts": [day(1), day(1)], "v": [1.0, 3.0]}, "g", key="id", event_time="ts", statistics=False)
    spine = {"id": ["1", "03"], "ts": ["2024-01-01T00:00:00.000000001Z", "2023-12-31 23:59:59.999999999"]}
    assert store.get("g.v", spine=spine, event_time="ts", form="arrow").column("v").to_pylist() == [1.0, None]
    with pytest.raises(SchemaMismatchError, match=r"row 1 \(0x3\) does not fit into int64"):
        store.get("g.v", spine={"id": ["1", "0x3"]})
