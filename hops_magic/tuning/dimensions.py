"""One dimension of a space: how it is drawn, bounded, counted and shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


class Kind(Enum):
    """Distributions, by hyperopt's names; ``INTEGER`` is ordered, ``CATEGORICAL`` is not."""

    UNIFORM = "uniform"
    LOGUNIFORM = "loguniform"
    QUNIFORM = "quniform"
    QLOGUNIFORM = "qloguniform"
    NORMAL = "normal"
    QNORMAL = "qnormal"
    LOGNORMAL = "lognormal"
    QLOGNORMAL = "qlognormal"
    INTEGER = "integer"
    CATEGORICAL = "categorical"

    @property
    def is_log(self) -> bool:
        """Whether equal ratios are equally likely."""
        return self in (Kind.LOGUNIFORM, Kind.QLOGUNIFORM, Kind.LOGNORMAL, Kind.QLOGNORMAL)

    @property
    def is_normal(self) -> bool:
        """Whether it has a mean instead of bounds."""
        return self in (Kind.NORMAL, Kind.QNORMAL, Kind.LOGNORMAL, Kind.QLOGNORMAL)


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A hyperparameter's distribution.

    Attributes
    ----------
    low, high : float
        Bounds in natural units, both included (for ``INTEGER`` too).
    mu, sigma : float
        Of the normal distribution, or of the logarithm's.
    q : float
        Values are multiples of it; 0 for none.
    weights : tuple of float
        Probability of each option of a ``CATEGORICAL``.
    """

    kind: Kind
    low: float = -math.inf
    high: float = math.inf
    mu: float = 0.0
    sigma: float = 1.0
    q: float = 0.0
    weights: tuple[float, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers by intent."""
        if self.kind in (Kind.INTEGER, Kind.CATEGORICAL):
            return True
        return self.q >= 1 and float(self.q).is_integer()

    @property
    def count(self) -> int | None:
        """How many values there are; None for a continuous dimension."""
        if self.kind is Kind.CATEGORICAL:
            return len(self.weights)
        if self.kind is Kind.INTEGER:
            return int(self.high) - int(self.low) + 1
        if self.kind is Kind.QUNIFORM:
            return len(self._multiples())
        return None

    def at(self, index: int) -> float:
        """Return the value with a number, for a dimension that can be counted."""
        if self.kind is Kind.CATEGORICAL:
            return index
        if self.kind is Kind.INTEGER:
            return int(self.low) + index
        return self._multiples()[index]

    def cast(self, raw: Any) -> Any:
        """Return a raw coordinate as a trial sees it: inside the bounds, whole where whole is meant."""
        value = float(raw)
        if self.q:
            # multiples of q next to a bound may lie beyond it
            value = min(max(value, self.low), self.high)
        if self.is_whole:
            return round(value)
        return value

    def draw(self, random: np.random.Generator) -> float:
        """Draw a raw coordinate."""
        if self.kind is Kind.CATEGORICAL:
            total = math.fsum(self.weights)
            return int(random.choice(len(self.weights), p=[weight / total for weight in self.weights]))
        if self.kind is Kind.INTEGER:
            return int(random.integers(int(self.low), int(self.high) + 1))
        value = self._from_unit(float(random.random()))
        return round(value / self.q) * self.q if self.q else value

    def _from_unit(self, u: float) -> float:
        if self.kind.is_normal:
            from scipy.special import ndtri

            value = self.mu + self.sigma * float(ndtri(min(max(u, 1e-12), 1 - 1e-12)))
            return math.exp(value) if self.kind.is_log else value
        if self.kind.is_log:
            return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return self.low + u * (self.high - self.low)

    def _multiples(self) -> list[float]:
        first, last = round(self.low / self.q), round(self.high / self.q)
        return sorted({self.cast(number * self.q) for number in range(first, last + 1)})

    def refuse(self, label: str) -> UsageError:
        """Return the error for a value that this dimension does not have."""
        if self.kind is Kind.CATEGORICAL:
            return UsageError(f"{label} has options 0 to {len(self.weights) - 1}")
        kind = "whole number" if self.is_whole else "number"
        return UsageError(f"{label} must be a {kind} from {self.low:g} to {self.high:g}")
