"""Suggestions that are still to be made when a study ends, and such that nobody takes."""

import asyncio
import gc
import threading

from waiting import in_a_loop

from hops_magic.runs.states import TrialState
from hops_magic.tuning.search import NotYet, Outcome
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


def test_a_search_that_waits_for_a_result_that_nobody_brings_is_told_so():
    async def conduct():
        suggestions = Suggestions(Undecided, first=0, limit=10, ahead=2)
        takers = [asyncio.create_task(suggestions.take()) for _ in range(2)]
        done, waiting = await asyncio.wait(takers, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        suggestions.close()
        assert await asyncio.gather(*waiting) == [None] * len(waiting)
        return [str(taker.exception()) for taker in done]

    (told,) = in_a_loop(conduct())
    assert "waits for a result before it proposes trial" in told
    assert "no trial runs that could bring one" in told


class OneByOne(Slow):
    """A search that must know the last result before it goes on."""

    def __init__(self):
        self.told = 0

    def ask(self, number):
        if number > self.told:
            raise NotYet
        return {"x": number}

    def tell(self, number, point, outcome):
        self.told += 1


def test_a_search_may_wait_for_trials_that_run():
    async def conduct():
        suggestions = Suggestions(OneByOne, first=0, limit=4, ahead=3)
        taken = [await suggestions.take()]
        while len(taken) < 4:
            taker = asyncio.create_task(suggestions.take())
            await asyncio.sleep(0)
            suggestions.tell(*taken[-1], Outcome(state=TrialState.DONE, loss=1.0))
            taken.append(await asyncio.wait_for(taker, 60))
        suggestions.close()
        return taken

    assert in_a_loop(conduct()) == [(number, {"x": number}) for number in range(4)]
