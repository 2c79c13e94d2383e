"""Small pictures of distributions and correlations, as inline SVG.

They need no script and no style sheet. Ink is the page's own colour and tints are laid over its ground, so that they can be
read on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hops_magic.widgets.plain import one_line

BLUE, ORANGE, AMBER, RED, GREEN = "var(--jp-brand-color1,#3b82d6)", "#e07b39", "#b7791f", "#c9372c", "#2e8b57"
# of correlations: the brand's colour may be any, these two can be told apart by everybody
_POSITIVE, _NEGATIVE = "#3b82d6", "#e07b39"
WIDTH, HEIGHT = 168, 38
_BAR, _BAR_GAP = 15, 2
_MAX_BAR_LABEL = 17
_SCALE = 147
_MAX_BIN = 24.0
_FAINT = 'fill="currentColor" fill-opacity=".7"'
_BLOCKS = "▁▂▃▄▅▆▇█"


def histogram(counts: Sequence[int], hints: Sequence[str], told: str) -> str:
    """Draw bins side by side; each tells its hint under the pointer."""
    highest = max(counts, default=0) or 1
    width = min(_MAX_BIN, WIDTH / max(1, len(counts)))
    bars = "".join(
        f'<g><title>{_safe(hint)}</title><rect x="{i * width:.1f}" y="0" width="{width:.1f}" height="{HEIGHT}" '
        f'fill="transparent"/>{_bar(i * width + 0.5, width - 1, count / highest, BLUE)}</g>'
        for i, (count, hint) in enumerate(zip(counts, hints, strict=True))
    )
    return _svg(WIDTH, HEIGHT, told, bars + _floor(width * len(counts), HEIGHT))


def shares(values: Sequence[tuple[str, float]], told: str) -> str:
    """Draw values below each other, each on a bar as long as its share."""
    lines = ""
    for i, (label, share) in enumerate(values):
        y = i * (_BAR + _BAR_GAP)
        shown = _safe(one_line(label, _MAX_BAR_LABEL)) or "&quot;&quot;"
        lines += (
            f"<g><title>{_safe(one_line(label))}: {percent(share)}</title>"
            f'<rect x="0" y="{y}" width="{WIDTH}" height="{_BAR}" rx="2" fill="currentColor" fill-opacity=".06"/>'
            f'<rect x="0" y="{y}" width="{max(1.0, share * WIDTH):.1f}" height="{_BAR}" rx="2" fill="{BLUE}" '
            f'fill-opacity=".35"/><text x="5" y="{y + 11}" fill="currentColor">{shown}</text>'
            f'<text x="{WIDTH - 4}" y="{y + 11}" text-anchor="end" {_FAINT}>{percent(share)}</text></g>'
        )
    return _svg(WIDTH, len(values) * (_BAR + _BAR_GAP), told, lines)


def before_and_after(bins: Sequence[tuple[str, float, float]], colour: str, told: str) -> str:
    """Draw two bars for each bin: the ground's shade for before, a colour for after."""
    highest = max((share for _, was, now in bins for share in (was, now)), default=0.0) or 1.0
    width = min(_MAX_BIN, WIDTH / max(1, len(bins)))
    half = max(1.0, width / 2 - 1)
    bars = "".join(
        f"<g><title>{_safe(one_line(label, 80))}: {percent(was)} before, {percent(now)} after</title>"
        f'<rect x="{i * width:.1f}" y="0" width="{width:.1f}" height="{HEIGHT}" fill="transparent"/>'
        f"{_bar(i * width + 0.5, half, was / highest, 'currentColor', 0.35)}"
        f"{_bar(i * width + 0.5 + half, half, now / highest, colour)}</g>"
        for i, (label, was, now) in enumerate(bins)
    )
    return _svg(WIDTH, HEIGHT, told, bars + _floor(width * len(bins), HEIGHT))


def gauge(share: float) -> str:
    """Draw a share as a small bar."""
    colour = RED if share >= 0.5 else AMBER if share >= 0.05 else "currentColor"
    inner = (
        '<rect width="40" height="6" rx="3" fill="currentColor" fill-opacity=".12"/>'
        f'<rect width="{max(1.5, 40 * share):.1f}" height="6" rx="3" fill="{colour}" fill-opacity=".8"/>'
    )
    return _svg(40, 6, "", inner)


