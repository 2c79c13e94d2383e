"""Drift against scipy, against an index computed by hand, and of columns that come, go or change their type."""

import datetime
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from hops_magic.features.distribution_drift import Verdict, drift
from hops_magic.features.drift_evidence import EMPTY_SHARE
from hops_magic.features.engine import connect
from hops_magic.features.model import Column


@pytest.fixture
def engine():
    with connect(memory_gib=1) as connection:
        yield connection


def compared(engine, before: dict, after: dict):
    tables = [data if isinstance(data, pa.Table) else pa.table(data) for data in (before, after)]
    engine.register("old", tables[0])
    engine.register("new", tables[1])
    names = dict.fromkeys([*tables[0].column_names, *tables[1].column_names])
    found = drift(engine, "old", "new", [Column(name=name, type="") for name in names])
    json.dumps(found.to_json(), allow_nan=False)
    return found


def one(engine, before, after):
    return compared(engine, {"x": before}, {"x": after}).columns[0]


def index(*shares):
    return sum((now - was) * math.log(now / was) for was, now in shares)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda rng: rng.normal(size=3_000), lambda rng: rng.normal(0.1, 1.1, 2_000)),
        (lambda rng: rng.integers(0, 12, 500), lambda rng: rng.integers(0, 14, 900)),
        (lambda rng: rng.normal(size=40), lambda rng: rng.normal(9, 1, 7)),
        (lambda rng: rng.integers(0, 5, 300), lambda rng: rng.normal(2, 2, 200)),
        (lambda rng: np.ones(5), lambda rng: np.ones(9)),
        (lambda rng: [1.0], lambda rng: [2.0]),
    ],
    ids=["normal", "whole", "disjoint", "whole and not", "constant", "one row"],
)
def test_kolmogorov_smirnov_is_that_of_scipy(engine, before, after):
    rng = np.random.default_rng(3)
    was, now = before(rng), after(rng)
    found = one(engine, was, now)
    expected = stats.ks_2samp(was, now, method="asymp")
    assert found.ks == pytest.approx(expected.statistic, abs=1e-12)
    if len(was) > 1:
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_infinities_lie_at_the_ends(engine):
    was, now = [-math.inf, 1.0, 2.0, math.inf], [-math.inf, -math.inf, 1.5, 2.5, math.inf]
    assert one(engine, was, now).ks == pytest.approx(stats.ks_2samp(was, now).statistic)


def test_the_index_of_numbers_by_hand(engine):
    # tenths of 1..100 have ten values each; after, all below 11 are gone and those above 90 are twice as many
    before = [float(i) for i in range(1, 101)] * 10
    after = ([float(i) for i in range(11, 101)] + [float(i) for i in range(91, 101)]) * 10
    found = one(engine, before, after)
    assert [(bin.before, bin.after) for bin in found.bins] == [(0.1, 0), *[(0.1, 0.1)] * 8, (0.1, 0.2), (0, 0)]
    assert [bin.label for bin in found.bins][:2] == ["≤ 10", "10 to 20"]
    assert found.bins[-1].label == "null"
    assert found.psi == pytest.approx(index((0.1, EMPTY_SHARE), (0.1, 0.2)))
    assert found.verdict is Verdict.DRIFTED
    assert (found.mean_before, found.mean_after) == (50.5, 59.5)
    assert found.mean_shift == pytest.approx(9 / np.std(before, ddof=1))


def test_the_index_of_strings_by_hand(engine):
    before = ["a"] * 60 + ["b"] * 30 + [None] * 10
    after = ["a"] * 40 + ["b"] * 20 + ["c"] * 20 + [None] * 20
    found = one(engine, before, after)
    assert [(bin.label, bin.before, bin.after) for bin in found.bins] == [
        ("a", 0.6, 0.4),
        ("b", 0.3, 0.2),
        ("other", 0.0, 0.2),
        ("null", 0.1, 0.2),
    ]
    assert found.psi == pytest.approx(index((0.6, 0.4), (0.3, 0.2), (EMPTY_SHARE, 0.2), (0.1, 0.2)))
    assert (found.nulls_before, found.nulls_after, found.ks) == (0.1, 0.2, None)


def test_rare_strings_are_counted_together(engine):
    found = one(engine, [f"{i:02}" for i in range(50)] * 10, [f"{i:02}" for i in range(50)] * 10)
    assert len(found.bins) == 22
    assert found.bins[20].before == pytest.approx(0.6)
    assert (found.psi, found.verdict) == (0.0, Verdict.STABLE)


