"""Which curves are drawn together; the same rules as in ``labextension/src/charts.ts``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hops_magic.runs.run import Curve, CurveKey, Run

MAX_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve of a chart."""

    label: str
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A metric and its validation twin. ``unit`` is what the horizontal axis counts: ``epoch`` or ``step``."""

    title: str
    unit: str
    lines: tuple[Line, ...]


def base_name(metric: str) -> str:
    """``val_loss`` -> ``loss``."""
    return metric.removeprefix("val_")


def charts(run: Run) -> list[Chart]:
    """The charts of the newest fit, losses first."""
    bases = {base_name(key[0]) for key in run.curves}
    made = [_chart(base, run) for base in sorted(bases, key=lambda base: ("loss" not in base, base))]
    return [chart for chart in made if chart.lines]


def _chart(base: str, run: Run) -> Chart:
    mine = {key: curve for key, curve in run.curves.items() if base_name(key[0]) == base and finite(curve)}
    if not mine:
        return Chart(title=base, unit="step", lines=())
    newest = max(key[2] for key in mine)
    mine = {key: curve for key, curve in mine.items() if key[2] == newest}
    scope = _scope(mine)
    chosen = sorted((key for key in mine if key[1] == scope), key=lambda key: (key[0] != base, key[0], key[3]))
    many = len({key[3] for key in chosen}) > 1
    lines = [Line(label=f"{key[0]} · rank {key[3]}" if many else key[0], curve=mine[key]) for key in chosen[:MAX_LINES]]
    return Chart(title=base, unit="epoch" if scope == "epoch" else "step", lines=tuple(lines))


def _scope(curves: dict[CurveKey, Curve]) -> str:
    """Epochs once there are two of them; before, steps, which say more."""
    longest: dict[str, int] = {}
    for (_, scope, _, _), curve in curves.items():
        longest[scope] = max(longest.get(scope, 0), len(curve.steps))
    if longest.get("epoch", 0) >= 2:
        return "epoch"
    return next(scope for scope in ("batch", "user", "epoch", *longest) if scope in longest)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers between two others, about ``wanted`` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def finite(curve: Curve) -> list[tuple[int, float]]:
    """The points that can be drawn."""
    return [(step, value) for step, value in zip(curve.steps, curve.values, strict=True) if math.isfinite(value)]


def bounds(points: Sequence[tuple[int, float]]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of points, never of no extent."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    left, right, low, high = min(steps), max(steps), min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return float(left), float(right if right > left else left + 1), low - margin, high + margin