def heatmap(names: Sequence[str], matrix: Sequence[Sequence[float | None]]) -> str:
    """Draw correlations: blue for together, orange for opposite, the ground for none, a dash where there is no telling."""
    size = len(names)
    side = 34 if size <= 10 else 22 if size <= 20 else 16
    label_chars = min(22, max(len(name) for name in names))
    left, top = 8 + 6.2 * label_chars, 10 + 4.6 * label_chars
    cells = "".join(
        _cell(left + j * side, top + i * side, side, names[i], names[j], matrix[i][j])
        for i in range(size)
        for j in range(size)
    )
    labels = "".join(
        f'<text x="{left - 5:.1f}" y="{top + i * side + side / 2 + 3.5:.1f}" text-anchor="end" fill="currentColor">'
        f"<title>{_safe(one_line(name))}</title>{_safe(one_line(name, label_chars))}</text>"
        f'<text transform="translate({left + i * side + side / 2 + 3:.1f} {top - 5:.1f}) rotate(-45)" fill="currentColor">'
        f"<title>{_safe(one_line(name))}</title>{_safe(one_line(name, label_chars))}</text>"
        for i, name in enumerate(names)
    )
    bottom = top + size * side
    # slanted names reach beyond the last column, and the scale beyond few columns
    width = left + max(size * side + max(20.0, 4.6 * label_chars), _SCALE + 2)
    return _svg(width, bottom + 34, f"correlation of {size} columns", cells + labels + _scale(left, bottom + 10))


def blocks(counts: Sequence[float]) -> str:
    """Return a histogram as text."""
    highest = max(counts, default=0)
    if not highest:
        return ""
    return "".join(_BLOCKS[min(7, int(8 * count / highest))] if count else " " for count in counts)


def percent(share: float) -> str:
    """``0.123`` -> ``12 %``; never a rounded 0 % or 100 %."""
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    if share < 0.001:
        return "< 0.1 %"
    if share > 0.999:
        return "> 99.9 %"
    return f"{share * 100:.1f} %" if share < 0.0995 or share > 0.99 else f"{share * 100:.0f} %"


def _bar(x: float, width: float, share: float, colour: str, opacity: float = 0.85) -> str:
    if share <= 0:
        return ""
    # a single row among millions is still seen
    height = max(1.0, share * (HEIGHT - 3))
    return (
        f'<rect x="{x:.1f}" y="{HEIGHT - 1 - height:.1f}" width="{max(1.0, width):.1f}" height="{height:.1f}" '
        f'fill="{colour}" fill-opacity="{opacity}"/>'
    )


def _floor(width: float, height: float) -> str:
    return f'<rect x="0" y="{height - 1}" width="{width:.1f}" height="1" fill="currentColor" fill-opacity=".3"/>'


def _cell(x: float, y: float, side: int, row: str, column: str, value: float | None) -> str:
    told = f"{one_line(row, 60)} and {one_line(column, 60)}: " + ("no telling" if value is None else f"{value:.3f}")
    tint = _POSITIVE if (value or 0) > 0 else _NEGATIVE
    opacity = 0.9 * abs(value or 0)
    middle = f'x="{x + side / 2:.1f}" y="{y + side / 2 + 3.5:.1f}" text-anchor="middle"'
    number = ""
    if value is None:
        number = f"<text {middle} {_FAINT}>–</text>"  # noqa: RUF001
    elif side > 30:
        number = f'<text {middle} fill="currentColor">{_short(value)}</text>'
    return (
        f'<g><title>{_safe(told)}</title><rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{side - 1}" height="{side - 1}" '
        f'rx="2" fill="currentColor" fill-opacity=".05"/><rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{side - 1}" '
        f'height="{side - 1}" rx="2" fill="{tint}" fill-opacity="{opacity:.2f}"/>{number}</g>'
    )


def _scale(x: float, y: float) -> str:
    steps = [i / 10 for i in range(-10, 11)]
    tints = "".join(
        f'<rect x="{x + i * 7:.1f}" y="{y:.1f}" width="7" height="7" fill="{_POSITIVE if step > 0 else _NEGATIVE}" '
        f'fill-opacity="{0.9 * abs(step):.2f}"/>'
        for i, step in enumerate(steps)
    )
    frame = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{_SCALE}" height="7" fill="none" stroke="currentColor" stroke-opacity=".3"/>'
    )
    ends = "".join(
        f'<text x="{x + place:.1f}" y="{y + 18:.1f}" text-anchor="{anchor}" {_FAINT}>{text}</text>'
        for place, anchor, text in ((0, "start", "−1 opposite"), (_SCALE, "end", "together 1"))  # noqa: RUF001
    )
    return tints + frame + ends


def _short(value: float) -> str:
    """Two digits, as narrow as they can be."""
    text = f"{abs(value):.2f}"
    text = "1" if text == "1.00" else "0" if text == "0.00" else text.removeprefix("0")
    return f"−{text}" if value < 0 and text != "0" else text  # noqa: RUF001


def _svg(width: float, height: float, told: str, inner: str) -> str:
    label = f'role="img" aria-label="{_safe(told)}"' if told else 'aria-hidden="true"'
    return (
        f'<svg width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" {label} font-size="10" '
        f'style="vertical-align:middle;font-family:inherit">{inner}</svg>'
    )


def _safe(text: str) -> str:
    return escape(text, quote=True)
