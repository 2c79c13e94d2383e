"""Pages of the feature store: names and values are text, never markup, in notebooks and in terminals."""

import datetime
from html.parser import HTMLParser
from types import SimpleNamespace

import pyarrow as pa
import pytest

from hops_magic.features.answers import AnswerRows
from hops_magic.features.comparing import Difference
from hops_magic.features.finding import Match
from hops_magic.features.model import Column, Commit, ForeignKey, Group, Operation
from hops_magic.features.planner import Join, Moment, Output, Plan
from hops_magic.features.reading import Explanation
from hops_magic.features.rules import Rule
from hops_magic.features.ways import Pair
from hops_magic.widgets import features as pages
from hops_magic.widgets.answers import Answer

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e\"'"
NOW = datetime.datetime.now(datetime.UTC)
PICTURES = {"svg", "rect", "g", "title", "text"}
PLAIN = {"div", "table", "thead", "tbody", "tr", "th", "td", "b", "span", "details", "summary", "pre", "mark"}


class Tags(HTMLParser):
    """The tags and words of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words, self.marked = set(), set(), "", []
        self._in_mark = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._in_mark = tag == "mark"

    def handle_endtag(self, tag):
        self._in_mark = False

    def handle_data(self, data):
        self.words += data
        if self._in_mark:
            self.marked.append(data)


def group(name="teams", **changes):
    values = {
        "name": name,
        "version": 1,
        "columns": (
            Column(name="team_id", type="int64"),
            Column(name="at", type="timestamp[us, tz=UTC]"),
            Column(name="town", type="string", description=HOSTILE),
        ),
        "primary_key": ("team_id",),
        "event_time": "at",
        "location": f"/lake/{HOSTILE}",
        "description": HOSTILE,
        "tags": (HOSTILE,),
        "foreign_keys": (ForeignKey(columns=("town",), group="towns", references=("name",)),),
        "rules": (Rule.from_text(f'predicate "town <> {HOSTILE[:28]}"').to_json(),),
        "rows": 1_234_567,
        "author": HOSTILE,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Group(**{**values, **changes})


def commit(**changes):
    return Commit(
        number=3, at=NOW, author=HOSTILE, operation=Operation.UPSERT, rows_added=2, rows=7, source=HOSTILE, **changes
    )


def match(text=HOSTILE, start=1, end=4):
    return Match(
        group="teams", version=1, column="town", type="string", description=text, where="description", text=text,
        start=start, end=end,
    )  # fmt: skip


def explanation(spine=None):
    left, right = group("teams", event_time=None), group("games")
    town = right.columns[2]
    join = Join(alias="g1", group=right, on=(Pair(source="g0", left="team_id", right="team_id"),), moment=Moment.AS_OF)
    plan = Plan(
        base=left, spine=spine, joins=(join,), outputs=(Output(source="g1", column=town, name=HOSTILE, group=right),)
    )
    return Explanation(
        plan=plan, sql=f"SELECT '{HOSTILE}'", commits={"g0": 3, "g1": 5}, rows={"g0": 10, "g1": 20}, rows_before=10,
        rows_after=10,
    )  # fmt: skip


def rows(count=2):
    return pa.table({"team_id": list(range(count)), HOSTILE: [HOSTILE, None] * (count // 2), "size": [0.5] * count})


def difference():
    return Difference(
        group=group(), before=1, after=2, added=rows(), changed=rows(), removed=rows().slice(0, 0),
        counts={"added": 2, "changed": 2_000, "removed": 0},
    )  # fmt: skip


def use():
    kind = SimpleNamespace(value=HOSTILE)
    return SimpleNamespace(name=HOSTILE, kind=kind, through=HOSTILE, features=(HOSTILE,), at=NOW.timestamp())


PAGES = {
    "groups": lambda: pages.groups_table([group()], note=HOSTILE),
    "matches": lambda: pages.matches_table([match()]),
    "group": lambda: pages.group_page(group(), [group(), group(version=2)]),
    "rules": lambda: pages.rules_table([Rule.from_json(rule) for rule in group().rules], group()),
    "history": lambda: pages.history_table([commit(), commit(run_id=HOSTILE)]),
    "explanation": lambda: pages.explanation_page(explanation()),
    "difference": lambda: pages.difference_page(difference()),
    "uses": lambda: pages.uses_table([use()]),
    "rows": lambda: pages.rows_table(rows(), title=HOSTILE),
    "answer": lambda: Answer(AnswerRows(rows()), title=HOSTILE),
}


@pytest.mark.parametrize("name", PAGES)
def test_nothing_in_a_page_can_act(name):
    page = PAGES[name]()
    html = page._repr_html_()
    tags = Tags(html)
    assert tags.tags <= PLAIN | PICTURES
    assert not {each for each in tags.attributes if each.startswith("on") or each in ("href", "src")}
    for shown in (html, repr(page)):
        assert "\x1b" not in shown
        assert "\u202e" not in shown


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_in_text_what_it_shows(name):
    assert "<div" not in repr(PAGES[name]())
    assert len(repr(PAGES[name]()).splitlines()) > 1


def test_a_search_marks_the_matched_part_even_of_markup():
    assert Tags(pages.matches_table([match("a <b> c", 2, 5)]).html()).marked == ["<b>"]
    page = pages.matches_table([match("average_attendance", 8, 18)]).html()
    assert Tags(page).marked == ["attendance"]
    assert "average_attendance" in Tags(page).words


def test_a_group_tells_keys_roles_versions_and_rules():
    text = repr(pages.group_page(group(), [group(version=2), group()]))
    for words in ("1,234,567", "teams@2, teams@1", "event time", "key of towns", "is refused"):
        assert words in text
    assert "put aside" in repr(pages.group_page(group(on_fail="quarantine"), [group()]))


def test_an_explanation_tells_base_joins_commits_and_rows():
    text = repr(pages.explanation_page(explanation()))
    for words in ("teams@1", "base", "left, on team_id", "games@1.town", "10 rows before the joins, 10 rows after"):
        assert words in text


def test_a_difference_shows_some_rows_and_counts_all():
    text = repr(pages.difference_page(difference()))
    assert "2 added, 2,000 changed, 0 removed" in text
    assert "changed, 2 of 2,000" in text
    assert "removed, " not in text.split("\n", 1)[1]


def test_a_table_of_rows_shows_types_nulls_and_how_much_is_left_out():
    wide = pa.table({f"c{n}": [n] * 250 for n in range(70)})
    table = pages.rows_table(wide)
    assert len(table.rows) == 100
    assert "150 more rows, 10 more columns" in table.note
    assert "c0 (int64)" in table.text()
    words = pages.rows_table(pa.table({"town": ["", None]}))
    assert [cell.text for row in words.rows for cell in row] == ["", "null"]
    assert "no rows" in pages.rows_table(wide.slice(0, 0)).text()


def test_numbers_of_rows_are_digits_without_commas():
    years = pages.rows_table(pa.table({"built": [1999.0, 2000.5, 0.1 + 0.2, 1234567.0, 1e-9, float("nan")]}))
    assert [cell.text for row in years.rows for cell in row] == ["1999", "2000.5", "0.3", "1234567", "1e-09", "nan"]


def test_an_answer_without_rows_or_with_nested_values_is_shown():
    assert "no rows" in Answer(AnswerRows(rows().slice(0, 0))).__repr__()
    nested = pa.table({"a": [[1, 2]], "b": [{"x": HOSTILE}], "c": [b"\x00\xff"], "d": [datetime.date(2024, 1, 2)]})
    assert "[1, 2]" in repr(Answer(AnswerRows(nested)))
    assert Tags(Answer(AnswerRows(nested))._repr_html_()).tags <= PLAIN | PICTURES


def test_an_answer_counts_its_rows_and_folds_distributions():
    page = Tags(Answer(AnswerRows(rows(4)), title="town")._repr_html_())
    assert "town: 4 rows of 3 columns" in page.words
    assert {"details", "svg"} <= page.tags


def test_empty_tables_say_what_to_do():
    assert "%features save" in pages.groups_table([]).text()
    assert pages.matches_table([]).text() == "nothing matches"
    assert "%features rule teams add" in pages.rules_table([], group()).text()
    assert "nothing was made" in pages.uses_table([]).text()
