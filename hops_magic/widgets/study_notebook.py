"""The view of a study in a notebook: a widget while it lives, a static picture that stays when it has ended."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.widgets.notebook import WIDGET_TYPE, view_of
from hops_magic.widgets.routing import route
from hops_magic.widgets.study_rendering import study_html
from hops_magic.widgets.study_text import study_text
from hops_magic.widgets.study_wire import MAX_TRIALS_AT_ONCE, StudyFeed, opened_trial
from hops_magic.widgets.view import Painter

log = logging.getLogger(__name__)

_BUNDLE = Path(__file__).parent / "static" / "study.js"
_IMPORTANCE_EVERY_S = 3.0
_ENOUGH_FOR_IMPORTANCE = 8

Importance = Callable[[Study], Mapping[str, float]]


def study_painter(
    study: Study,
    *,
    on_stop: Callable[[], None],
    on_stop_trial: Callable[[int], None],
    fetch_trial: Callable[[int], Run | None],
    importance: Importance | None,
    report_html: str,
    keeps_widget: bool,
    wake: threading.Event,
) -> Painter[Study]:
    """Open the widget, or the static view where the widget's front end was not built."""
    weigh = Weigh(importance)
    if not _BUNDLE.exists():
        return StudyStaticPainter(study, weigh, report_html)
    return StudyWidgetPainter(
        study,
        on_stop=on_stop,
        on_stop_trial=on_stop_trial,
        fetch_trial=fetch_trial,
        weigh=weigh,
        report_html=report_html,
        keeps_widget=keeps_widget,
        wake=wake,
    )


class Weigh:
    """Importance, computed anew only now and then."""

    def __init__(self, importance: Importance | None) -> None:
        self._importance = importance
        self._at, self._known = 0.0, 0
        self.shares: Mapping[str, float] = {}

    def __call__(self, study: Study, *, is_last: bool = False) -> Mapping[str, float]:
        ended = len(study.ended())
        is_due = is_last or time.monotonic() - self._at > _IMPORTANCE_EVERY_S
        if self._importance is not None and is_due and ended >= _ENOUGH_FOR_IMPORTANCE and ended != self._known:
            self._at, self._known = time.monotonic(), ended
            try:
                self.shares = self._importance(study)
            # what is only an aside must not end the view
            except Exception:
                log.warning("the importance of study %s cannot be told", study.run_id, exc_info=True)
        return self.shares


class StudyStaticPainter:
    """Replaces a picture of the study by a newer one, at most once a second."""

    def __init__(self, study: Study, weigh: Weigh, report_html: str) -> None:
        from IPython.display import display

        self._weigh, self._report_html = weigh, report_html
        self._shown_at = time.monotonic()
        self._handle = display(static_bundle(study, {}, report_html), raw=True, display_id=True)

    def paint(self, study: Study) -> None:
        """Show a newer picture, if the last one is a second old."""
        if time.monotonic() - self._shown_at >= 1.0:
            self._shown_at = time.monotonic()
            self._handle.update(static_bundle(study, self._weigh(study), self._report_html), raw=True)

    def finish(self, study: Study) -> None:
        """Show the last picture."""
        self._handle.update(static_bundle(study, self._weigh(study, is_last=True), self._report_html), raw=True)


