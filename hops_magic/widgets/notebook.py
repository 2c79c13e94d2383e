"""The view of a run in a notebook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hops_magic.runs.run import Run
from hops_magic.widgets import words
from hops_magic.widgets.live_widget import StaticPainter, WidgetPainter
from hops_magic.widgets.rendering import static_html, static_text
from hops_magic.widgets.view import Painter
from hops_magic.widgets.wire import Feed

_BUNDLE = Path(__file__).parent / "static" / "run.js"
_NOT_BUILT = "The live view was not built: run make front."


def notebook_painter(
    run: Run, *, on_stop: Callable[[], None], report_html: str, keeps_widget: bool, wake: threading.Event
) -> Painter[Run]:
    """Open the widget, or the static view where the widget's front end was not built.

    Parameters
    ----------
    run, on_stop, report_html
        As in :func:`hops_magic.widgets.open_view`.
    keeps_widget, wake
        As in :class:`~hops_magic.widgets.live_widget.WidgetPainter`.
    """
    is_built = _BUNDLE.exists()

    def picture(run: Run, is_last: bool) -> dict[str, str]:
        note = "" if is_last or is_built else _NOT_BUILT
        return {"text/html": static_html(run, report_html=report_html, note=note), "text/plain": static_text(run)}

    if not is_built:
        return StaticPainter(run, picture)
    return RunPainter(
        run,
        report_html=report_html,
        bundle=_BUNDLE,
        feed=Feed(),
        picture=picture,
        on_stop=on_stop,
        keeps_widget=keeps_widget,
        wake=wake,
    )


class RunPainter(WidgetPainter[Run, Feed]):
    """Feeds the widget of a run."""

    def __init__(self, run: Run, **options: Any) -> None:
        self._pace = words.Pace()
        super().__init__(run, **options)

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        run, now = self._seen, time.time()
        remaining = None if run.state.is_final else self._pace.remaining_s(now, run.fraction_done())
        extra = {
            "remaining_s": None if remaining is None else round(remaining),
            "is_stop_requested": self._is_stop_requested,
            "report_html": self._report_html,
        }
        update = self._feed.next(run, now=now, extra=extra)
        if update is not None:
            yield update
