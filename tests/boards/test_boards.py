"""What a board answers its page, and what it refuses."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from waiting import wait_until

from hops_magic.api.changes import Changes
from hops_magic.api.context import Context
from hops_magic.boards import Board, ExperimentBoard, FeatureBoard, ModelBoard, RunBoard, StudyBoard
from hops_magic.errors import NotFoundError, UsageError
from hops_magic.features.errors import UnknownNameError


class Page:
    """A page that shows a board: asks, and keeps what it is told."""

    def __init__(self, board: Board, name: str = "page") -> None:
        self.board, self.name, self.told, self._last = board, name, [], 0
        board.send = self.told.append

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        self._last += 1
        request = {"type": "request", "page": self.name, "id": self._last, "method": method, "path": path}
        self.say({**request, "query": {name: [value] for name, value in query.items()}, "body": body})
        (answer,) = wait_until(lambda: self.answers(self._last), f"an answer to {method} {path}")
        return answer["status"], answer["body"]

    def say(self, message: dict[str, Any]) -> None:
        self.board._handle_custom_msg(message, [])

    def answers(self, number: int) -> list[dict[str, Any]]:
        return [told for told in self.told if told["type"] == "answer" and told["id"] == number]


def test_a_page_asks_what_the_sidebar_asks(context: Context) -> None:
    page = Page(ExperimentBoard(context=context))
    status, found = page.ask("GET", "/runs", sort="name", limit="2")
    assert status == 200
    assert len(found["items"]) == 2
    assert found["has_more"]
    assert page.ask("GET", "/groups/teams%401")[1]["name"] == "teams"


def test_mistakes_come_back_as_problems(context: Context) -> None:
    page = Page(ExperimentBoard(context=context))
    status, problem = page.ask("GET", "/runs/nobody")
    assert (status, problem["type"]) == (404, "problems/not-found")
    assert page.ask("GET", "/nothing/of/this")[0] == 404
    assert page.ask("GET", "/runs", limit="many")[0] == 400


def test_a_board_only_shows_unless_it_is_asked_to_change(context: Context) -> None:
    status, problem = Page(RunBoard("good", context=context)).ask("DELETE", "/runs/aaaa00000002")
    assert (status, problem["type"]) == (403, "problems/read-only")
    assert "read_only=False" in problem["detail"]
    page = Page(ExperimentBoard(read_only=False, context=context))
    assert page.ask("DELETE", "/runs/aaaa00000002")[0] == 200
    assert page.ask("GET", "/runs/aaaa00000002")[1]["is_deleted"]
    assert page.ask("POST", "/runs/aaaa00000002/restore")[0] == 200


def test_a_message_that_comes_by_two_ways_is_answered_once(context: Context) -> None:
    page = Page(ExperimentBoard(context=context))
    request = {"type": "request", "page": "page", "id": 1, "method": "GET", "path": "/about"}
    page.say(request)
    page.say(request)
    page.say({**request, "page": "another"})
    wait_until(lambda: len(page.told) >= 2, "answers to both pages")
    # threads may still be at an answer that should not come: the next one comes after it
    page._last = 1
    assert page.ask("GET", "/about")[0] == 200
    assert sorted(told["page"] for told in page.told if told["id"] == 1) == ["another", "page"]


def test_changes_are_told_until_the_board_is_closed(context: Context) -> None:
    board = FeatureBoard(context=context)
    page = Page(board)
    context.changes.say(["features"])
    assert [told["topics"] for told in page.told if told["type"] == "changed"] == [["features"]]
    board.close()
    context.changes.say(["features"])
    assert len(page.told) == 1


def test_a_board_that_no_page_asks_any_more_is_told_nothing(context: Context, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(context, "changes", Changes(lambda: now[0]))
    seen, left = Page(ModelBoard(context=context)), Page(ModelBoard(context=context))
    now[0] = 60.0
    seen.ask("GET", "/about")
    context.changes.say(["models"])
    now[0] = 120.0
    context.changes.say(["models"])
    assert [len([told for told in page.told if told["type"] == "changed"]) for page in (seen, left)] == [2, 1]
    # a page that comes back is told again
    left.ask("GET", "/about")
    context.changes.say(["models"])
    assert left.told[-1]["type"] == "changed"


def test_numbers_that_json_does_not_know_come_as_null(context: Context) -> None:
    with context.registry.artifact(context.registry.run("bad"), "options.json") as options:
        assert options is not None
        was = options.read_text()
        options.write_text('{"options": {"lr": NaN, "most": [Infinity, 1.5]}}')
        found = Page(ExperimentBoard(context=context)).ask("GET", "/runs/bad")[1]
        options.write_text(was)
    assert found["options"] == {"options": {"lr": None, "most": [None, 1.5]}}


def test_boards_share_their_threads(context: Context) -> None:
    for _ in range(20):
        board = ModelBoard(context=context)
        Page(board).ask("GET", "/models")
        board.close()
    assert len([each for each in threading.enumerate() if each.name.startswith("hops-board")]) <= 4


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda context: RunBoard("nobody", context=context), NotFoundError, "nobody"),
        (lambda context: RunBoard(7, context=context), UsageError, "a run is told by a text such as its name, not by 7"),
        (lambda context: StudyBoard("good", context=context), UsageError, "good is no study but a single run"),
        (lambda context: FeatureBoard("nowhere", context=context), UnknownNameError, "nowhere"),
        (lambda context: ModelBoard("nothing", context=context), NotFoundError, "nothing"),
        (lambda context: ExperimentBoard(read_only="no", context=context), UsageError, "read_only is True or False"),
    ],
)
def test_what_cannot_be_shown_is_said_when_the_board_is_made(context: Context, make, error, told: str) -> None:
    with pytest.raises(error, match=told):
        make(context)


def test_a_run_is_found_by_the_beginning_of_its_id_and_the_newest_by_nothing(context: Context) -> None:
    assert repr(RunBoard("aaaa00000001", context=context)) == "RunBoard('aaaa00000001')"
    assert repr(RunBoard("good", context=context)) == "RunBoard('aaaa00000001')"
    newest = context.registry.runs(limit=1)[0].run_id
    assert repr(RunBoard(context=context)) == f"RunBoard('{newest}')"
    assert repr(FeatureBoard("teams", context=context)) == "FeatureBoard('teams@1')"