class StudyWidgetPainter:
    """Feeds a widget; what the browser already knows is not sent again."""

    def __init__(
        self,
        study: Study,
        *,
        on_stop: Callable[[], None],
        on_stop_trial: Callable[[int], None],
        fetch_trial: Callable[[int], Run | None],
        weigh: Weigh,
        report_html: str,
        keeps_widget: bool,
        wake: threading.Event,
    ) -> None:
        from IPython.display import display

        self._on_stop, self._on_stop_trial, self._fetch_trial = on_stop, on_stop_trial, fetch_trial
        self._weigh, self._report_html, self._keeps_widget = weigh, report_html, keeps_widget
        self._study, self._feed, self._wake = study, StudyFeed(), wake
        self._is_stop_requested = self._is_all_wanted = self._is_finished = False
        self._opened: list[int] = []
        self._lock = threading.Lock()
        self._widget = _widget_class()()
        self._is_heard_while_busy = route(self._widget, self._on_message).works_while_busy
        self._has_heard = False
        self._told_all_at = 0.0
        bundle = {WIDGET_TYPE: view_of(self._widget), "text/plain": study_text(study)}
        self._handle = display(bundle, raw=True, display_id=True)

    def paint(self, study: Study) -> None:
        """Send what changed, and the trials that the user opened."""
        with self._lock:
            self._study = study
            self._send()
            opened, self._opened = self._opened, []
        for number in opened:
            self._widget.send(opened_trial(number, study, self._fetched(number)))

    def _fetched(self, number: int) -> Run | None:
        """Return what a trial said; None where the worker that knows is busy or gone."""
        try:
            return self._fetch_trial(number)
        except Exception:
            log.warning("trial %s of study %s cannot be fetched", number, self._study.run_id, exc_info=True)
            return None

    def finish(self, study: Study) -> None:
        """Send what changed, then put the static picture in the widget's place so that the saved notebook has it."""
        self.paint(study)
        self._is_finished = True
        if not self._keeps_widget:
            shares = self._weigh(study, is_last=True)
            self._handle.update(static_bundle(study, shares, self._report_html), raw=True)

    def _on_message(self, content: Mapping[str, Any]) -> None:
        """Note what the browser wants; the view's thread answers, since others know of no cell to answer for."""
        self._has_heard = True
        kind, trial = content.get("type"), content.get("trial")
        if kind == "ready":
            self._is_all_wanted = True
        elif kind == "stop" and self._study.state.can_stop and not self._is_stop_requested:
            self._is_stop_requested = True
            self._on_stop()
        elif kind == "stop-trial" and isinstance(trial, int):
            self._on_stop_trial(trial)
        elif kind == "open" and isinstance(trial, int) and trial in self._study.trials:
            self._opened.append(trial)
        elif kind == "insert-best":
            self._insert_best()
        self._wake.set()
        if self._is_finished:
            # a page that was loaded again after the end, when that thread is gone; fetching a trial may take a moment
            threading.Thread(target=self.paint, args=(self._study,), daemon=True).start()

    def _insert_best(self) -> None:
        """Put the best values into a new cell below, which appears when this one has ended."""
        from IPython import get_ipython

        shell, best = get_ipython(), self._study.best
        if shell is not None and best is not None:
            shell.set_next_input(best_as_code(self._study), replace=False)

    def _send(self) -> None:
        if not self._has_heard:
            if self._is_heard_while_busy:
                # no browser has opened the widget yet; it will ask for everything when it does
                return
            self._tell_all_again()
        if self._is_all_wanted:
            self._is_all_wanted = False
            self._feed.reset()
        extra = {
            "is_stop_requested": self._is_stop_requested,
            "importance": dict(self._weigh(self._study, is_last=self._study.state.is_final)),
            "report_html": self._report_html,
            "best_code": best_as_code(self._study),
        }
        while (update := self._feed.next(self._study, now=time.time(), extra=extra)) is not None:
            self._widget.send(update)
            if len(update.get("trials", ())) < MAX_TRIALS_AT_ONCE:
                return

    def _tell_all_again(self) -> None:
        # the browser cannot make itself heard before the cell ends: it may have missed the beginning
        if time.monotonic() - self._told_all_at >= 1.0:
            self._told_all_at = time.monotonic()
            self._feed.reset()


def best_as_code(study: Study) -> str:
    """The best values as a cell that sets them: ``lr = 0.00123``, a line each; empty before there is a best."""
    best = study.best
    if best is None:
        return ""
    lines = [f"# {study.metric} {best.value!r} in trial {best.number} of {study.name}"]
    for name, value in best.values.items():
        if name not in study.object_names:
            lines.append(f"{name} = {value!r}")
        elif isinstance(value, str) and value.isidentifier():
            lines.append(f"{name} = {value}")  # a function or class of the notebook
        else:
            lines.append(f"# {name} was {value!r}, which only the notebook that defines it can set")
    return "\n".join(lines)


def static_bundle(study: Study, importance: Mapping[str, float], report_html: str) -> dict[str, str]:
    """The study as a notebook keeps it."""
    html = study_html(study, now=time.time(), report_html=report_html, importance=importance)
    return {"text/html": html, "text/plain": study_text(study)}


@functools.cache
def _widget_class() -> type[Any]:
    # half a second of imports, paid only by the first view
    import anywidget

    class StudyWidget(anywidget.AnyWidget):
        """The kernel's end of the view; all its state travels in custom messages."""

        _esm = _BUNDLE.read_text(encoding="utf-8")

    return StudyWidget
