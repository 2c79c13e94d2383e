"""An answer's live table: what it answers its page, from memory and from files, and what a saved notebook keeps."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from waiting import wait_until

from hops_magic.boards.answer_table import AnswerTable
from hops_magic.features.answers import AnswerRows
from hops_magic.features.streaming import StreamedRows, write_parts
from hops_magic.widgets.answers import Answer

HOSTILE = "<img src=x onerror=alert(1)>"
ROWS = pa.table(
    {
        "n": pa.array(range(130), pa.int64()),
        "team": [HOSTILE if n == 7 else None if n % 10 == 0 else "ab"[n % 2] for n in range(130)],
        "at": [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=n) for n in range(130)],
        "-n": [130.5 - n for n in range(130)],
    }
)


@pytest.fixture(params=["memory", "files"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> AnswerRows:
    if request.param == "memory":
        return AnswerRows(ROWS)
    names = write_parts(ROWS.to_reader(), tmp_path, rows_per_file=50)
    return AnswerRows(StreamedRows.of([str(tmp_path / name) for name in names]))


class Page:
    """A page that shows a table: asks, and keeps what it is told."""

    def __init__(self, table: AnswerTable) -> None:
        self.table, self.told, self._last = table, [], 0
        table.send = self.told.append

    def ask(self, path: str, **query: Any) -> tuple[int, Any]:
        self._last += 1
        asked = {name: [str(value)] for name, value in query.items()}
        request = {"type": "request", "page": "p", "id": self._last, "method": "GET", "path": path, "query": asked}
        self.table._handle_custom_msg(request, [])
        (answer,) = wait_until(lambda: [told for told in self.told if told["id"] == self._last], f"an answer to {path}")
        return answer["status"], answer["body"]

    def column(self, at: int, **query: Any) -> list[Any]:
        return [row[at] for row in self.ask("/rows", **query)[1]["rows"]]


def test_rows_come_a_page_at_a_time_in_their_order(rows: AnswerRows) -> None:
    page = Page(AnswerTable(rows, "n"))
    status, body = page.ask("/rows", offset=100, limit=50)
    assert status == 200
    assert [row[0] for row in body["rows"]] == list(range(100, 130))
    assert body["total"] == 130
    assert body["columns"][2] == {"name": "at", "type": "timestamp[us, tz=UTC]"}
    assert page.column(0, offset=130) == []


def test_any_column_sorts_all_rows_with_nulls_last_and_alike_ones_in_their_order(rows: AnswerRows) -> None:
    page = Page(AnswerTable(rows, "n"))
    assert page.column(0, sort="at", limit=3) == [0, 1, 2]
    # a column may be named like the wish to sort another one
    assert page.column(0, sort="-n", limit=3) == [129, 128, 127]
    assert page.column(0, sort="--n", limit=3) == [0, 1, 2]
    teams = [each for offset in (0, 50, 100) for each in page.ask("/rows", sort="-team", offset=offset, limit=50)[1]["rows"]]
    assert sorted(row[0] for row in teams) == list(range(130))
    assert [row[1] for row in teams[-13:]] == [None] * 13
    assert [row[0] for row in teams if row[1] == "a"] == [n for n in range(130) if n % 2 == 0 and n % 10]
    assert page.column(1, sort="team", limit=1) == [HOSTILE]


def test_columns_have_small_distributions(rows: AnswerRows) -> None:
    status, found = Page(AnswerTable(rows, "n")).ask("/sketches")
    assert status == 200
    assert set(found) == {"n", "team", "at", "-n"}
    assert sum(found["n"]["counts"]) == 130
    assert dict(zip(found["team"]["labels"], found["team"]["counts"], strict=True))["b"] == 64


def test_what_cannot_be_answered_is_told(rows: AnswerRows) -> None:
    page = Page(AnswerTable(rows, "n"))
    status, problem = page.ask("/rows", sort="tem")
    assert (status, problem["detail"]) == (404, "there is no column 'tem' in the answer: did you mean team?")
    assert page.ask("/rows", limit="many")[0] == 400
    assert page.ask("/runs")[0] == 400
    assert len(page.ask("/rows", limit=10**9)[1]["rows"]) == 130


def test_an_answer_whose_files_are_gone_says_so(tmp_path: Path) -> None:
    names = write_parts(ROWS.to_reader(), tmp_path)
    rows = AnswerRows(StreamedRows.of([str(tmp_path / name) for name in names]))
    (tmp_path / names[0]).unlink()
    page = Page(AnswerTable(rows, "n"))
    for query in ({}, {"sort": "n"}):
        status, problem = page.ask("/rows", **query)
        assert status == 503
        assert names[0] in problem["detail"]


def test_an_answer_without_rows_has_a_head(rows: AnswerRows) -> None:
    page = Page(AnswerTable(AnswerRows(rows.arrow().slice(0, 0)), "n"))
    assert page.ask("/rows")[1] | {"columns": []} == {"columns": [], "rows": [], "total": 0}
    assert page.ask("/sketches") == (200, {})


@pytest.mark.parametrize(
    ("view", "forms"),
    [("notebook", [["text/plain", "widget"], ["text/html", "text/plain"]]), ("voila", [["text/plain", "widget"]])],
)
def test_a_notebook_keeps_a_picture_beside_the_live_table(monkeypatch: pytest.MonkeyPatch, view: str, forms: list) -> None:
    InteractiveShell.instance()
    monkeypatch.setenv("HOPS_VIEW", view)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    with capture_output() as said:
        Answer(AnswerRows(ROWS), HOSTILE, widget=AnswerTable)._ipython_display_()
    bundles = [output.data for output in said.outputs]
    kinds = [["widget" if "widget-view" in kind else kind for kind in sorted(bundle)] for bundle in bundles]
    assert [sorted(each) for each in kinds] == forms
    if view == "notebook":
        assert "hops-answer-saved" in bundles[1]["text/html"]
        assert HOSTILE not in bundles[1]["text/html"]


def test_where_no_browser_is_an_answer_is_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOPS_VIEW", "terminal")
    with pytest.raises(NotImplementedError):
        Answer(AnswerRows(ROWS), "n", widget=AnswerTable)._ipython_display_()
