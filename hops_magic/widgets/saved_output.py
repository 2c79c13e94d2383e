"""The output of a cell that shows a run: beside the live widget, what the notebook's file keeps of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study

RUN_TYPE = "application/vnd.hops.run.v1+json"
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"

# a page is drawn anew after 2 s, and seldomer as the run grows older: a file is as old as a thirtieth of what it tells
FIRST_RENEWAL_S = 2.0
LAST_RENEWAL_S = 30.0
_SHARE_OF_AGE = 1 / 30
# drawing a page takes no more than this share of a thread's time
_SHARE_OF_TIME = 1 / 20

Seen = TypeVar("Seen", bound=Run | Study)
Picture = Callable[[Seen, bool], Mapping[str, str]]
"""The picture of a run or study as a notebook keeps it; the second argument says whether it is the last one."""


class SavedOutput(Generic[Seen]):
    """An output with all forms of a run: the live widget, its page as text and HTML, and its id.

    With the id, JupyterLab's extension shows the run from the server: after a reload, in another browser, when the kernel
    was restarted. Front ends without the extension show the widget, and files the page.

    Parameters
    ----------
    seen
        The run or study as it is at first.
    picture
        Draws the page.
    widget_view
        What front ends need to show the widget.
    report_html
        The capture report, which the server's record does not have as a page.
    is_saved
        Whether the page that shows this may be saved: not that of voila, where the widget alone is shown.
    """

    def __init__(
        self,
        seen: Seen,
        *,
        picture: Picture[Seen],
        widget_view: Mapping[str, Any],
        report_html: str,
        is_saved: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from IPython.display import display

        self._picture, self._widget_view, self._report_html = picture, widget_view, report_html
        self._is_saved, self._clock = is_saved, clock
        # the page that was reloaded finds the output by this: Jupyter's files do not keep it
        self._display_id = f"hops-{secrets.token_hex(8)}"
        self._number = 0
        self._kept = seen
        self._shown_at, self._began_at = clock(), clock()
        self._pause_s = FIRST_RENEWAL_S
        self._handle = display(self._forms(seen), raw=True, display_id=self._display_id)

    def renew(self, seen: Seen) -> None:
        """Bring the page up to date, if it is old."""
        now = self._clock()
        if not self._is_saved or seen is self._kept or now - self._shown_at < self._pause_s:
            return
        self._draw(seen)
        self._shown_at = self._clock()
        age_s, took_s = self._shown_at - self._began_at, self._shown_at - now
        self._pause_s = max(min(LAST_RENEWAL_S, FIRST_RENEWAL_S + age_s * _SHARE_OF_AGE), took_s / _SHARE_OF_TIME)

    def finish(self, seen: Seen) -> None:
        """Let the last page stand for a run that has ended; one that goes on without its kernel is shown on."""
        if seen.state.is_final:
            self._handle.update(self._picture(seen, True), raw=True)
        else:
            self._draw(seen)

    def _draw(self, seen: Seen) -> None:
        self._number += 1
        self._kept = seen
        self._handle.update(self._forms(seen), raw=True)

    def _forms(self, seen: Seen) -> dict[str, Any]:
        page = self._picture(seen, False)
        if not self._is_saved:
            return {WIDGET_TYPE: self._widget_view, "text/plain": page["text/plain"]}
        told = {
            "run_id": seen.run_id,
            "kind": "run" if isinstance(seen, Run) else "study",
            "number": self._number,
            "display_id": self._display_id,
            "widget": self._widget_view,
            "report_html": self._report_html,
        }
        return {RUN_TYPE: told, WIDGET_TYPE: self._widget_view, **page}