@pytest.mark.parametrize(("share", "verdict"), [(0.55, Verdict.STABLE), (0.66, Verdict.MODERATE), (0.8, Verdict.DRIFTED)])
def test_verdicts_by_index(engine, share, verdict):
    after = [True] * round(1000 * share) + [False] * round(1000 * (1 - share))
    found = one(engine, [True] * 500 + [False] * 500, after)
    assert found.psi == pytest.approx(index((0.5, share), (0.5, 1 - share)))
    assert found.verdict is verdict


def test_the_same_rows_in_another_order_are_stable(engine):
    rng = np.random.default_rng(0)
    data = {"n": rng.normal(size=2_000), "w": rng.integers(0, 2, 2_000), "s": rng.choice(["a", "b"], 2_000)}
    order = rng.permutation(2_000)
    found = compared(engine, data, {name: values[order] for name, values in data.items()})
    assert found.verdict is Verdict.STABLE
    assert [(column.psi, column.ks) for column in found.columns] == [(0.0, 0.0), (0.0, 0.0), (0.0, None)]
    assert found.columns[0].p_value == 1.0


def test_columns_that_come_go_or_change_their_type(engine):
    before = {"gone": [1, 2], "kind": [1, 2], "wider": [1, 2], "list": [[1], None]}
    after = {"come": [None, 2], "kind": ["1", "2"], "wider": [1.0, 2.0], "list": [[1], [2]]}
    before, after = ({name: values * 200 for name, values in data.items()} for data in (before, after))
    before["wider"] = pa.array(before["wider"], "int32")
    found = compared(engine, before, after)
    assert {column.name: column.verdict for column in found.columns} == {
        "gone": Verdict.MISSING,
        "kind": Verdict.TYPE_CHANGED,
        "wider": Verdict.STABLE,
        "list": Verdict.DRIFTED,
        "come": Verdict.NEW,
    }
    assert (found.column("kind").type_before, found.column("kind").type_after) == ("BIGINT", "VARCHAR")
    assert (found.column("come").nulls_before, found.column("come").nulls_after) == (None, 0.5)
    assert (found.column("list").nulls_before, found.column("list").nulls_after) == (0.5, 0.0)


def test_times_and_dates(engine):
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    was = [start + datetime.timedelta(hours=hour) for hour in range(100)] * 10
    now = [moment + datetime.timedelta(hours=50) for moment in was]
    found = one(engine, pa.array(was, pa.timestamp("us", tz="UTC")), pa.array(now, pa.timestamp("us", tz="UTC")))
    assert found.ks == pytest.approx(0.5)
    assert (found.mean_before, found.verdict) == ("2024-01-03T01:30:00Z", Verdict.DRIFTED)
    assert found.bins[0].label == "≤ 2024-01-01T09:00:00Z"
    days = one(engine, [moment.date() for moment in was], [moment.date() for moment in was])
    assert (days.psi, days.ks) == (0.0, 0.0)


def test_nan_counts_as_null(engine):
    found = one(engine, [1.0, 2.0, math.nan, None] * 100, [1.0, 2.0, 1.0, 2.0] * 100)
    assert (found.nulls_before, found.nulls_after) == (0.5, 0.0)
    assert found.verdict is Verdict.DRIFTED


@pytest.mark.parametrize("kind", [pa.float64(), pa.string(), pa.list_(pa.int64())], ids=str)
def test_of_no_rows_nothing_is_known(engine, kind):
    full = pa.array([[1]] if pa.types.is_list(kind) else ["1"], kind if pa.types.is_list(kind) else pa.string()).cast(kind)
    found = one(engine, pa.array([], kind), full)
    assert (found.verdict, found.psi, found.ks, found.nulls_before) == (Verdict.UNKNOWN, None, None, None)


def test_only_nulls_on_one_side(engine):
    found = one(engine, pa.array([None, None] * 100, "float64"), [1.0, 2.0] * 100)
    assert (found.verdict, found.ks, found.mean_before) == (Verdict.DRIFTED, None, None)
    assert [bin.label for bin in found.bins] == ["any", "null"]


def test_names_and_values_are_data(engine):
    hostile = '"; DROP TABLE old; --'
    found = compared(engine, {hostile: ["' OR 1=1 --", "b"]}, {hostile: ["b", "b"]})
    assert {bin.label: bin.after for bin in found.columns[0].bins} == {"' OR 1=1 --": 0, "b": 1, "other": 0, "null": 0}


