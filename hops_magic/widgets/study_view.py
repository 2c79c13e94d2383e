"""Open the view of a study where the user is looking."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import TextIO

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.widgets.environment import Environment, detect
from hops_magic.widgets.view import Painter, StudyView

Importance = Callable[[Study], Mapping[str, float]]


def open_study_view(
    study: Study,
    *,
    on_stop: Callable[[], None],
    on_stop_trial: Callable[[int], None],
    fetch_trial: Callable[[int], Run | None],
    importance: Importance | None = None,
    report_html: str = "",
    environment: Environment | None = None,
    stream: TextIO | None = None,
) -> StudyView:
    """Show a study where the user is looking, and keep showing it until the view is closed.

    Parameters
    ----------
    study
        The study as it is now; later ones come by ``update``.
    on_stop, on_stop_trial
        Called, from another thread, when the user stops the study or one trial; they must not wait for anything.
    fetch_trial
        Returns all that a trial has said, when the user opens it; may take a moment.
    importance
        Returns the share of each hyperparameter; called now and then.
    report_html
        The capture report, folded into the view.
    environment
        By default what :func:`detect` finds.
    stream
        Where text goes; by default ``sys.stdout``.
    """
    environment = detect(stream=stream) if environment is None else environment
    wake = threading.Event()
    painter: Painter[Study]
    if environment.shows_widgets:
        from hops_magic.widgets.study_notebook import study_painter

        painter = study_painter(
            study,
            on_stop=on_stop,
            on_stop_trial=on_stop_trial,
            fetch_trial=fetch_trial,
            importance=importance,
            report_html=report_html,
            keeps_widget=environment is Environment.VOILA,
            wake=wake,
        )
    else:
        from hops_magic.widgets.study_text import StudyLinePainter, StudyTerminalPainter

        out = stream or sys.stdout
        painter = StudyTerminalPainter(out) if environment is Environment.TERMINAL else StudyLinePainter(out)
    return StudyView(painter, study, wake=wake)
