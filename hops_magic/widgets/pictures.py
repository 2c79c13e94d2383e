"""Charts as small pictures, for notebooks that are read where nothing runs.

They are PNG files with a transparent ground and middling colours: the one form of picture that survives the sanitising of
notebook viewers, and that can be read on light and dark pages.
"""

from __future__ import annotations

import base64
import io
from typing import Any

from hops_magic.widgets import charts, words
from hops_magic.widgets.charts import Chart
from hops_magic.widgets.plain import one_line

WIDTH, HEIGHT = 340, 196
SCALE = 2
_COLOURS = ("#3b82d6", "#e8853a", "#2fa36b", "#a46ad0", "#d35468", "#4aa5b8", "#b08a2e", "#8a8f98")
INK, _GRID = (128, 132, 140, 255), (128, 132, 140, 70)
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 48, 22


def chart_png(chart: Chart) -> bytes:
    """Draw a chart, at twice the size at which it is shown."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (WIDTH * SCALE, HEIGHT * SCALE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    _legend(draw, chart)
    points = [point for line in chart.lines for point in charts.finite(line.curve)]
    if points:
        place = Place(*charts.bounds(points))
        axes(draw, place, chart.unit)
        for index, line in enumerate(chart.lines):
            _line(draw, [place.at(*point) for point in charts.finite(line.curve)], _COLOURS[index % len(_COLOURS)])
    return png_of(image)


def png_of(image: Any) -> bytes:
    """A picture as the bytes of its file."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """The picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


class Place:
    """Where a point of the data lies in the picture."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self.left, self.right, self.low, self.high = left, right, low, high

    def at(self, step: float, value: float) -> tuple[float, float]:
        across = (step - self.left) / (self.right - self.left)
        down = (self.high - value) / (self.high - self.low)
        x = _LEFT + across * (WIDTH - _LEFT - _RIGHT)
        y = _TOP + down * (HEIGHT - _TOP - _BOTTOM)
        return x * SCALE, y * SCALE


def axes(draw: Any, place: Place, unit: str) -> None:
    """Draw grid lines with their values, and what the horizontal axis counts."""
    font = font_of(10)
    for value in charts.ticks(place.low, place.high):
        x, y = place.at(place.left, value)
        draw.line([(x, y), (place.at(place.right, value)[0], y)], fill=_GRID, width=SCALE)
        draw.text((x - 6 * SCALE, y), f"{value:.4g}", fill=INK, font=font, anchor="rm")
    bottom = (HEIGHT - _BOTTOM + 6) * SCALE
    for step in _whole(charts.ticks(place.left, place.right, 5)):
        draw.text((place.at(step, place.low)[0], bottom), f"{step:,}", fill=INK, font=font, anchor="mt")
    draw.text(((_LEFT - 6) * SCALE, bottom), unit, fill=INK, font=font, anchor="rt")


def _whole(steps: list[float]) -> list[int]:
    return sorted({int(step) for step in steps if abs(step - round(step)) < 1e-9})


def _line(draw: Any, spots: list[tuple[float, float]], colour: str) -> None:
    if len(spots) > 1:
        draw.line(spots, fill=colour, width=round(1.75 * SCALE), joint="curve")
    if len(spots) <= 12:
        size = 2.5 * SCALE
        for x, y in spots:
            draw.ellipse([x - size, y - size, x + size, y + size], fill=colour)


def _legend(draw: Any, chart: Chart) -> None:
    draw.text((0, 2 * SCALE), one_line(chart.title, 48), fill=INK, font=font_of(13))
    x, y, font = 0.0, 24 * SCALE, font_of(11)
    for index, line in enumerate(chart.lines):
        last = next((value for _, value in reversed(charts.finite(line.curve))), None)
        name = one_line(line.label, 28)
        label = name if last is None else f"{name}  {words.figure(last)}"
        width = draw.textlength(label, font=font) + 28 * SCALE
        if x and x + width > WIDTH * SCALE:
            return
        colour = _COLOURS[index % len(_COLOURS)]
        draw.line([(x, y + 5 * SCALE), (x + 10 * SCALE, y + 5 * SCALE)], fill=colour, width=2 * SCALE)
        draw.text((x + 15 * SCALE, y), label, fill=INK, font=font)
        x += width


def font_of(size: int) -> Any:
    """The font, at the scale of the pictures."""
    from PIL import ImageFont

    return ImageFont.load_default(size * SCALE)
