"""Suggestions that are still to be made when a study ends, and such that nobody takes."""

import asyncio
import gc
import threading

from waiting import in_a_loop

from hops_magic.tuning.search import NotYet
from hops_magic.tuning.suggestions import Suggestions


class Slow:
    """A search that answers only when it may."""

    def __init__(self):
        self.may_answer = threading.Event()

    def ask(self, number):
        self.may_answer.wait(10)
        return {"x": number}

    def tell(self, number, point, outcome):
        pass


class Undecided(Slow):
    def ask(self, number):
        raise NotYet


def test_takers_get_nothing_when_the_study_ends_before_the_search_has_answered():
    search = Slow()

    async def conduct():
        suggestions = Suggestions(lambda: search, first=0, limit=10, ahead=4)
        takers = [asyncio.create_task(suggestions.take()) for _ in range(4)]
        await asyncio.sleep(0)
        suggestions.close()
        search.may_answer.set()
        return await asyncio.gather(*takers)

    assert in_a_loop(conduct()) == [None] * 4


def test_a_taker_that_is_cancelled_stays_cancelled():
    search = Slow()

    async def conduct():
        suggestions = Suggestions(lambda: search, first=0, limit=10, ahead=2)
        taker = asyncio.create_task(suggestions.take())
        await asyncio.sleep(0)
        taker.cancel()
        suggestions.close()
        search.may_answer.set()
        return await asyncio.gather(taker, return_exceptions=True)

    (ended,) = in_a_loop(conduct())
    assert isinstance(ended, asyncio.CancelledError)


def test_what_nobody_takes_leaves_no_complaint():
    complaints = []

    async def conduct():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        suggestions = Suggestions(Undecided, first=0, limit=10, ahead=3)
        suggestions.start()
        asked = [asked for _, asked in suggestions._asked]
        await asyncio.wait(asked)
        suggestions.close()
        suggestions._asked.clear()
        del asked
        gc.collect()

    in_a_loop(conduct())
    assert complaints == []
