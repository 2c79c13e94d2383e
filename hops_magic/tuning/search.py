"""What a search is: it is asked for points of a space and told what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hops_magic.runs.states import TrialState

Point = Mapping[str, Any]
"""Raw coordinates by label, plain JSON values: an index for a choice, a number else; only the labels that are active."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a trial.

    Attributes
    ----------
    state : TrialState
        Final.
    loss : float or None
        Smaller is better, whatever the direction of the study; None for a trial that failed before its first value.
    step : int
        The last step that was reported.
    reached : tuple of str
        Components that the cell came across, in an ablation.
    """

    state: TrialState
    loss: float | None = None
    step: int = 0
    reached: tuple[str, ...] = ()


class NotYet(Exception):
    """A search cannot propose anything before it is told another result."""


class Search(Protocol):
    """Proposes points of a space; calls come from one thread at a time, in a fixed order for a given order of results."""

    def ask(self, number: int) -> Point | None:
        """Propose the point of trial ``number``, which counts as pending until it is told; None if there are no more.

        Raises
        ------
        NotYet
            If it must be told the result of a pending trial first; it is asked again then.
        """
        ...

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn from a trial that ended; also from one that this object was never asked for (a study that is resumed)."""
        ...
