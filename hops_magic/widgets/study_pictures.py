"""A study's charts as small pictures: how the best improved, and every trial's curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Study
from hops_magic.tuning.ablation import effects_of
from hops_magic.widgets import charts
from hops_magic.widgets.pictures import HEIGHT, INK, SCALE, WIDTH, Place, axes, font_of, png_of
from hops_magic.widgets.plain import one_line

_BLUE, _FAINT, _STOPPED = (59, 130, 214, 255), (59, 130, 214, 110), (184, 121, 31, 70)
_MAX_CURVES = 400
_MOST_EFFECTS = 30

Points = Sequence[tuple[int, float]]


def best_png(study: Study) -> bytes:
    """Draw the best value by the number of trials that had ended; trials are dots."""
    ended = sorted((t for t in study.ended() if t.has_value), key=lambda t: (t.ended_at or 0.0, t.number))
    dots = [(index, trial.value) for index, trial in enumerate(ended, 1) if trial.value is not None]
    steps: list[tuple[int, float]] = []
    best = math.nan
    for index, trial in enumerate(ended, 1):
        if trial.state is TrialState.DONE and trial.value is not None and study.direction.is_better(trial.value, best):
            if steps:
                steps.append((index, best))
            best = trial.value
            steps.append((index, best))
    if steps:
        steps.append((len(ended), best))
    return _picture(f"best {one_line(study.metric, 40)} by trials", [(steps, _BLUE, 2.0)], dots, "trial")


def curves_png(study: Study) -> bytes:
    """Draw every trial's curve, stopped ones faded, the best on top."""
    shown = [t for t in study.trials.values() if t.curve.count > 1][-_MAX_CURVES:]
    best = study.best
    lines = [
        (charts.finite(trial.curve), _STOPPED if trial.state is TrialState.STOPPED else _FAINT, 1.0)
        for trial in shown
        if best is None or trial.number != best.number
    ]
    if best is not None and best.curve.count > 1:
        lines.append((charts.finite(best.curve), (46, 139, 87, 255), 2.5))
    return _picture(f"{one_line(study.metric, 40)} of each trial", lines, [], study.step_name)


def _picture(title: str, lines: Sequence[tuple[Points, tuple[int, ...], float]], dots: Points, unit: str) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (WIDTH * SCALE, HEIGHT * SCALE), (0, 0, 0, 0))
    draw: Any = ImageDraw.Draw(image, "RGBA")
    draw.text((0, 2 * SCALE), title, fill=INK, font=font_of(13))
    points = [point for line, _, _ in lines for point in line] + list(dots)
    if points:
        place = Place(*_bounds(points))
        axes(draw, place, unit)
        for x, y in (place.at(step, min(max(value, place.low), place.high)) for step, value in dots):
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_FAINT)
        for line, colour, width in lines:
            spots = [place.at(step, min(max(value, place.low), place.high)) for step, value in line]
            if len(spots) > 1:
                draw.line(spots, fill=colour, width=round(width * SCALE), joint="curve")
    return png_of(image)


def _bounds(points: Points) -> tuple[float, float, float, float]:
    """Bounds that a few diverged trials do not stretch: beyond three spreads of the middle half values are cut."""
    values = sorted(value for _, value in points)
    low, high = values[len(values) // 4], values[3 * len(values) // 4]
    spread = max(high - low, 1e-12)
    kept = [(step, min(max(value, low - 3 * spread), high + 3 * spread)) for step, value in points]
    return charts.bounds(kept)


def effects_png(study: Study) -> bytes:
    """Draw what leaving each component out does to the metric: bars from zero, with intervals."""
    from PIL import Image, ImageDraw

    effects = [effect for effect in effects_of(study) if effect.difference is not None][:_MOST_EFFECTS]
    height = 40 + 20 * len(effects)
    image = Image.new("RGBA", (2 * WIDTH * SCALE, height * SCALE), (0, 0, 0, 0))
    draw: Any = ImageDraw.Draw(image, "RGBA")
    draw.text(
        (0, 2 * SCALE), f"{one_line(study.metric, 40)} without the component, less with it", fill=INK, font=font_of(13)
    )
    ends = [end for e in effects for end in (e.difference, e.low, e.high) if end is not None and math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    extent = (high - low) or 1.0
    names = 180

    def across(value: float) -> float:
        return (names + (value - low) / extent * (2 * WIDTH - names - 20)) * SCALE

    for row, effect in enumerate(effects):
        y = (36 + 20 * row) * SCALE
        draw.text(((names - 8) * SCALE, y), one_line(effect.component, 26), fill=INK, font=font_of(11), anchor="rm")
        difference = effect.difference or 0.0
        is_harm = study.direction.loss(difference) > 0
        colour = (59, 130, 214, 255) if is_harm else (184, 121, 31, 255)
        left, right = sorted((across(0.0), across(difference)))
        draw.rectangle([left, y - 5 * SCALE, max(right, left + 1), y + 5 * SCALE], fill=colour)
        if effect.low is not None and effect.high is not None:
            draw.line([(across(effect.low), y), (across(effect.high), y)], fill=INK, width=SCALE)
    draw.line([(across(0.0), 26 * SCALE), (across(0.0), (height - 4) * SCALE)], fill=INK, width=SCALE)
    return png_of(image)
