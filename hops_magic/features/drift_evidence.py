"""How much two draws of a column differ, and how likely chance alone makes such a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hops_magic.features.values import Sorted

# below it the chi-squared distribution does not describe a cell's count (W. Cochran, Biometrics 10, 1954)
FEWEST_EXPECTED = 5.0
# of an empty bin: the logarithm of none is not finite
EMPTY_SHARE = 1e-4
AT_ONCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Values that are counted together, and the share of all rows that they are."""

    label: str
    before: float
    after: float


def psi(bins: Sequence[Bin]) -> float:
    """Return the population stability index of shares."""
    index = 0.0
    for each in bins:
        was, now = max(each.before, EMPTY_SHARE), max(each.after, EMPTY_SHARE)
        index += (now - was) * math.log(now / was)
    return index


def chi_squared(bins: Sequence[Bin], rows_before: int, rows_after: int) -> float:
    """Return the p-value of Pearson's test that both tables' rows fall alike into the bins.

    Bins in which the smaller table is expected to have fewer than five rows are taken together, before they are looked at:
    of a thousand rare categories the test would find a change where there is none.
    """
    import numpy as np
    from scipy.stats import chi2_contingency

    rows = np.array([rows_before, rows_after], float)
    counts = np.array([(each.before, each.after) for each in bins]) * rows
    counts = counts[np.argsort(-counts.sum(axis=1), kind="stable")]
    expected = counts.sum(axis=1) * rows.min() / rows.sum()
    kept = int((expected >= FEWEST_EXPECTED).sum())
    # what is taken together may be too little again: it goes to the smallest of the others
    if kept > 1 and 0 < expected[kept:].sum() < FEWEST_EXPECTED:
        kept -= 1
    cells = np.vstack([counts[:kept], counts[kept:].sum(axis=0)])
    cells = cells[cells.sum(axis=1) > 0]
    return float(chi2_contingency(cells, correction=False).pvalue) if len(cells) > 1 else 1.0


def kolmogorov_smirnov(before: Sorted, after: Sorted) -> tuple[float, float] | tuple[None, None]:
    """Return the two-sided statistic of two samples and its asymptotic p-value, as ``scipy.stats.ks_2samp`` has them."""
    import numpy as np
    from scipy.stats import kstwo

    if not (before.known and after.known):
        return None, None
    # below every finite value
    distance = abs(before.below / before.known - after.below / after.known)
    for points in (before.values, after.values):
        for begin in range(0, len(points), AT_ONCE):
            part = points[begin : begin + AT_ONCE]
            shares = [
                (each.below + np.searchsorted(each.values, part, side="right")) / each.known for each in (before, after)
            ]
            distance = max(distance, float(np.abs(shares[0] - shares[1]).max()))
    size = max(1, round(before.known * after.known / (before.known + after.known)))
    # of one row it divides by zero, and is right all the same
    with np.errstate(divide="ignore"):
        return distance, float(np.clip(kstwo.sf(distance, size), 0.0, 1.0))
