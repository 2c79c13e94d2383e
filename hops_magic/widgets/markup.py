"""Pieces of pages that runs and studies are shown with: inline styles only, everything that is data escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hops_magic.runs.states import RunState
from hops_magic.widgets.plain import clean, one_line

COLOURS = {RunState.DONE: "#2e8b57", RunState.FAILED: "#c9372c", RunState.STOPPED: "#b7791f"}
RUNNING = "#3b82d6"
FAINT = "opacity:.7"
MONO = "margin:4px 0;padding:0;white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;font-size:12px"
_PAGE = (
    "max-width:1100px;overflow-wrap:anywhere;"
    "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5"
)
_CELL = "padding:1px 12px 1px 0;text-align:right"


def page(parts: Sequence[str]) -> str:
    """Join the parts of a view."""
    return f'<div style="{_PAGE}">{"".join(parts)}</div>'


def text(data: str) -> str:
    """Escape what stands between tags."""
    return escape(data, quote=False)


def headline(state: RunState, title: str, facts: Sequence[str]) -> str:
    """A run's or study's state and name, and what else there is to say in a line; empty facts are left out."""
    colour = COLOURS.get(state, RUNNING)
    return (
        f'<span style="color:{colour}">●</span> <b>{text(one_line(title, 60))}</b> '
        f'<span style="color:{colour}">{state.value}</span> '
        f'<span style="{FAINT}">· {" · ".join(text(fact) for fact in facts if fact)}</span>'
    )


def callout(colour: str, headline: str, detail: str = "") -> str:
    """A sentence that should be seen, with what belongs to it folded."""
    style = f"border-left:3px solid {colour};padding:2px 8px;margin:4px 0;overflow-wrap:anywhere"
    body = f'<pre style="{MONO}">{text(clean(detail))}</pre>' if detail else ""
    first = text(one_line(headline, 500))
    return f'<div style="{style}">{f"<details><summary>{first}</summary>{body}</details>" if body else first}</div>'


def note(data: str) -> str:
    """A small line."""
    return f'<div style="{FAINT};font-size:11px">{text(data)}</div>' if data else ""


def folded(title: str, body: str, *, is_open: bool = False) -> str:
    """Something to be unfolded."""
    state = " open" if is_open else ""
    return f'<details style="margin:2px 0"{state}><summary style="cursor:pointer">{text(title)}</summary>{body}</details>'


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of figures."""
    body = "".join(_line("td", row) for row in rows)
    return (
        f'<table style="border-collapse:collapse;margin:4px 0"><thead>{_line("th", names)}</thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _line(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="{_CELL}">{text(cell)}</{tag}>' for cell in cells) + "</tr>"
