"""Views of runs in notebooks, voila and terminals."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TextIO

from hops_magic.runs.run import Run
from hops_magic.widgets.environment import Environment, detect
from hops_magic.widgets.study_view import open_study_view
from hops_magic.widgets.view import Painter, RunView, StudyView

__all__ = ["Environment", "RunView", "StudyView", "detect", "open_study_view", "open_view"]


def open_view(
    run: Run,
    *,
    on_stop: Callable[[], None],
    report_html: str = "",
    environment: Environment | None = None,
    stream: TextIO | None = None,
) -> RunView:
    """Show a run where the user is looking, and keep showing it until the view is closed.

    Parameters
    ----------
    run
        The run as it is now; later ones come by :meth:`RunView.update`.
    on_stop
        Called once, from another thread, when the user clicks Stop; it must not wait for anything.
    report_html
        The capture report, folded into the view.
    environment
        By default what :func:`detect` finds.
    stream
        Where text goes; by default ``sys.stdout``.
    """
    environment = detect(stream=stream) if environment is None else environment
    wake = threading.Event()
    return RunView(_painter(environment, run, on_stop, report_html, stream or sys.stdout, wake), run, wake=wake)


def _painter(
    environment: Environment,
    run: Run,
    on_stop: Callable[[], None],
    report_html: str,
    stream: TextIO,
    wake: threading.Event,
) -> Painter[Run]:
    if environment.shows_widgets:
        from hops_magic.widgets.notebook import notebook_painter

        keeps_widget = environment is Environment.VOILA
        return notebook_painter(run, on_stop=on_stop, report_html=report_html, keeps_widget=keeps_widget, wake=wake)
    from hops_magic.widgets.text import LinePainter, TerminalPainter

    return TerminalPainter(stream) if environment is Environment.TERMINAL else LinePainter(stream)
