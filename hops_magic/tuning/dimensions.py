"""One dimension of a space: how it is drawn, bounded, counted and shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

from hops_magic.errors import OptionError, UsageError

if TYPE_CHECKING:
    import numpy as np

_ROUNDING = 1e-9
# of a step: what misses a multiple by more does so by intent
_LEAST_MISS = 1e-3
_MOST_STEPS = 2**53
# draws are at most so many deviations away
_FARTHEST = 7.04


def plain_number(value: Any) -> Any:
    """Return a number of numpy's as Python's, anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def finite(name: str, given: Any) -> Any:
    """Return a finite number, numpy's as Python's."""
    number = plain_number(given)
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        raise OptionError(name, "must be given finite numbers", given)
    return number


def bounds(name: str, low: Any, high: Any) -> tuple[Any, Any]:
    """Return two finite numbers in order."""
    low, high = finite(name, low), finite(name, high)
    if low >= high:
        raise OptionError(name, "must have a lower bound below its upper one", f"{low} and {high}")
    if not math.isfinite(float(high) - float(low)):
        raise OptionError(name, "must have bounds whose distance is a number", f"{low:g} and {high:g}")
    return low, high


def countable(name: str, low: Any, high: Any, q: float = 1) -> None:
    """Refuse bounds near which multiples of a step cannot be told apart."""
    if max(abs(low), abs(high)) / q > _MOST_STEPS:
        raise OptionError(
            name,
            f"must have bounds at most 2**53 steps of {q:g} from 0, beyond which they are not told apart",
            f"{low}, {high}",
        )


def positive(name: str, what: str, given: Any) -> Any:
    """Return a number above 0."""
    number = finite(name, given)
    if number <= 0:
        raise OptionError(name, f"must have {what} above 0", number)
    return number


def drawable(name: str, mu: float, sigma: float, *, is_log: bool = False) -> None:
    """Refuse a normal distribution that draws what is no number, or, of its exponential, what is not above 0."""
    ends = [mu - _FARTHEST * sigma, mu + _FARTHEST * sigma]
    if not all(math.isfinite(end) for end in ends) or (is_log and not (ends[0] > -708 and ends[1] < 709)):
        what = "whose exponentials are numbers above 0" if is_log else "whose draws are numbers"
        raise OptionError(name, f"must have mu and sigma {what}", f"{mu:g} and {sigma:g}")


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
            first, last = self.multiples
            return int(last - first) + 1
        return None

    def at(self, index: int) -> float:
        """Return the value with a number, for a dimension that can be counted."""
        if self.kind is Kind.CATEGORICAL:
            return index
        if self.kind is Kind.INTEGER:
            return int(self.low) + index
        return self._multiple(self.multiples[0] + index)

    def cast(self, raw: Any) -> Any:
        """Return a raw coordinate as a trial sees it: inside the bounds, whole where whole is meant."""
        value = float(raw)
        if self.q:
            value = self.nearest(value)
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
        if self.kind is Kind.QUNIFORM:
            return self.at(int(random.integers(self.count or 1)))
        value = self._from_unit(float(random.random()))
        return self.nearest(value) if self.q else value

    def _from_unit(self, u: float) -> float:
        if self.kind.is_normal:
            from scipy.special import ndtri

            value = self.mu + self.sigma * float(ndtri(min(max(u, 1e-12), 1 - 1e-12)))
            return math.exp(value) if self.kind.is_log else value
        if self.kind.is_log:
            return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return self.low + u * (self.high - self.low)

    @property
    def multiples(self) -> tuple[float, float]:
        """The first and the last multiple of ``q`` inside the bounds, in units of ``q``; none if the first is larger.

        A bound that misses a multiple by rounding alone, as 0.3 does that of 0.1, includes it.
        """
        first, last = self.low / self.q, self.high / self.q
        if math.isfinite(first):
            first = math.ceil(first - min(_ROUNDING * max(1.0, abs(first)), _LEAST_MISS))
        if math.isfinite(last):
            last = math.floor(last + min(_ROUNDING * max(1.0, abs(last)), _LEAST_MISS))
        return first, last

    def nearest(self, value: float) -> float:
        """Return the multiple of ``q`` inside the bounds that is nearest to a number."""
        first, last = self.multiples
        return self._multiple(min(max(round(value / self.q), first), last))

    def _multiple(self, number: float) -> float:
        """Return a multiple of ``q`` as whoever wrote ``q`` would: 0.3 of 0.1, where floats say 0.30000000000000004."""
        found = float(Decimal(number) * Decimal(repr(float(self.q))))
        return min(max(found, self.low), self.high)

    def checked(self, value: Any, label: str) -> Any:
        """Return a number that somebody gave as a raw coordinate.

        Raises
        ------
        UsageError
            If this dimension does not have it.
        """
        value = plain_number(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{self.refuse(label)}, got {value!r}")
        inside = 0 <= value < len(self.weights) if self.weights else self.low <= value <= self.high
        if not inside or (self.is_whole and not float(value).is_integer()):
            raise UsageError(f"{self.refuse(label)}, got {value!r}")
        nearest = self.cast(value) if self.q else value
        if not math.isclose(nearest, value, rel_tol=_ROUNDING, abs_tol=_ROUNDING * self.q):
            raise UsageError(f"{label} must be a multiple of {self.q:g}, got {value!r}: the nearest is {nearest:g}")
        return value

    def refuse(self, label: str) -> UsageError:
        """Return the error for a value that this dimension does not have."""
        if self.kind is Kind.CATEGORICAL:
            return UsageError(f"{label} has options 0 to {len(self.weights) - 1}")
        kind = "whole number" if self.is_whole else "number"
        return UsageError(f"{label} must be a {kind} from {self.low:g} to {self.high:g}")
