"""What an engine does for :class:`~hops_magic.tuning.searches.distinct.Distinct`, which lets no point come twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hops_magic.tuning.search import Outcome, Point


class Engine(Protocol):
    """Proposes points; the proposals that are not used are neither pending nor told."""

    def propose(self, number: int, attempt: int) -> dict[str, Any]:
        """Propose the point of trial ``number``; another one for each ``attempt``."""
        ...

    def reject(self, point: Point) -> None:
        """Take note that a proposal is not tried, since trials like it fail."""
        ...

    def begin(self, number: int, point: Mapping[str, Any]) -> None:
        """Take note that a trial runs at a point, proposed or not: it is pending until it is told."""
        ...

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn from a trial, whether it was begun here or not."""
        ...
