"""Keys are compared as the group's type: of look-ups, spines and deletes; what can never be equal is refused."""

import datetime
import decimal

import pandas as pd
import pyarrow as pa
import pytest

from hops_magic.features.errors import FeatureError, SchemaMismatchError

DAY = datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture
def codes(store):
    rows = {"code": ["007", "7", "x"], "agent": ["Bond", "Smith", "Doe"]}
    store.save(rows, "codes", key="code", statistics=False)
    store.save({"team_id": [7, 8], "town": ["A", "B"]}, "teams", key="team_id", statistics=False)
    return store


def test_a_text_given_for_a_text_stays_one(codes):
    assert codes.get("agent", keys={"code": ["007"]}, form="arrow").to_pylist() == [{"code": "007", "agent": "Bond"}]
    assert codes.delete_rows("codes", keys={"code": ["007"]}).commit.rows_removed == 1
    assert sorted(codes.get("code")["code"]) == ["7", "x"]


def test_a_text_given_for_a_number_is_read_as_one(codes):
    for asked in ({"keys": {"team_id": ["8"]}}, {"spine": pd.DataFrame({"team_id": ["8"]})}):
        assert codes.get("town", **asked, form="arrow").to_pylist() == [{"team_id": 8, "town": "B"}]
    assert codes.delete_rows("teams", keys={"team_id": ["8"]}).commit.rows_removed == 1


@pytest.mark.parametrize(
    ("group", "feature", "keys", "said"),
    [
        (
            "teams",
            "town",
            {"team_id": ["8", "x", "8", "7.5"]},
            r"looked for in team_id of teams@1, which is int64: rows 1 \(x\), 3 \(7.5\) do not fit into int64",
        ),
        (
            "codes",
            "agent",
            {"code": [7, 8]},
            r"is int64 \(row 0: 7, row 1: 8\) and can never equal code of codes@1, which is s",
        ),
        ("teams", "town", {"team_id": [DAY]}, r"can never equal team_id of teams@1, which is int64"),
        ("teams", "town", {"team_id": [True]}, r"is bool .* can never equal team_id"),
    ],
)
def test_what_can_never_be_equal_is_refused_with_its_rows(codes, group, feature, keys, said):
    for ask in (
        lambda: codes.get(feature, keys=keys),
        lambda: codes.get(feature, spine=keys),
        lambda: codes.get(feature, spine=keys, form="tf"),
        lambda: codes.delete_rows(group, keys=keys),
    ):
        with pytest.raises(SchemaMismatchError, match=said):
            ask()


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ([decimal.Decimal("1.50"), decimal.Decimal("2.50")], [decimal.Decimal("2.5")]),
        ([b"\x00'", b"ab\xff"], [b"ab\xff"]),
        ([DAY, DAY + datetime.timedelta(hours=12)], ["2024-01-02T12:00"]),
        ([DAY, DAY + datetime.timedelta(hours=12)], ["2024-01-02T14:00+02:00"]),
        ([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], ["2024-01-02"]),
        ([decimal.Decimal("1.50"), decimal.Decimal("2.50")], ["2.5"]),
        ([False, True], ["true"]),
    ],
    ids=str,
)
def test_keys_of_every_type_are_found_and_deleted(store, values, given):
    store.save({"key": values, "found": ["no", "yes"]}, "things", key="key", statistics=False)
    assert store.get("found", keys={"key": given})["found"].tolist() == ["yes"]
    assert store.get("found", spine={"key": given})["found"].tolist() == ["yes"]
    store.delete_rows("things", keys={"key": given})
    assert store.get("found")["found"].tolist() == ["no"]


def test_a_look_up_of_present_rows_has_no_moment(codes):
    with pytest.raises(FeatureError, match="--keys look up present rows, which --event-time cannot place"):
        codes.get("town", keys={"team_id": [7]}, event_time="ts")


@pytest.mark.parametrize("parts", [[], ["town"]], ids=["whole", "in parts"])
@pytest.mark.parametrize(("digits", "places"), [(18, 0), (19, 0), (38, 0), (38, 20)])
def test_long_decimals_are_found_whatever_bounds_the_log_gives_of_them(store, digits, places, parts):
    most = decimal.Decimal(10**digits - 1).scaleb(-places, decimal.Context(prec=60))
    least, kind = most.copy_negate(), pa.decimal128(digits, places)
    rows = pa.table({"code": pa.array([most, least], kind), "town": ["A", "B"], "rank": [1, 2]})
    store.save(rows, "codes", key="code", partition_by=parts, statistics=False)
    for at, wanted in ((0, {"code": most, "rank": 1}), (1, {"code": least, "rank": 2})):
        key = rows.select(["code"]).slice(at, 1)
        assert store.get("rank", keys=key, form="arrow").to_pylist() == [wanted]
        assert store.get("rank", spine=key, form="arrow").to_pylist() == [wanted]