@pytest.mark.parametrize("rows", [(30, 30), (199, 10_000), (10_000, 199)])
def test_a_verdict_needs_enough_rows(engine, rows):
    rng = np.random.default_rng(1)
    before, after = rng.normal(size=rows[0]), rng.normal(size=rows[1])
    assert one(engine, before, after).verdict is Verdict.TOO_FEW_ROWS
    assert one(engine, before, after + 9).verdict is Verdict.TOO_FEW_ROWS
    found = compared(engine, {"gone": before, "x": before}, {"x": after})
    assert found.verdict is Verdict.MISSING


DRAWS = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "log-normal": lambda rng, rows: rng.lognormal(size=rows),
    "counts": lambda rng, rows: rng.poisson(0.3, rows),
    "rare": lambda rng, rows: rng.random(rows) < 0.02,
    "a thousand categories": lambda rng, rows: (1_000 * rng.random(rows) ** 3).astype(int).astype(str),
    "half null": lambda rng, rows: np.where(rng.random(rows) < 0.5, np.nan, rng.normal(size=rows)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("rows", [(200, 200), (5_000, 200), (200, 5_000)], ids=str)
def test_two_draws_of_the_same_are_stable(engine, draw, rows):
    rng = np.random.default_rng(2)
    before, after = ({f"x{i}": draw(rng, n) for i in range(60)} for n in rows)
    found = compared(engine, before, after)
    assert {column.verdict for column in found.columns} == {Verdict.STABLE}
    # and that is no accident: as many draws as may are called unlikely
    assert sum(column.chance < 0.05 for column in found.columns) <= 9


@pytest.mark.parametrize("rows", [(500, 500), (5_000, 500)], ids=str)
def test_half_a_standard_deviation_is_found_in_500_rows(engine, rows):
    rng = np.random.default_rng(4)
    before = {f"x{i}": rng.normal(size=rows[0]) for i in range(100)}
    after = {name: rng.normal(0.5, 1.0, rows[1]) for name in before}
    found = compared(engine, before, after)
    assert sum(column.verdict in (Verdict.MODERATE, Verdict.DRIFTED) for column in found.columns) >= 95


def test_a_difference_too_small_to_matter_is_stable_however_many_rows_show_it(engine):
    rng = np.random.default_rng(5)
    found = one(engine, rng.normal(size=50_000), rng.normal(0.08, 1.0, 50_000))
    assert found.chance < 1e-6
    assert found.verdict is Verdict.STABLE


def test_the_chance_is_that_of_the_tests_by_hand(engine):
    before, after = ["a"] * 300 + ["b"] * 200 + ["c"] * 2, ["a"] * 200 + ["b"] * 300 + ["d"]
    # c and d, expected less than five times, count with b
    table = [[300, 200], [202, 301]]
    found = one(engine, before, after)
    assert found.chance == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    rng = np.random.default_rng(6)
    was, now = np.arange(1_000.0), rng.permutation(np.arange(1_000.0))[:400] + 3
    found = one(engine, was, now)
    edges = [-1, *np.sort(np.concatenate([was, now]))[[140 * i - 1 for i in range(1, 10)]], 2_000]
    cells = [[((edges[i] < rows) & (rows <= edges[i + 1])).sum() for i in range(10)] for rows in (was, now)]
    of_bins = stats.chi2_contingency(np.array(cells), correction=False).pvalue
    assert found.chance == pytest.approx(min(1.0, 2 * min(of_bins, found.p_value)), rel=1e-9)


def test_what_is_infinite_is_no_constant(engine):
    high, low, known = [math.inf] * 300, [-math.inf] * 300, [float(number) for number in range(300)]
    for before, after in ((high, low), (low, known), (high, known), (known, high)):
        assert one(engine, before, after).verdict is Verdict.DRIFTED
    assert one(engine, high, high).verdict is Verdict.STABLE


def test_of_lists_structs_and_bytes_only_nulls_are_compared(engine):
    for before, after in (([[1]], [[2]]), ([b"a"], [b"b"]), ([{"a": 1}], [{"a": 2}])):
        assert one(engine, before * 300, after * 300).verdict is Verdict.UNKNOWN
        assert one(engine, before * 300, [*after * 150, *[None] * 150]).verdict is Verdict.DRIFTED
