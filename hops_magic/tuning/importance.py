"""How much each hyperparameter matters, judged by the trials that a study has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hops_magic.tuning.dimensions import Dimension, Kind
from hops_magic.tuning.search import Point
from hops_magic.tuning.space import Space

FEWEST = 4
_MOST_BINS = 6


def importance(space: Space | Mapping[str, Dimension], trials: Sequence[tuple[Point, float]]) -> dict[str, float]:
    """Return the share of the losses' variance that each dimension explains, by label, the largest first; they sum to 1.

    The variance between the means of bins of a dimension, corrected for what chance gives (omega squared of a one-way
    analysis of variance), on ranks of losses, so that one diverged trial does not decide. Trials in which a dimension is not
    active are one more bin of it. Empty with fewer than four trials.

    Parameters
    ----------
    space
        Or its dimensions by label.
    trials
        Points with their losses; those that are no number are left out.
    """
    known = [(point, loss) for point, loss in trials if math.isfinite(loss)]
    if len(known) < FEWEST:
        return {}
    ranks = np.argsort(np.argsort([loss for _, loss in known])).astype(float)
    found = {
        label: _explained([_bin_value(dimension, point.get(label)) for point, _ in known], dimension, ranks)
        for label, dimension in (space.dimensions() if isinstance(space, Space) else space).items()
    }
    total = math.fsum(found.values())
    shares = {label: share / total if total else 1 / len(found) for label, share in found.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _bin_value(dimension: Dimension, raw: float | None) -> float:
    if raw is None:
        return math.nan
    return math.log(raw) if dimension.kind.is_log and raw > 0 else float(raw)


def _explained(values: Sequence[float], dimension: Dimension, ranks: np.ndarray) -> float:
    bins = _bins(np.asarray(values), dimension)
    groups = [ranks[bins == number] for number in np.unique(bins)]
    count, total = len(ranks), float(((ranks - ranks.mean()) ** 2).sum())
    if len(groups) < 2 or count <= len(groups) or total == 0:
        return 0.0
    between = math.fsum(len(group) * (group.mean() - ranks.mean()) ** 2 for group in groups)
    within = (total - between) / (count - len(groups))
    return max(0.0, (between - (len(groups) - 1) * within) / (total + within))


def _bins(values: np.ndarray, dimension: Dimension) -> np.ndarray:
    missing = np.isnan(values)
    if dimension.kind is Kind.CATEGORICAL:
        numbers = np.where(missing, -1, values)
        return numbers.astype(int)
    present = values[~missing]
    count = min(_MOST_BINS, max(2, int(math.sqrt(len(present)))), max(1, len(np.unique(present))))
    edges = np.quantile(present, np.linspace(0, 1, count + 1)[1:-1]) if len(present) else np.array([])
    return np.where(missing, -1, np.searchsorted(edges, values, side="right"))
