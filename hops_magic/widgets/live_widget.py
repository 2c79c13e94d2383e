"""How a run or a study is shown in a notebook: a widget while it lives, a picture that stays when it has ended."""

from __future__ import annotations

import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from hops_magic.widgets.routing import route
from hops_magic.widgets.saved_output import Picture, SavedOutput, Seen

# a browser that hears nothing for three times as long says that news have stopped
ALIVE_EVERY_S = 5.0


class _Resettable(Protocol):
    def reset(self) -> None: ...


Feed = TypeVar("Feed", bound=_Resettable)


class StaticPainter(Generic[Seen]):
    """Replaces a picture by a newer one, at most once a second."""

    def __init__(self, seen: Seen, picture: Picture[Seen]) -> None:
        from IPython.display import display

        self._picture = picture
        self._shown_at = time.monotonic()
        self._handle = display(picture(seen, False), raw=True, display_id=True)

    def paint(self, seen: Seen) -> None:
        """Show a newer picture, if the last one is a second old."""
        if time.monotonic() - self._shown_at >= 1.0:
            self._shown_at = time.monotonic()
            self._handle.update(self._picture(seen, False), raw=True)

    def finish(self, seen: Seen) -> None:
        """Show the last picture."""
        self._handle.update(self._picture(seen, True), raw=True)


class WidgetPainter(ABC, Generic[Seen, Feed]):
    """Feeds a widget; what the browser already knows is not sent again.

    Parameters
    ----------
    seen
        The run or study as it is at first.
    bundle
        The widget's front end.
    feed
        What makes messages of changes; on ``reset`` it begins anew.
    picture
        What takes the widget's place at the end.
    on_stop
        Called once, for a click on Stop.
    keeps_widget
        Whether the widget stays at the end: on pages that are not saved.
    wake
        Asks the view's thread for a painting.
    report_html
        The capture report.
    """

    def __init__(
        self,
        seen: Seen,
        *,
        bundle: Path,
        feed: Feed,
        picture: Picture[Seen],
        on_stop: Callable[[], None],
        keeps_widget: bool,
        wake: threading.Event,
        report_html: str,
    ) -> None:
        self._seen, self._feed, self._report_html = seen, feed, report_html
        self._on_stop, self._keeps_widget, self._wake = on_stop, keeps_widget, wake
        self._is_stop_requested = self._is_all_wanted = self._is_finished = self._has_heard = False
        self._told_all_at = self._told_at = 0.0
        self._lock = threading.Lock()
        self._widget = _widget_class(bundle)()
        self._is_heard_while_busy = route(self._widget, self._on_message).works_while_busy
        self._output = SavedOutput(
            seen,
            picture=picture,
            widget_view=view_of(self._widget),
            report_html=report_html,
            is_saved=not keeps_widget,
        )

    @abstractmethod
    def _messages(self) -> Iterable[Mapping[str, Any]]:
        """Make what the browser does not know yet."""

    def _asked(self, kind: object, content: Mapping[str, Any]) -> None:
        """Note another wish of the browser's than to be told everything, or to stop."""

    def paint(self, seen: Seen) -> None:
        """Send what changed."""
        with self._lock:
            self._seen = seen
            if self._may_send():
                for message in self._messages():
                    self._send(message)
                if time.monotonic() - self._told_at >= ALIVE_EVERY_S:
                    self._send({"type": "alive"})
        if not self._is_finished:
            self._output.renew(seen)

    def finish(self, seen: Seen) -> None:
        """Send what changed, then put the picture in the widget's place so that the saved notebook has it."""
        self._is_finished = True
        self.paint(seen)
        if not self._keeps_widget:
            self._output.finish(seen)

    def _send(self, message: Mapping[str, Any]) -> None:
        self._told_at = time.monotonic()
        self._widget.send(dict(message))

    def _on_message(self, content: Mapping[str, Any]) -> None:
        """Note what the browser wants; the view's thread answers, since others know of no cell to answer for."""
        self._has_heard = True
        kind = content.get("type")
        if kind == "ready":
            self._is_all_wanted = True
        elif kind == "stop":
            if self._seen.state.can_stop and not self._is_stop_requested:
                self._is_stop_requested = True
                self._on_stop()
        else:
            self._asked(kind, content)
        self._wake.set()
        if self._is_finished:
            # a page that was loaded again after the end, when that thread is gone; an answer may take a moment
            threading.Thread(target=self.paint, args=(self._seen,), daemon=True).start()

    def _may_send(self) -> bool:
        if not self._has_heard:
            if self._is_heard_while_busy:
                # no browser has opened the widget yet; it will ask for everything when it does
                return False
            # it cannot make itself heard before the cell ends, and may have missed the beginning
            if time.monotonic() - self._told_all_at >= 1.0:
                self._told_all_at = time.monotonic()
                self._feed.reset()
        if self._is_all_wanted:
            self._is_all_wanted = False
            self._feed.reset()
        return True


def view_of(widget: Any) -> dict[str, Any]:
    """What a front end needs to show a widget."""
    return {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}


@functools.cache
def _widget_class(bundle: Path) -> type[Any]:
    # half a second of imports, paid only by the first view
    from hops_magic.widgets.told import ToldWidget

    class LiveWidget(ToldWidget):
        """The kernel's end of the view; all its state travels in custom messages."""

        _esm = bundle.read_text(encoding="utf-8")

    return LiveWidget
