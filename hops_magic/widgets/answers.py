"""Features that were asked for, where they were put into no variable: a table to look at, which also has the data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import pyarrow as pa

from hops_magic.errors import counted
from hops_magic.features.answers import AnswerRows
from hops_magic.widgets.environment import Environment, detect
from hops_magic.widgets.features import SHOWN_ROWS, rows_table
from hops_magic.widgets.live_widget import view_of
from hops_magic.widgets.saved_output import WIDGET_TYPE
from hops_magic.widgets.tables import FONT, Page, Part

_SHOWN_ROWS_OF_TEXT = 20
# the picture that a saved notebook keeps is not shown beside a live table that has its rows, nor the note of a dead table
# beside the picture
_LIVE = ".jp-OutputArea:has(.hops-answer) .hops-answer-saved"
_DEAD = ".jp-OutputArea-child:has(+ .jp-OutputArea-child .hops-answer-saved) .jupyter-widgets:not(:has(*))"
_EITHER = f"<style>{_LIVE}, {_DEAD} {{ display: none }}</style>"


class Answer:
    """Features that were asked for, shown as a table; ``df``, ``polars`` and ``arrow`` have them as data.

    Parameters
    ----------
    rows : AnswerRows
        What is shown; all of it is read into memory only for ``df``, ``polars`` and ``arrow``.
    widget : callable, optional
        Makes the live table of these rows; without it, the table is a picture.
    """

    def __init__(self, rows: AnswerRows, title: str = "", *, widget: Callable[[AnswerRows, str], Any] | None = None) -> None:
        self._rows = rows
        self._title = title
        self._make = widget
        self._widget: Any = None

    @property
    def arrow(self) -> pa.Table:
        """A table of Arrow."""
        return self._rows.whole("arrow")

    @property
    def df(self) -> Any:
        """A DataFrame of pandas."""
        return self._rows.whole("df")

    @property
    def polars(self) -> Any:
        """A DataFrame of polars."""
        return self._rows.whole("polars")

    def __len__(self) -> int:
        return self._rows.num_rows

    def _page(self) -> Page:
        from hops_magic.widgets.feature_statistics import statistics_page

        head = f"{counted(len(self), 'row')} of {counted(len(self._rows.schema.names), 'column')}"
        first = rows_table(self._rows.page(limit=SHOWN_ROWS), title=f"{self._title}: {head}", total=len(self))
        parts: list[Part] = [first]
        if len(self):
            found = self._rows.statistics()
            parts.append(Folded("Distributions", statistics_page("", found, _described(self._rows.schema))))
        return Page(parts)

    def _ipython_display_(self) -> None:
        """Show the live table, and below it the picture for when there is no kernel: a page shows one of them."""
        from IPython.display import display

        environment = detect()
        if self._make is None or not environment.shows_widgets:
            # then the picture is shown
            raise NotImplementedError
        self._widget = self._widget or self._make(self._rows, self._title)
        live = {WIDGET_TYPE: view_of(self._widget), "text/plain": repr(self)}
        if environment is Environment.VOILA:
            # its pages are not saved
            display(live, raw=True)
        elif "VSCODE_PID" in os.environ:
            # it shows one of an output's forms, by its own choice
            display(live | {"text/html": self._repr_html_()}, raw=True)
        else:
            display(live, raw=True)
            saved = f'{_EITHER}<div class="hops-answer-saved">{self._repr_html_()}</div>'
            display({"text/html": saved, "text/plain": repr(self)}, raw=True)

    def _repr_html_(self) -> str:
        return self._page().html()

    def __repr__(self) -> str:
        return rows_table(self._rows.page(limit=_SHOWN_ROWS_OF_TEXT), total=len(self)).text()


@dataclass(frozen=True)
class Folded:
    """A page under a title that opens it."""

    title: str
    page: Page

    def html(self) -> str:
        """Return the page, folded."""
        summary = f"<summary style='cursor:pointer'>{escape(self.title)}</summary>"
        return f"<details style='{FONT}'>{summary}{self.page.html()}</details>"

    def text(self) -> str:
        """Return the page under its title."""
        return f"{self.title}\n{self.page.text()}"


def _described(schema: pa.Schema) -> list[Any]:
    from hops_magic.features.model import Column

    return [Column(name=item.name, type=str(item.type)) for item in schema]
