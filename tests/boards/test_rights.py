"""What a page can do with a board: what the kernel gave it, whatever it sends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from test_boards import Page

from hops_magic.api.context import Context
from hops_magic.api.routing import Endpoint, table
from hops_magic.boards import Board, ExperimentBoard, FeatureBoard, ModelBoard, RunBoard, StudyBoard

CHANGING = [endpoint for endpoint in table.endpoints if not endpoint.is_read_only]
OWN = {"run": "aaaa00000001", "group": "teams%401", "model": "digits", "number": "0", "alias": "best", "version": "1"}
FOREIGN = {"run": "aaaa00000002", "group": "delays%401", "model": "other", "number": "0", "alias": "best", "version": "1"}
BOARDS: dict[str, Callable[..., Board]] = {
    "run": lambda **given: RunBoard("good", **given),
    "study": lambda **given: StudyBoard("search", **given),
    "experiments": ExperimentBoard,
    "features": FeatureBoard,
    "group": lambda **given: FeatureBoard("teams", **given),
    "models": ModelBoard,
    "model": lambda **given: ModelBoard("digits", **given),
}


def address(endpoint: Endpoint, things: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: things[found[1]], endpoint.path)


def flip(board: Board, **state: Any) -> None:
    """Send the state that a page would set, as its widget manager sends it."""
    data = {"method": "update", "state": state, "buffer_paths": []}
    board._handle_msg({"content": {"data": data}, "buffers": []})


def accepted(page: Page, things: dict[str, str]) -> list[str]:
    """Ask for everything that changes something; return what was not refused as beyond the board's rights."""
    found = []
    for endpoint in CHANGING:
        status, problem = page.ask(endpoint.method, address(endpoint, things), {})
        if (status, problem["type"] if status >= 400 else "") != (403, "problems/read-only"):
            found.append(f"{endpoint.method} {endpoint.path}: {status}")
    return found


@pytest.mark.parametrize("name", BOARDS)
def test_no_message_makes_a_board_that_only_shows_do_anything(context: Context, name: str) -> None:
    board = BOARDS[name](context=context)
    screen, thing = board._screen, board._thing
    page = Page(board)
    assert accepted(page, OWN) == []
    flip(board, _is_read_only=False, _screen="run", _thing="aaaa00000002", _rights=None, _esm="export default 1")
    # another way to the same trait, for whoever finds one
    board._is_read_only = False
    assert accepted(page, OWN) == []
    assert accepted(page, FOREIGN) == []
    assert (board._screen, board._thing) == (screen, thing)
    assert board._esm != "export default 1"


@pytest.mark.parametrize("name", ["run", "study", "group", "model"])
def test_a_board_of_one_thing_changes_no_other(context: Context, name: str) -> None:
    board = BOARDS[name](read_only=False, context=context)
    flip(board, _thing="aaaa00000002")
    assert accepted(Page(board), FOREIGN) == []


def test_names_and_beginnings_of_ids_are_not_what_a_board_was_made_for(context: Context) -> None:
    page = Page(RunBoard("good", read_only=False, context=context))
    for told in ("good", "aaaa0000", "AAAA00000001", "aaaa00000001%20", "aaaa00000001%2F..%2Faaaa00000002"):
        assert page.ask("DELETE", f"/runs/{told}")[0] in (403, 404)
    assert page.ask("DELETE", "/runs/aaaa00000001")[0] == 200
    assert page.ask("POST", "/runs/aaaa00000001/restore")[0] == 200


@pytest.mark.parametrize("name", ["experiments", "features", "models"])
def test_a_list_changes_its_kind_and_no_other(context: Context, name: str) -> None:
    page = Page(BOARDS[name](read_only=False, context=context))
    kind = {"experiments": "{run}", "features": "{group}", "models": "{model}"}[name]
    for endpoint in CHANGING:
        if kind not in endpoint.path:
            status, problem = page.ask(endpoint.method, address(endpoint, OWN), {})
            assert (status, problem["type"]) == (403, "problems/read-only"), endpoint.path


def test_a_page_that_sets_something_is_told_how_it_is(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    board = RunBoard("good", context=context)
    told: list[Any] = []
    monkeypatch.setattr(board, "_send", lambda message, buffers=None: told.append(message["state"]))
    flip(board, _is_read_only=False, nothing=1)
    assert told == [{"_is_read_only": True}]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "request"},
        {"type": "request", "page": 1, "id": 1},
        {"type": "request", "page": "p", "id": "1"},
        {"type": "request", "page": "p", "id": True},
        {"type": "request", "page": "p", "id": None},
    ],
)
def test_what_is_no_request_is_not_answered(context: Context, message: dict[str, Any]) -> None:
    page = Page(ModelBoard(context=context))
    page.say(message)
    assert page.ask("GET", "/about")[0] == 200
    assert len(page.told) == 1


@pytest.mark.parametrize("query", [7, "text", {"limit": 7}, {"limit": None}, [1]])
def test_a_query_that_is_none_is_refused(context: Context, query: Any) -> None:
    page = Page(ModelBoard(context=context))
    page.say({"type": "request", "page": "page", "id": 1, "method": "GET", "path": "/models", "query": query})
    page._last = 1
    assert page.ask("GET", "/about")[0] == 200
    assert [told["status"] for told in page.told if told["id"] == 1] == [400]
