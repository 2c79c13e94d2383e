"""Tables of names and figures, as HTML that needs neither script nor style sheet, and as aligned text.

Everything in a cell is data: it is cleaned, cut to a length and escaped, so that no name can act or break the layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol

from hops_magic.widgets.plain import clean, one_line

MAX_CELL = 60
MAX_HINT = 300
MAX_TEXT_CELL = 40
MAX_HEAD = 40
_SPARK_WIDTH, _SPARK_HEIGHT = 72, 18
FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5"
_LINE = "border-bottom:1px solid var(--jp-border-color2,#8884)"
_PADDING = "padding:3px 12px 3px 0"
_ASIDE = "opacity:.7"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : str
        What it says.
    colour : str
        CSS colour of a dot before the text; empty for none.
    curve : sequence of float
        Drawn as a small line after the text.
    is_strong : bool
        The name by which a row is known.
    """

    text: str
    colour: str = ""
    curve: Sequence[float] = ()
    is_strong: bool = False

    def html(self, limit: int) -> str:
        """Return the inside of a table cell."""
        shown = one_line(self.text, limit)
        body = escape(shown)
        if self.is_strong:
            body = f"<b>{body}</b>"
        if shown != self.text:
            body = f'<span title="{escape(one_line(self.text, MAX_HINT))}">{body}</span>'
        dot = f'<span style="color:{self.colour}">●</span>&nbsp;' if self.colour else ""
        return f"{dot}{body}{sparkline(self.curve)}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """Head of a column; numbers are aligned at the right."""

    title: str
    is_number: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns; shows itself in notebooks and terminals."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    empty: str = "nothing to show"
    limit: int = MAX_CELL

    def html(self) -> str:
        """Return the table as a piece of a page."""
        if not self.rows:
            return f'<div style="{FONT};{_ASIDE}">{escape(one_line(self.empty))}</div>'
        titles = "".join(
            f'<th scope="col" style="{_PADDING};{_LINE};{_align(column)};font-weight:600;{_ASIDE}">'
            f"{escape(one_line(column.title, MAX_HEAD))}</th>"
            for column in self.columns
        )
        head = f"<thead><tr>{titles}</tr></thead>" if any(column.title for column in self.columns) else ""
        body = "".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        title = f'<div style="font-weight:600;margin:4px 0">{escape(one_line(self.title))}</div>' if self.title else ""
        note = f'<div style="{_ASIDE};margin-top:4px">{escape(one_line(self.note, MAX_HINT))}</div>' if self.note else ""
        style = "border-collapse:collapse;margin:0;font:inherit;color:inherit"
        table = f'<table style="{style}">{head}<tbody>{body}</tbody></table>'
        return f'<div style="{FONT};overflow-x:auto;max-width:100%">{title}{table}{note}</div>'

    def text(self) -> str:
        """Return the table as aligned lines."""
        if not self.rows:
            return one_line(self.empty)
        heads = [one_line(column.title, MAX_HEAD) for column in self.columns]
        cells = [[one_line(cell.text, min(self.limit, MAX_TEXT_CELL)) for cell in row] for row in self.rows]
        widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
        lines = [
            "  ".join(
                value.rjust(width) if column.is_number else value.ljust(width)
                for value, width, column in zip(row, widths, self.columns, strict=True)
            ).rstrip()
            for row in ([heads, *cells] if any(heads) else cells)
        ]
        return "\n".join(filter(None, [one_line(self.title), *lines, one_line(self.note, MAX_HINT)]))

    def _row(self, row: Sequence[Cell]) -> str:
        return "".join(
            f'<td style="{_PADDING};{_align(column)};white-space:nowrap">{cell.html(self.limit)}</td>'
            for column, cell in zip(self.columns, row, strict=True)
        )

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return self.text()


@dataclass(frozen=True, kw_only=True)
class Code:
    """Source, output or a difference, set in one width."""

    title: str
    code: str
    is_diff: bool = False
    limit: int = 20_000

    def html(self) -> str:
        """Return the text folded under its title; of a long one the end is shown."""
        lines = self._shown().splitlines()
        body = "\n".join(self._line(line) for line in lines)
        style = (
            "margin:4px 0;padding:6px;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;"
            "font-size:12px;background:var(--jp-layout-color2,#8881)"
        )
        summary = f'<summary style="cursor:pointer">{escape(one_line(self.title))}</summary>'
        return f'<details style="{FONT};margin:4px 0">{summary}<pre style="{style}">{body}</pre></details>'

    def text(self) -> str:
        """Return the text under its title."""
        return f"{one_line(self.title)}\n{self._shown()}"

    def _shown(self) -> str:
        cut = len(self.code) - self.limit
        text = f"[{cut:,} characters before are not shown]\n{self.code[cut:]}" if cut > 0 else self.code
        return clean(text)

    def _line(self, line: str) -> str:
        colour = {"+": "#2e8b57", "-": "#c9372c"}.get(line[:1], "") if self.is_diff else ""
        return f'<span style="color:{colour}">{escape(line)}</span>' if colour else escape(line)


class Part(Protocol):
    """A piece of a page."""

    def html(self) -> str:
        """Return it as a piece of a page."""
        ...

    def text(self) -> str:
        """Return it as text."""
        ...


@dataclass(frozen=True)
class Page:
    """Several pieces, one below the other."""

    parts: Sequence[Part] = field(default_factory=list)

    def html(self) -> str:
        """Return the pieces as a piece of a page."""
        return "".join(f'<div style="margin-bottom:8px">{part.html()}</div>' for part in self.parts)

    def text(self) -> str:
        """Return the pieces as text."""
        return "\n\n".join(part.text() for part in self.parts)

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        return self.text()


def sparkline(values: Sequence[float]) -> str:
    """Return a small line as inline SVG; nothing for fewer than two finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    step = (_SPARK_WIDTH - 2) / (len(finite) - 1)
    points = " ".join(
        f"{1 + i * step:.1f},{1 + (_SPARK_HEIGHT - 2) * (1 - (value - low) / span):.1f}" for i, value in enumerate(finite)
    )
    return (
        f'<svg width="{_SPARK_WIDTH}" height="{_SPARK_HEIGHT}" viewBox="0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}" role="img" '
        f'aria-label="course" style="vertical-align:middle;margin-left:8px"><polyline points="{points}" fill="none" '
        'stroke="var(--jp-brand-color1,#3b82d6)" stroke-width="1.5" stroke-linejoin="round"/></svg>'
    )


def table_of(rows: Iterable[Mapping[str, Any]], empty: str = "nothing to show") -> Table:
    """Make a table of dictionaries with the same keys; numbers are aligned at the right."""
    rows = list(rows)
    names = list(rows[0]) if rows else []
    columns = [Column(title=name, is_number=all(_is_number(row[name]) for row in rows)) for name in names]
    return Table(columns=columns, rows=[[Cell(str(row[name])) for name in names] for row in rows], empty=empty)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _align(column: Column) -> str:
    return f"text-align:{'right' if column.is_number else 'left'}"
