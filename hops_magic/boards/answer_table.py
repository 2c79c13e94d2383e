"""The kernel's end of an answer's live table: sorts and cuts its rows, in threads, also while a cell runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import traitlets

from hops_magic.api.columns import sketch_of
from hops_magic.api.plain import table_of
from hops_magic.api.problems import problem_of
from hops_magic.boards.board import bundle, threads
from hops_magic.errors import UsageError
from hops_magic.features.answers import AnswerRows
from hops_magic.widgets.routing import route
from hops_magic.widgets.told import ToldWidget, numbered

log = logging.getLogger(__name__)

_MOST_ROWS = 500


class AnswerTable(ToldWidget):
    """Rows of an answer, a page at a time, by any column, with small distributions.

    Parameters
    ----------
    rows : AnswerRows
        What is shown.
    title : str
        What was asked for.

    Raises
    ------
    UsageError
        If the front end was not built.
    """

    _title = traitlets.Unicode().tag(sync=True)

    def __init__(self, rows: AnswerRows, title: str) -> None:
        self._rows = rows
        self._last: dict[str, int] = {}
        super().__init__(_esm=bundle("answer"), _title=title)
        route(self, self._on_message)

    def _on_message(self, content: Mapping[str, Any]) -> None:
        asked = numbered(content)
        if asked is None:
            return
        page, number = asked
        # a message may come by two ways
        if number > self._last.get(page, 0):
            self._last[page] = number
            threads().submit(self._answer, page, number, dict(content))

    def _answer(self, page: str, number: int, request: Mapping[str, Any]) -> None:
        status, body = self._ask(request)
        self.send({"type": "answer", "page": page, "id": number, "status": status, "body": body})

    def _ask(self, request: Mapping[str, Any]) -> tuple[int, Any]:
        try:
            return 200, self._found(str(request.get("path", "")), dict(request.get("query") or {}))
        # whatever it is, the page is told; what nobody foresaw is in the log as well
        except Exception as error:
            problem = problem_of(error)
            if problem.slug == "internal":
                log.exception("%s failed", str(request.get("path"))[:200])
            return problem.status, problem.to_json()

    def _found(self, path: str, query: Mapping[str, list[str]]) -> Any:
        if path == "/sketches":
            found = self._rows.statistics().to_json()["columns"] if self._rows.num_rows else []
            sketches = {column["name"]: sketch_of(column) for column in found}
            return {name: sketch.model_dump() for name, sketch in sketches.items() if sketch is not None}
        if path == "/rows":
            offset, limit = _number(query, "offset", 0), _number(query, "limit", 50)
            sort = next(iter(query.get("sort") or ()), "")
            rows = self._rows.page(offset=offset, limit=min(limit, _MOST_ROWS), sort=sort)
            return table_of(rows, self._rows.num_rows).model_dump()
        raise UsageError(f"an answer has rows and sketches, not {path[:80]!r}")


def _number(query: Mapping[str, list[str]], name: str, default: int) -> int:
    text = next(iter(query.get(name) or ()), str(default))
    if not text.isdecimal():
        raise UsageError(f"{name} must be a number, got {text[:80]!r}")
    return int(text)
