"""Figures of one column, from its values in ascending order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hops_magic.features.values import Field, Kind, Sorted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64 | np.int64]

# as JSON has them; times are ISO text
Value: TypeAlias = bool | int | float | str | None

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 20
# numbers with at most that many different values are counted one by one
FEW = 20
_MOST_TOP = 10


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts between edges, one edge more than counts; a bin has its left edge, the last one both.

    There are 20 bins. Whole numbers have bins of whole width, at most 20; one for each number, if they span at most 40.
    """

    edges: tuple[Any, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the values say; times in microseconds."""

    count: int
    nulls: int
    nan: int
    infinite: int
    distinct: int = 0
    min: Any = None
    max: Any = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[float, ...] = ()
    histogram: Histogram | None = None
    top: tuple[tuple[Any, int], ...] = ()


def figures_of(field: Field, column: Sorted) -> Figures:
    """Compute everything at once."""
    import numpy as np

    values = column.values
    counts = Figures(
        count=column.known, nulls=column.nulls + column.nan, nan=column.nan, infinite=column.below + column.above
    )
    if not len(values):
        return counts
    with np.errstate(all="ignore"):
        mean, std = moments(values)
        begins = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
        return Figures(
            **{name: getattr(counts, name) for name in ("count", "nulls", "nan", "infinite")},
            distinct=len(begins) + (column.below > 0) + (column.above > 0),
            min=values[0].item(),
            max=values[-1].item(),
            mean=mean,
            std=std,
            quantiles=tuple(_quantile(values, share) for share in QUANTILES),
            histogram=_whole_bins(values) if field.is_integer else _equal_bins(values),
            top=_top(values, begins) if len(begins) <= FEW else (),
        )


def shown(value: Any, field: Field) -> Value:
    """Return a value as JSON has it."""
    known: Value = plain(value)
    if known is None or field.kind is not Kind.TIME:
        return known
    import numpy as np

    # any year, also those that Python's own datetime does not know
    moment = np.datetime64(round(value), "us")
    if field.is_date:
        return str(moment.astype("datetime64[D]"))
    text = str(moment.astype("datetime64[s]") if round(value) % 1_000_000 == 0 else moment)
    return text + "Z" if field.has_zone else text


def plain(value: Any) -> Any:
    """Return a number as JSON has it: NaN and infinities become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def moments(values: Array) -> tuple[float | None, float | None]:
    """Mean and standard deviation; None where doubles overflow."""
    import numpy as np

    if not len(values):
        return None, None
    mean = float(np.mean(values, dtype=np.float64))
    if not math.isfinite(mean):
        return None, None
    if len(values) < 2:
        return mean, None
    deviations = np.subtract(values, mean, dtype=np.float64)
    # so that no square overflows or vanishes
    scale = max(abs(float(deviations[0])), abs(float(deviations[-1])))
    if values[0] == values[-1]:
        return float(values[0]), 0.0
    deviations /= scale
    return mean, plain(scale * math.sqrt(float(deviations @ deviations) / (len(values) - 1)))


def _quantile(values: Array, share: float) -> float:
    place = share * (len(values) - 1)
    below = int(place)
    part = place - below
    after = float(values[min(below + 1, len(values) - 1)])
    # a difference of the two may overflow
    return float(values[below]) * (1 - part) + after * part if part else float(values[below])


def _equal_bins(values: Array) -> Histogram:
    import numpy as np

    low, high = float(values[0]), float(values[-1])
    if low == high:
        return Histogram(edges=(low, high), counts=(len(values),))
    shares = np.linspace(0.0, 1.0, BINS + 1)
    edges = low * (1 - shares) + high * shares
    edges[0], edges[-1] = low, high
    return Histogram(edges=tuple(edges.tolist()), counts=_counts(values, edges))


def _whole_bins(values: Array) -> Histogram:
    import numpy as np

    low, high = int(values[0]), int(values[-1])
    # days of a month in bins of two would end with half a bin
    width = 1 if high - low < 2 * BINS else -(-(high - low + 1) // BINS)
    if width > 2**53:
        return _equal_bins(values)
    bins = -(-(high - low + 1) // width)
    edges = [low - 0.5 + width * i for i in range(bins + 1)]
    return Histogram(edges=tuple(edges), counts=_counts(values, np.array(edges)))


def _counts(values: Array, edges: npt.NDArray[np.float64]) -> tuple[int, ...]:
    import numpy as np

    places = np.searchsorted(values, edges[1:-1], side="left")
    return tuple(np.diff(np.concatenate(([0], places, [len(values)]))).tolist())


def _top(values: Array, begins: npt.NDArray[np.intp]) -> tuple[tuple[Any, int], ...]:
    import numpy as np

    counts = np.diff(np.append(begins, len(values)))
    order = np.argsort(-counts, kind="stable")[:_MOST_TOP]
    return tuple((values[begins[i]].item(), int(counts[i])) for i in order)
