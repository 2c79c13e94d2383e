"""Statistics and drift as pages: everything is told in text too, nothing is markup, nothing needs a script."""

import datetime
import math
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from hops_magic.features.column_statistics import Statistics, compute
from hops_magic.features.distribution_drift import Drift, drift
from hops_magic.features.engine import connect
from hops_magic.features.model import Column
from hops_magic.widgets.feature_pictures import blocks, percent
from hops_magic.widgets.feature_statistics import drift_page, duration, moment, statistics_page, value

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\"'"
PICTURES = {"svg", "rect", "g", "title", "text"}
ALLOWED = PICTURES | {"div", "table", "thead", "tbody", "tr", "th", "td", "b", "span"}


class Tags(HTMLParser):
    """The tags of a page, each closed as it was opened, and all attributes."""

    def __init__(self, html):
        super().__init__()
        self.found, self.attributes, self.words, self._open = [], set(), [], []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def table_of_all_kinds(rows=400):
    rng = np.random.default_rng(0)
    speed = rng.normal(20, 4, rows)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    return pa.table(
        {
            "speed": pa.array(speed, mask=rng.random(rows) < 0.2),
            "power": speed**3,
            "price": [math.inf, math.nan, *rng.lognormal(size=rows - 2)],
            "team": rng.choice(["red", "green", "blue"], rows),
            "won": rng.random(rows) < 0.5,
            "at": [start + datetime.timedelta(hours=i) for i in range(rows)],
            "tags": [["a"]] * rows,
            "nothing": pa.nulls(rows, pa.float64()),
            HOSTILE: [HOSTILE] * rows,
        }
    )


def columns_of(table, **descriptions):
    return [Column(name=f.name, type=str(f.type), description=descriptions.get(f.name, "")) for f in table.schema]


def statistics_of(table):
    with connect(memory_gib=1) as engine:
        engine.register("rows", table)
        return compute(engine, "rows", columns_of(table))


def drift_of(before, after):
    with connect(memory_gib=1) as engine:
        engine.register("old", before)
        engine.register("new", after)
        return drift(
            engine, "old", "new", columns_of(before) + [c for c in columns_of(after) if c.name not in before.column_names]
        )


@pytest.fixture(scope="module")
def page():
    table = table_of_all_kinds()
    return statistics_page(f"teams@1 {HOSTILE}", statistics_of(table), columns_of(table, speed=f"km/h {HOSTILE}"))


def safe(html):
    tags = Tags(html)
    assert set(tags.found) <= ALLOWED
    assert not {name for name in tags.attributes if name.startswith("on")} | ({"src", "href"} & tags.attributes)
    assert "\x1b" not in html
    return tags


def test_a_page_is_pictures_without_script_and_all_names_are_text(page):
    tags = safe(page.html())
    assert "<img src=x onerror=alert(1)>\"'" in tags.words
    # histograms of six columns, bars of two and of the hostile one, gauges of nulls, the heatmap
    assert tags.found.count("svg") == 4 + 3 + 3 + 1


def test_text_tells_what_pictures_show(page):
    lines = page.text().splitlines()
    assert lines[0].startswith("teams@1")
    assert lines[0].endswith("400 rows · 9 columns")
    told = {line.split()[0]: line for line in lines[1:] if line.strip()}
    assert "█" in told["speed"]
    assert "true " in told["won"]
    assert "%" in told["team"]
    assert "2024-01-01" in told["at"]
    assert "100 %" in told["nothing"]
    assert "\nCorrelation\n" in page.text()
    assert "power and speed" in page.text() or "speed and power" in page.text()
    assert "Not varying: nothing" in page.text()
    assert "\x1b" not in page.text()


def test_infinities_and_descriptions_are_said(page):
    words = " ".join(safe(page.html()).words)
    assert "1 infinite" in words
    assert "km/h" in words


def test_a_group_without_rows_and_one_without_columns():
    empty = table_of_all_kinds().slice(0, 0)
    shown = statistics_page("teams", statistics_of(empty), columns_of(empty))
    safe(shown.html())
    assert "0 rows" in shown.text()
    safe(statistics_page("teams", Statistics(rows=0, columns=()), []).html())


def test_of_hundreds_of_columns_the_first_hundred_and_the_strongest_correlations_are_shown():
    rng = np.random.default_rng(0)
    table = pa.table({f"n{i}": rng.normal(size=30) for i in range(120)})
    shown = statistics_page("wide", statistics_of(table), columns_of(table))
    assert "20 more columns are not shown." in shown.text()
    assert (
        "The 30 columns of 100 with the strongest correlations. 20 more columns of numbers were not compared."
        in shown.text()
    )
    assert len(shown.html()) < 1_000_000


def test_drift_is_told_worst_first():
    table = table_of_all_kinds()
    later = table.set_column(0, "speed", pa.array(np.random.default_rng(1).normal(40, 4, 400))).drop_columns(["team"])
    later = later.append_column("fresh", pa.array([1] * 400))
    shown = drift_page(drift_of(table, later))
    tags = safe(shown.html())
    lines = shown.text().splitlines()
    assert lines[0] == "1 drifted, 1 missing, 1 new, 6 stable, 1 unknown · 400 rows before, 400 after"
    assert [line.split()[0] for line in lines[2:5]] == ["speed", "team", "fresh"]
    assert "< 0.001" in lines[2]
    assert any("before" in word and "after" in word for word in tags.words)
    safe(drift_page(drift_of(table, table.slice(0, 0))).html())
    safe(drift_page(Drift(rows_before=0, rows_after=0, columns=())).html())


def test_figures_are_short_and_readable():
    assert [value(data) for data in (None, True, 2013, 2013.0, 1_234_568, 0.03125, 1e15, -5.5, 12_345.6)] == [
        "",
        "true",
        "2013",
        "2013",
        "1,234,568",
        "0.03125",
        "1.000e+15",
        "-5.5",
        "12,346",
    ]
    assert [
        moment(text) for text in ("2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01T09:30:00", "2024-01-01T09:30:07.5Z")
    ] == [
        "2024-01-01",
        "2024-01-01",
        "2024-01-01 09:30",
        "2024-01-01 09:30:07",
    ]
    assert [duration(seconds) for seconds in (86_400, 5_400, 90, 0.25)] == ["1 d", "1.5 h", "1.5 min", "0.25 s"]
    assert [percent(share) for share in (0, 0.0002, 0.012, 0.5, 0.9997, 1)] == [
        "0 %",
        "< 0.1 %",
        "1.2 %",
        "50 %",
        "> 99.9 %",
        "100 %",
    ]
    assert blocks([0, 1, 100]) == " ▁█"
