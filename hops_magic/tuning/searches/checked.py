"""A search of the user's own, whose points are held to the space before a trial sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.tuning.search import Outcome, Point, Search
from hops_magic.tuning.space import Space


class Checked:
    """Passes on what a search proposes if it is a point of the space, numbers of numpy's as Python's."""

    def __init__(self, search: Search, space: Space) -> None:
        self._search, self._space, self._labels = search, space, frozenset(space.labels)

    def ask(self, number: int) -> Point | None:
        """Propose a point.

        Raises
        ------
        UsageError
            Naming what the search proposed and what does not fit.
        """
        proposed = self._search.ask(number)
        if proposed is None and number:
            return None
        try:
            return self._checked(proposed)
        except UsageError as error:
            raise UsageError(f"the search proposed {proposed!r} for trial {number}: {error}") from None

    def begin(self, number: int, point: Point) -> None:
        """Take note of a trial that runs already, if the search wants to."""
        if begin := getattr(self._search, "begin", None):
            begin(number, point)

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn from a trial."""
        self._search.tell(number, point, outcome)

    def _checked(self, proposed: Any) -> Point:
        if not isinstance(proposed, Mapping):
            raise UsageError("ask must return a dictionary of numbers by label, or None once it has no more")
        if unknown := sorted(map(str, set(proposed) - self._labels)):
            raise UsageError(f"the space has no {', '.join(unknown)}")

        def look_up(label: str, dimension: Any) -> Any:
            if label not in proposed:
                raise UsageError(f"{label} is missing")
            return dimension.checked(proposed[label], label)

        # what it says of options that are not chosen is nobody's business
        return self._space.walk(look_up)[1]
