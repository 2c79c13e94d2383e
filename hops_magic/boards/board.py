"""The kernel's end of a board: answers the page's requests from the table of endpoints, and tells it of changes."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import traitlets

import hops_magic.widgets
from hops_magic.api import endpoints
from hops_magic.api.changes import Attention, Changed
from hops_magic.api.context import Context
from hops_magic.api.encoding import cleaned
from hops_magic.api.problems import problem_of, refused
from hops_magic.api.rights import NONE, Kind, Rights
from hops_magic.api.routing import answer, table
from hops_magic.errors import UsageError
from hops_magic.session import Session, session
from hops_magic.widgets.routing import route
from hops_magic.widgets.told import ToldWidget, numbered

log = logging.getLogger(__name__)

_BUNDLES = Path(hops_magic.widgets.__file__).parent / "static"
_LISTS = ("experiments", "features", "models")
_THREADS = 3
# a long read keeps one thread busy, and no other question waiting
_SLOW_THREADS = 1
assert endpoints.__all__


class Board(ToldWidget):
    """A screen of the sidebar as a widget.

    Its page asks by messages what the sidebar asks over HTTP, and is answered in threads, so that a board lives while a cell
    runs.

    Parameters
    ----------
    screen : str
        What is shown first.
    thing : str
        Which one of it; empty for a list.
    read_only : bool
        Refuse whatever changes something: stopping, deleting, aliases.
    kind : Kind
        What a board that is not read-only changes: of that kind, what it shows first, or all if it shows a list.
    context : Context, optional
        What is asked; by default the kernel's own, which all its boards share.

    Raises
    ------
    UsageError
        If the front end was not built.
    """

    _screen = traitlets.Unicode().tag(sync=True)
    _thing = traitlets.Unicode().tag(sync=True)
    _is_read_only = traitlets.Bool(True).tag(sync=True)

    def __init__(self, screen: str, thing: str, *, read_only: bool, kind: Kind, context: Context | None = None) -> None:
        if not isinstance(read_only, bool):
            raise UsageError(f"read_only is True or False, not {read_only!r}")
        self._context = context or kernel_context()
        # the traits tell pages what to draw; what they may do is settled here, where no message reaches
        self._rights = NONE if read_only else Rights(kind=kind, thing="" if screen in _LISTS else thing)
        super().__init__(_esm=bundle("board"), _screen=screen, _thing=thing, _is_read_only=read_only)
        self._last: dict[str, int] = {}
        self._lock = threading.Lock()
        self._attention = Attention(self._context.changes.clock)
        # threads have no cell to answer for: they answer for the one that made the board
        self._surroundings = contextvars.copy_context()
        self._leave: Callable[[], None] = self._context.changes.listen(self._tell)
        route(self, self._on_message)

    def close(self) -> None:
        """Take the board off its pages and hear of no more changes."""
        if "_leave" in self.__dict__:
            self._leave()
        super().close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._thing!r})" if self._thing else f"{type(self).__name__}()"

    def _on_message(self, content: Mapping[str, Any]) -> None:
        asked = numbered(content)
        if asked is None:
            return
        page, number = asked
        with self._lock:
            # a message may come by two ways
            if number <= self._last.get(page, 0):
                return
            self._last[page] = number
        self._attention.note()
        is_slow = table.is_slow(str(content.get("method", "")), str(content.get("path", "")))
        (slow_threads() if is_slow else threads()).submit(
            self._surroundings.copy().run, self._answer, page, number, dict(content)
        )

    def _answer(self, page: str, number: int, request: Mapping[str, Any]) -> None:
        status, body = self._ask(request)
        self.send({"type": "answer", "page": page, "id": number, "status": status, "body": body})

    def _ask(self, request: Mapping[str, Any]) -> tuple[int, Any]:
        method, path = str(request.get("method", "")), str(request.get("path", ""))
        try:
            query = _query(request.get("query") or {})
            body, status = answer(self._context, method, path, query, request.get("body"), rights=self._rights)
        # whatever it is, the page is told; what nobody foresaw is in the log as well
        except Exception as error:
            problem = problem_of(error)
            if problem.slug == "internal":
                log.exception("%s %s failed", method, path[:200])
            return problem.status, problem.to_json()
        return status, cleaned(body)

    def _tell(self, changed: Changed) -> None:
        # a cell that is run again leaves a board that nobody sees; a page that is seen asks every half minute
        if self._attention.is_paid:
            self._surroundings.copy().run(self.send, {"type": "changed", **changed.model_dump()})


def _query(given: Any) -> dict[str, list[str]]:
    if not isinstance(given, dict) or not all(isinstance(values, list) for values in given.values()):
        raise refused("bad-parameter", "the query must be an object of lists of texts")
    return {str(name): [str(value) for value in values] for name, values in given.items()}


@functools.cache
def kernel_context() -> Context:
    """Return what all boards of this kernel ask: a registry of their own, and the kernel's feature store and cluster."""
    used = session()
    own = Session(used.settings)
    own.__dict__["clusters"] = used.clusters
    return Context(own)


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads that answer pages, which all widgets of this kernel share."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="hops-board")


@functools.cache
def slow_threads() -> ThreadPoolExecutor:
    """Return the thread that reads rows and walks far."""
    return ThreadPoolExecutor(_SLOW_THREADS, thread_name_prefix="hops-board-slow")


@functools.cache
def bundle(name: str) -> str:
    """Return the front end of a widget.

    Raises
    ------
    UsageError
        If it was not built.
    """
    file = _BUNDLES / f"{name}.js"
    if not file.exists():
        raise UsageError(f"the front end of {name} was not built: run make front")
    return file.read_text(encoding="utf-8")
