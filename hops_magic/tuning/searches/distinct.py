"""No point twice, known points first, and few where trials fail, whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hops_magic.runs.states import TrialState
from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.searches.engine import Engine
from hops_magic.tuning.searches.failures import Failures
from hops_magic.tuning.searches.tried import Tried
from hops_magic.tuning.space import Space

ENGINE_TRIES, RANDOM_TRIES = 4, 30
FAILING_TRIES = 12
EXPLORED_EVERY = 10
"""Every so many points one is taken wherever it lies: failures may have had another cause."""


class Distinct:
    """A search that proposes each point once, running trials included; when a small space has no more, it says so.

    Parameters
    ----------
    engine
        Proposes.
    space
        What is searched.
    seed
        Of the draws that take the engine's place when it insists on points that were tried.
    start_with
        Points that come first.
    learns
        Whether the engine's proposals depend on how trials ended: then it is asked again for what would probably fail.
    """

    def __init__(
        self, engine: Engine, space: Space, seed: int, start_with: Sequence[Point] = (), *, learns: bool = False
    ) -> None:
        self._engine, self._space, self._seed = engine, space, seed
        self._failures = Failures(space.dimensions()) if learns else None
        self._first = list(start_with)
        self._tried = Tried(space)
        self._rest: list[dict[str, Any]] | None = None

    def ask(self, number: int) -> Point | None:
        """Propose a point that was never proposed or told; None when there is none left."""
        point = self._new_point(number)
        if point is None:
            return None
        self.begin(number, point)
        return point

    def begin(self, number: int, point: Point) -> None:
        """Take note of a trial that runs, which another object may have proposed."""
        self._tried.add(point)
        self._engine.begin(number, point)

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn from a trial."""
        self._tried.add(point)
        self._engine.tell(number, point, outcome)
        if self._failures is not None:
            self._failures.tell(point, has_failed=outcome.state is TrialState.FAILED)

    def _new_point(self, number: int) -> dict[str, Any] | None:
        while self._first:
            known = dict(self._first.pop(0))
            if known not in self._tried:
                return known
        if (proposed := self._proposed(number)) is not None:
            return proposed
        random = np.random.default_rng([self._seed, number])
        for _ in range(RANDOM_TRIES):
            point = self._space.sample(random)
            if point not in self._tried:
                return point
        return self._untried(random)

    def _proposed(self, number: int) -> dict[str, Any] | None:
        """Return a point of the engine that is new; if it can be, one that will not fail."""
        failures = None if number % EXPLORED_EVERY == 0 else self._failures
        found = None
        for attempt in range(ENGINE_TRIES if failures is None else FAILING_TRIES):
            point = self._engine.propose(number, attempt)
            if point in self._tried:
                if found is None and attempt + 1 >= ENGINE_TRIES:
                    return None
                continue
            if failures is None or not failures.expects(point):
                return point
            self._engine.reject(point)
            found = found or point
        return found

    def _untried(self, random: np.random.Generator) -> dict[str, Any] | None:
        if not self._space.is_finite:
            return None
        if self._rest is None:
            # many points of the space have been tried by now, so that it is small enough to be counted
            self._rest = list(self._space.points())
        self._rest = [point for point in self._rest if point not in self._tried]
        return self._rest[int(random.integers(len(self._rest)))] if self._rest else None
