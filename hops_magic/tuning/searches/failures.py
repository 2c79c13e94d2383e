"""Where trials fail, by those that have: a point is expected to fail if the nearest one that has ended did."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hops_magic.tuning.dimensions import Dimension, Kind
from hops_magic.tuning.search import Point

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST = 3
"""So many failures are needed: a single one may have any cause."""
MOST = 200
"""Points that are looked at, the latest."""
_EQUAL = 1e-12
# of the deviation of how often one is right by chance; the best of several dimensions is so more easily than one
_LEAST_BETTER = 1.5
# of a normal distribution, what a dimension of bounds spans
_DEVIATIONS = 6.0


class Failures:
    """What is known of where trials fail.

    The nearest point is told by the dimensions by which the points that are known tell best of one another whether they
    failed: mostly a single one, such as a learning rate that is too high. Ranges have length 1, of logarithms where they
    are drawn so; two choices are 1 apart, and so are points of which only one has the dimension.
    """

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        self._dimensions = dict(dimensions)
        self._is_choice = np.array([each.kind is Kind.CATEGORICAL for each in self._dimensions.values()], bool)
        self._places: deque[list[float]] = deque(maxlen=MOST)
        self._has_failed: deque[bool] = deque(maxlen=MOST)
        self._telling: list[int] | None = None

    def tell(self, point: Point, *, has_failed: bool) -> None:
        """Take note of how a trial ended."""
        self._places.append(self._place(point))
        self._has_failed.append(has_failed)
        self._telling = None

    def expects(self, point: Point) -> bool:
        """Whether a trial with such a point would probably fail."""
        if sum(self._has_failed) < LEAST or all(self._has_failed):
            return False
        known, failed = np.array(self._places), np.array(self._has_failed)
        if self._telling is None:
            apart = self._apart(known[:, None, :], known[None, :, :])
            self._telling = _telling(apart, failed)
        if not self._telling:
            return False
        apart = self._apart(known, np.array(self._place(point)))
        return bool(_by_nearest(apart[None, :, self._telling].sum(axis=2), failed)[0])

    def _apart(self, one: Numbers, other: Numbers) -> Numbers:
        """Return the square of the distance in each dimension."""
        apart = (one - other) ** 2
        apart = np.where(self._is_choice, (one != other).astype(float), apart)
        # what only one of two points has, or neither
        return np.where(np.isnan(one) | np.isnan(other), (np.isnan(one) != np.isnan(other)).astype(float), apart)

    def _place(self, point: Point) -> list[float]:
        return [_unit(each, point[label]) if label in point else math.nan for label, each in self._dimensions.items()]


def _telling(apart: Numbers, failed: Flags) -> list[int]:
    """Return the dimensions by which each point's nearest other ones tell best whether it failed, one after the other.

    None where that is hardly more often right than to say the same of all: those failures have nothing to do with the point.
    """

    def right(dimensions: list[int]) -> int:
        distances = apart[:, :, dimensions].sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        return int((_by_nearest(distances, failed) == failed).sum())

    rest, chosen, best = list(range(apart.shape[2])), list[int](), -1
    while rest:
        scores = [right([*chosen, each]) for each in rest]
        if max(scores) <= best:
            break
        best = max(scores)
        chosen.append(rest.pop(scores.index(best)))
    share = float(failed.mean())
    by_chance = math.sqrt(len(failed) * share * (1 - share))
    return chosen if best >= len(failed) * max(share, 1 - share) + _LEAST_BETTER * by_chance else []


def _by_nearest(distances: Numbers, failed: Flags) -> Flags:
    """Whether most of the points that are nearest failed, for each row of distances."""
    nearest = distances <= distances.min(axis=1, keepdims=True) + _EQUAL
    found: Flags = (nearest & failed).sum(axis=1) > nearest.sum(axis=1) / 2
    return found


def _unit(dimension: Dimension, raw: Any) -> float:
    value = float(raw)
    if dimension.kind is Kind.CATEGORICAL:
        return value
    if dimension.kind.is_normal:
        value = math.log(max(value, 1e-300)) if dimension.kind.is_log else value
        return (value - dimension.mu) / dimension.sigma / _DEVIATIONS
    low, high = float(dimension.low), float(dimension.high)
    if dimension.kind.is_log:
        value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
    return (value - low) / max(high - low, 1e-300)
