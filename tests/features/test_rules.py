"""Rules as text, as JSON and in words."""

import datetime
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hops_magic.errors import OptionError
from hops_magic.features.rules import Rule, RuleKind

RULES = {
    "not_null team_id": Rule.not_null("team_id"),
    "unique team_id,week": Rule.unique("team_id", "week"),
    "range age 0 150": Rule.range("age", 0, 150),
    "range age -5 -": Rule.range("age", -5),
    "range day - 2024-01-31": Rule.range("day", high=datetime.date(2024, 1, 31)),
    'range at "2024-01-01 12:00" -': Rule.range("at", "2024-01-01 12:00"),
    "one_of league NBA,WNBA": Rule.one_of("league", ["NBA", "WNBA"]),
    'one_of city New York,"a,b",""': Rule.one_of("city", ["New York", "a,b", ""]),
    "one_of level 1,2.5,true": Rule.one_of("level", [1, 2.5, True]),
    r"matches code [A-Z]{3}\d+ x": Rule.matches("code", r"[A-Z]{3}\d+ x"),
    'matches "team code" " a"': Rule.matches("team code", " a"),
    'predicate "won <= played"': Rule.predicate("won <= played"),
    'predicate "league <> ""NBA"""': Rule.predicate('league <> "NBA"'),
    "fresh 2d": Rule.fresh("2d"),
    "rows 10 -": Rule.rows(10),
    "rows - 99": Rule.rows(at_most=99),
}


@pytest.mark.parametrize(("text", "rule"), RULES.items(), ids=RULES)
def test_a_rule_is_one_text_and_one_json(text, rule):
    assert rule.name == text == str(rule)
    assert Rule.from_text(text) == rule
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  unique  team_id , week ", "unique team_id,week"),
        ("predicate won <= played", 'predicate "won <= played"'),
        ("rows 10", "rows 10 -"),
        ('not_null "team id"', "not_null team id"),
        ("one_of league NBA, WNBA", "one_of league NBA,WNBA"),
    ],
)
def test_text_is_read_leniently(text, name):
    assert Rule.from_text(text).name == name


TEXTS = st.text(st.characters(exclude_categories=("C",)), max_size=12)
NAMES = TEXTS.filter(bool)


@given(
    st.one_of(
        st.builds(Rule.not_null, NAMES),
        st.lists(NAMES, min_size=1, max_size=3, unique=True).map(lambda names: Rule.unique(*names)),
        st.builds(Rule.one_of, NAMES, st.lists(TEXTS, min_size=1, max_size=3)),
        st.builds(Rule.matches, NAMES, NAMES),
        NAMES.filter(str.strip).map(Rule.predicate),
        st.builds(Rule.range, NAMES, TEXTS),
    )
)
def test_any_name_and_value_comes_back(rule):
    assert Rule.from_text(rule.name) == rule
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_rules_in_words():
    assert {kind: rule.describe() for text, rule in RULES.items() for kind in [text.split()[0]]} == {
        "not_null": "team_id is never null",
        "unique": "team_id and week together are different in every row of the group",
        "range": "at is at least 2024-01-01 12:00",
        "one_of": "level is one of 1, 2.5, true",
        "matches": "the whole of team code matches  a",
        "predicate": 'league <> "NBA" holds in every row',
        "fresh": "the newest event of each write is at most 2 days old",
        "rows": "each write brings at most 99 rows",
    }
    assert Rule.range("age", 0, 150).describe() == "age is from 0 to 150"
    assert Rule.unique("id").describe() == "id is different in every row of the group"


def test_only_rows_can_be_put_aside():
    assert [kind for kind in RuleKind if not kind.is_of_rows] == [RuleKind.FRESH, RuleKind.ROWS]
    assert Rule.fresh("36h").within == datetime.timedelta(hours=36)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a rule must begin with one of not_null, unique"),
        ("rnage age 0 1", "got rnage: did you mean range?"),
        ("not-null age", "got not-null: did you mean not_null?"),
        ("DROP TABLE x", "a rule must begin with one of"),
        ("not_null", "the rule not_null must have something between its commas .* got nothing: write not_null COLUMN"),
        ("not_null a,b", "must name one column, got a,b"),
        ("unique a,a", "must name columns, each once"),
        ("unique a,,b", "something between its commas"),
        ('unique a,"b', "double quotes closed"),
        ("range age", "must have a column and two ends, got age: write range COLUMN LOW HIGH"),
        ("range age - -", "must have a low or a high end"),
        ("range age 5 1", "must have a low end that is not above the high end, got 5 1"),
        ("one_of league", "the rule one_of"),
        ("matches code", "must have a regular expression"),
        ("predicate", "must have a condition"),
        ('predicate " "', "must have a condition"),
        ("fresh soon", "must have a duration such as 2d, 36h or 90m, got soon: write fresh 2d"),
        ("fresh 0d", "must have a duration"),
        ("fresh 999999w", "must have a duration"),
        ("rows ten -", "must have whole numbers, got ten"),
        ("rows 5 1", "low end"),
        ("rows", "must have two ends"),
        ("predicate a <\x00 b", "control characters"),
    ],
)
def test_bad_rules_are_refused_in_one_sentence(text, said):
    with pytest.raises(OptionError, match=said) as caught:
        Rule.from_text(text)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_rules_are_at_hand_where_groups_are_edited():
    from hops_magic import features

    assert features.Rule is Rule


def test_rules_of_python_values():
    assert Rule.fresh(datetime.timedelta(days=20)) == Rule.fresh("20d")
    assert Rule.fresh(datetime.timedelta(minutes=90)) == Rule.fresh("90m")
    # nulls pass it anyway
    assert Rule.one_of("a", ["x", None]) == Rule.one_of("a", ["x"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rule.not_null(["a"]), r"the rule not_null must be made of texts, one for a column, got \['a'\]"),
        (lambda: Rule.matches("a", 5), "the rule matches must be made of texts"),
        (lambda: Rule.range("a", float("nan"), 1), "the rule range must have ends that are numbers, got nan 1"),
        (lambda: Rule.one_of("a", [None]), "the rule one_of must name the values that are allowed"),
        (lambda: Rule.fresh(datetime.timedelta(seconds=1.5)), "the rule fresh must have a duration such as 2d"),
    ],
)
def test_python_values_that_make_no_rule_are_refused(make, said):
    with pytest.raises(OptionError, match=said):
        make()
