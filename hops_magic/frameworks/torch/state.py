"""What a rank knows of the batch at hand, and what the hooks share."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hops_magic.frameworks.context import RankContext

Site = tuple[tuple[str, int], ...]
"""Where the user's code calls something: files and lines, from the call outwards."""

_DEPTH = 12
_HERE = str(Path(__file__).parent)
MEAN, SUM = "mean", "sum"


@dataclass
class StepState:
    """The batch at hand, on this rank.

    Attributes
    ----------
    context : RankContext
    own, whole : int
        Rows of the global batch that this rank has, and all of them. Between batches every rank does the same work, and each
        counts as one of as many rows as there are ranks.
    first : int
        Place in the global batch of the first row that this rank has.
    is_inside : bool
        Whether the user's code works on a batch that is shared out.
    is_whole : bool
        Whether this process is the shadow: one process that has all rows of the first batch.
    rule : str
        How losses of the ``backward()`` under way are joined: ``mean`` (over rows) or ``sum``.
    has_moments : bool
        Whether moments over the batch were computed in the step under way.
    stops : bool
        Whether the ranks have agreed to end the loop at the next step.
    """

    context: RankContext
    own: int = 1
    whole: int = 1
    first: int = 0
    is_inside: bool = False
    is_whole: bool = False
    rule: str = MEAN
    has_moments: bool = False
    stops: bool = False

    def __post_init__(self) -> None:
        self.outside()

    @property
    def collective(self) -> Any:
        return self.context.collective

    def part(self, rows: int) -> tuple[int, int]:
        """Return the rows of a global batch that this rank has, from and up to."""
        rank, world = self.context.rank, self.context.world_size
        return rows * rank // world, rows * (rank + 1) // world

    def inside(self, rows: int) -> None:
        """A batch of so many rows in all begins."""
        low, high = self.part(rows)
        self.own, self.whole, self.first, self.is_inside = high - low, rows, low, True
        self.has_moments = False

    def outside(self) -> None:
        """The batch is over: all ranks do the same work until the next."""
        self.own, self.whole, self.first, self.is_inside = 1, self.context.world_size, 0, False

    @property
    def batch(self) -> tuple[int, int, int, bool]:
        """The batch at hand, to come back to."""
        return self.own, self.whole, self.first, self.is_inside

    @batch.setter
    def batch(self, known: tuple[int, int, int, bool]) -> None:
        self.own, self.whole, self.first, self.is_inside = known

    @property
    def is_even(self) -> bool:
        """Whether all ranks have as many rows of the batch."""
        return self.whole % self.context.world_size == 0

    @property
    def weight(self) -> float:
        """What a loss of this rank counts in the sum over ranks, by the rule of the moment."""
        return self.weight_by(self.rule)

    def weight_by(self, rule: str) -> float:
        """What a loss of this rank counts in the sum over ranks: nothing, if it has no rows and has borrowed one."""
        if not self.own:
            return 0.0
        return self.own / self.whole if rule == MEAN else 1.0


def is_library(file: str) -> bool:
    """Whether code is none of the user's: PyTorch's, another installed package's, or ours."""
    return file.startswith(_HERE) or "/site-packages/" in file or "/dist-packages/" in file


def site(skip: int = 1) -> Site:
    """Return where the user's code is, without the frames of PyTorch and of ours."""
    places: list[tuple[str, int]] = []
    frame: Any = sys._getframe(skip)
    while frame is not None and len(places) < _DEPTH:
        name = frame.f_code.co_filename
        if not is_library(name):
            places.append((name, frame.f_lineno))
        frame = frame.f_back
    return tuple(places)


def user_frame() -> Any:
    """Return the innermost frame of the user's own code."""
    frame: Any = sys._getframe(1)
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def names_here() -> Mapping[str, Any]:
    """Return what names the user's code has where it is, with their values."""
    frame = user_frame()
    return {} if frame is None else {**frame.f_globals, **frame.f_locals}


def place_of(where: Site) -> str:
    """Return how a place in the user's code is told: its line, and what stands there."""
    if not where:
        return "the cell"
    file, line = where[0]
    text = linecache.getline(file, line).strip()
    return f"line {line} ({text})" if text else f"line {line}"
