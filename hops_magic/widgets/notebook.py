"""The view of a run in a notebook: a widget while it lives, a static picture that stays when it has ended."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hops_magic.runs.run import Run
from hops_magic.widgets import words
from hops_magic.widgets.rendering import static_html, static_text
from hops_magic.widgets.routing import route
from hops_magic.widgets.view import Painter
from hops_magic.widgets.wire import Feed

_BUNDLE = Path(__file__).parent / "static" / "run.js"
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"


def notebook_painter(
    run: Run, *, on_stop: Callable[[], None], report_html: str, keeps_widget: bool, wake: threading.Event
) -> Painter[Run]:
    """Open the widget, or the static view where the widget's front end was not built.

    Parameters
    ----------
    run, on_stop, report_html
        As in :func:`hops_magic.widgets.open_view`.
    keeps_widget
        Whether the widget stays when the run has ended: on pages that are not saved.
    wake
        Asks the view's thread for a painting.
    """
    if not _BUNDLE.exists():
        return StaticPainter(run, report_html=report_html, note="The live view was not built: run make front.")
    return WidgetPainter(run, on_stop=on_stop, report_html=report_html, keeps_widget=keeps_widget, wake=wake)


class StaticPainter:
    """Replaces a picture of the run by a newer one, at most once a second."""

    def __init__(self, run: Run, *, report_html: str, note: str) -> None:
        from IPython.display import display

        self._report_html, self._note = report_html, note
        self._shown_at = time.monotonic()
        self._handle = display(_static_bundle(run, report_html, note), raw=True, display_id=True)

    def paint(self, run: Run) -> None:
        """Show a newer picture, if the last one is a second old."""
        if time.monotonic() - self._shown_at >= 1.0:
            self._shown_at = time.monotonic()
            self._handle.update(_static_bundle(run, self._report_html, self._note), raw=True)

    def finish(self, run: Run) -> None:
        """Show the last picture."""
        self._handle.update(_static_bundle(run, self._report_html, ""), raw=True)


class WidgetPainter:
    """Feeds a widget; what the browser already knows is not sent again."""

    def __init__(
        self, run: Run, *, on_stop: Callable[[], None], report_html: str, keeps_widget: bool, wake: threading.Event
    ) -> None:
        from IPython.display import display

        self._on_stop, self._report_html, self._keeps_widget = on_stop, report_html, keeps_widget
        self._run, self._feed, self._pace = run, Feed(), words.Pace()
        self._wake = wake
        self._is_stop_requested = self._is_all_wanted = self._is_finished = False
        self._lock = threading.Lock()
        self._widget = _widget_class()()
        self._is_heard_while_busy = route(self._widget, self._on_message).works_while_busy
        self._has_heard = False
        self._told_all_at = 0.0
        bundle = {WIDGET_TYPE: view_of(self._widget), "text/plain": static_text(run)}
        self._handle = display(bundle, raw=True, display_id=True)

    def paint(self, run: Run) -> None:
        """Send what changed."""
        with self._lock:
            self._run = run
            self._send()

    def finish(self, run: Run) -> None:
        """Send what changed, then put the static picture in the widget's place so that the saved notebook has it."""
        self.paint(run)
        self._is_finished = True
        if not self._keeps_widget:
            self._handle.update(_static_bundle(run, self._report_html, ""), raw=True)

    def _on_message(self, content: Mapping[str, Any]) -> None:
        """Note what the browser wants; the view's thread answers, since others know of no cell to answer for."""
        self._has_heard = True
        if content.get("type") == "ready":
            self._is_all_wanted = True
        elif content.get("type") == "stop" and self._run.state.can_stop and not self._is_stop_requested:
            self._is_stop_requested = True
            self._on_stop()
        self._wake.set()
        if self._is_finished:
            # a page that was loaded again after the end, when that thread is gone
            self.paint(self._run)

    def _send(self) -> None:
        if not self._has_heard:
            if self._is_heard_while_busy:
                # no browser has opened the widget yet; it will ask for everything when it does
                return
            self._tell_all_again()
        if self._is_all_wanted:
            self._is_all_wanted = False
            self._feed.reset()
        run, now = self._run, time.time()
        remaining = None if run.state.is_final else self._pace.remaining_s(now, run.fraction_done())
        extra = {
            "remaining_s": None if remaining is None else round(remaining),
            "is_stop_requested": self._is_stop_requested,
            "report_html": self._report_html,
        }
        update = self._feed.next(run, now=now, extra=extra)
        if update is not None:
            self._widget.send(dict(update))

    def _tell_all_again(self) -> None:
        # the browser cannot make itself heard before the cell ends: it may have missed the beginning
        if time.monotonic() - self._told_all_at >= 1.0:
            self._told_all_at = time.monotonic()
            self._feed.reset()


def _static_bundle(run: Run, report_html: str, note: str) -> dict[str, str]:
    return {"text/html": static_html(run, report_html=report_html, note=note), "text/plain": static_text(run)}


def view_of(widget: Any) -> dict[str, Any]:
    """What a front end needs to show a widget."""
    return {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}


@functools.cache
def _widget_class() -> type[Any]:
    # half a second of imports, paid only by the first view
    import anywidget

    class RunWidget(anywidget.AnyWidget):
        """The kernel's end of the view; all its state travels in custom messages."""

        _esm = _BUNDLE.read_text(encoding="utf-8")

    return RunWidget
