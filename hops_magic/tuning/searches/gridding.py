"""Every point of a space, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.searches.tried import Tried
from hops_magic.tuning.space import Space


class GridSearch:
    """Proposes the points of a space that can be counted, in order, those to start with first."""

    def __init__(self, space: Space, start_with: Sequence[Point] = ()) -> None:
        self._first = [dict(point) for point in start_with]
        self._points = space.points()
        self._tried = Tried(space)

    def ask(self, number: int) -> Point | None:
        """Propose the next point; None after the last."""
        del number
        while self._first:
            if (point := self._take(self._first.pop(0))) is not None:
                return point
        for candidate in self._points:
            if (point := self._take(candidate)) is not None:
                return point
        return None

    def begin(self, number: int, point: Point) -> None:
        """Remember a point that another object proposed, and whose trial runs."""
        del number
        self._tried.add(point)

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Remember a point that need not be proposed again."""
        del number, outcome
        self._tried.add(point)

    def _take(self, point: Point) -> Point | None:
        if point in self._tried:
            return None
        self._tried.add(point)
        return point
