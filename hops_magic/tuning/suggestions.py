"""Suggestions made ahead of time, in a thread, so that a free place never waits for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from hops_magic.errors import HopsError, UsageError
from hops_magic.tuning.search import NotYet, Outcome, Point, Search


class Suggestions:
    """Asks a search and tells it, one call at a time.

    The order of calls depends only on the order in which suggestions are taken and results are told: a study with the
    same seed and the same order of results makes the same suggestions.

    Parameters
    ----------
    make_search
        Makes the search; called in the thread, since the libraries behind it are slow to import.
    first
        Number of the next trial.
    limit
        Number of the trial after the last.
    ahead
        How many suggestions are kept ready.
    """

    def __init__(self, make_search: Callable[[], Search], *, first: int, limit: int, ahead: int) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hops-search")
        self._search: Future[Search] = self._thread.submit(make_search)
        self._next, self._limit, self._ahead = first, limit, ahead
        self._asked: deque[tuple[int, asyncio.Future[Point | None]]] = deque()
        self._told: list[Future[None]] = []
        self._heard = asyncio.Event()
        self._is_closed = False
        # trials whose result is still to come, and calls that may bring another one
        self._running: set[int] = set()
        self._taking = 0

    def start(self) -> None:
        """Ask for the first suggestions."""
        while len(self._asked) < self._ahead and self._next < self._limit and not self._is_closed:
            number = self._next
            self._next += 1
            asked = asyncio.wrap_future(self._thread.submit(self._ask, number))
            # a suggestion that nobody takes any more may have failed
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asked.append((number, asked))

    def prepare(self, ahead: int) -> None:
        """Keep another number of suggestions ready from now on."""
        self._ahead = ahead
        self.start()

    async def take(self) -> tuple[int, Point] | None:
        """Return the next trial's number and point; None if search or trials are exhausted, or the study ends."""
        if not self._asked:
            self.start()
        if self._is_closed or not self._asked:
            return None
        number, asked = self._asked.popleft()
        self.start()
        self._taking += 1
        try:
            point = await self._answer(asked)
        except NotYet:
            point = await self._ask_again(number)
        finally:
            self._taking -= 1
        self._check()
        if point is None or self._is_closed:
            return None
        self._running.add(number)
        return number, point

    async def _ask_again(self, number: int) -> Point | None:
        while not self._is_closed:
            heard = self._heard
            try:
                return await self._answer(asyncio.wrap_future(self._thread.submit(self._ask, number)))
            except NotYet:
                self._check()
                await self._result_after(heard, number)
        return None

    async def _result_after(self, heard: asyncio.Event, number: int) -> None:
        """Wait until a result is told.

        Raises
        ------
        UsageError
            If none is to come, so that the search would wait for ever.
        """
        self._taking -= 1
        try:
            if not heard.is_set() and not self._running and not self._taking:
                raise UsageError(
                    f"the search waits for a result before it proposes trial {number} (NotYet), and no trial runs that could"
                    " bring one: let ask return a point, or None once it has no more"
                )
            await heard.wait()
        finally:
            self._taking += 1

    async def _answer(self, asked: asyncio.Future[Point | None]) -> Point | None:
        """Wait for a suggestion; None if it is not made any more, since the study ends."""
        try:
            return await asked
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and task is not None and not task.cancelling():
                return None
            raise

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Let the search learn from a trial; returns at once.

        Raises
        ------
        Exception
            Whatever an earlier call raised in the search.
        """
        if self._is_closed:
            return
        self._check()
        self._running.discard(number)
        self._told.append(self._thread.submit(self._tell, number, point, outcome))
        self._hear()

    def begin(self, number: int, point: Point) -> None:
        """Let the search know of a trial that runs already, as far as it wants to: one of the user's own may not."""
        self._running.add(number)
        self._told.append(self._thread.submit(self._begin, number, point))

    def close(self) -> None:
        """End the thread; what is not asked yet is not asked any more, and nobody waits for it."""
        self._is_closed = True
        self._hear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _hear(self) -> None:
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()

    def _ask(self, number: int) -> Point | None:
        with _failures(f"proposing trial {number}"):
            return self._search.result().ask(number)

    def _begin(self, number: int, point: Point) -> None:
        if begin := getattr(self._search.result(), "begin", None):
            with _failures(f"taking note of trial {number}"):
                begin(number, point)

    def _tell(self, number: int, point: Point, outcome: Outcome) -> None:
        with _failures(f"learning from trial {number}"):
            self._search.result().tell(number, point, outcome)

    def _check(self) -> None:
        while self._told and self._told[0].done():
            self._told.pop(0).result()


@contextlib.contextmanager
def _failures(doing: str) -> Iterator[None]:
    """Say that it was the search, perhaps the user's own, which failed."""
    try:
        yield
    except (HopsError, NotYet):
        raise
    # an exit of the user's search, too, would end the loop that waits for it
    except BaseException as error:
        raise UsageError(f"the search failed in {doing}: {type(error).__name__}: {error}") from error
