"""The view of a study in a notebook."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.widgets.live_widget import StaticPainter, WidgetPainter
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

    def picture(study: Study, is_last: bool) -> dict[str, str]:
        shares = weigh(study, is_last=is_last)
        html = study_html(study, now=time.time(), report_html=report_html, importance=shares)
        return {"text/html": html, "text/plain": study_text(study)}

    if not _BUNDLE.exists():
        return StaticPainter(study, picture)
    return StudyPainter(
        study,
        on_stop_trial=on_stop_trial,
        fetch_trial=fetch_trial,
        weigh=weigh,
        report_html=report_html,
        bundle=_BUNDLE,
        feed=StudyFeed(),
        picture=picture,
        on_stop=on_stop,
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


class StudyPainter(WidgetPainter[Study, StudyFeed]):
    """Feeds the widget of a study, and shows the trials that its user opens."""

    def __init__(
        self,
        study: Study,
        *,
        on_stop_trial: Callable[[int], None],
        fetch_trial: Callable[[int], Run | None],
        weigh: Weigh,
        **options: Any,
    ) -> None:
        self._on_stop_trial, self._fetch_trial = on_stop_trial, fetch_trial
        self._weigh = weigh
        self._opened: list[int] = []
        super().__init__(study, **options)

    def paint(self, study: Study) -> None:
        """Send what changed, and the trials that the user opened."""
        super().paint(study)
        with self._lock:
            opened, self._opened = self._opened, []
        for number in opened:
            self._widget.send(opened_trial(number, study, self._fetched(number)))

    def _messages(self) -> Iterator[Mapping[str, Any]]:
        study = self._seen
        extra = {
            "is_stop_requested": self._is_stop_requested,
            "importance": dict(self._weigh(study, is_last=study.state.is_final)),
            "report_html": self._report_html,
            "best_code": best_as_code(study),
        }
        while (update := self._feed.next(study, now=time.time(), extra=extra)) is not None:
            yield update
            if len(update.get("trials", ())) < MAX_TRIALS_AT_ONCE:
                return

    def _asked(self, kind: object, content: Mapping[str, Any]) -> None:
        trial = content.get("trial")
        if kind == "insert-best":
            self._insert_best()
        # whatever a page says, it is of the trials that it is shown
        elif not isinstance(trial, int) or isinstance(trial, bool) or trial not in self._seen.trials:
            return
        elif kind == "stop-trial":
            self._on_stop_trial(trial)
        elif kind == "open":
            self._opened.append(trial)

    def _fetched(self, number: int) -> Run | None:
        """Return what a trial said; None where the worker that knows is busy or gone."""
        try:
            return self._fetch_trial(number)
        except Exception:
            log.warning("trial %s of study %s cannot be fetched", number, self._seen.run_id, exc_info=True)
            return None

    def _insert_best(self) -> None:
        """Put the best values into a new cell below, which appears when this one has ended."""
        from IPython import get_ipython

        shell, best = get_ipython(), self._seen.best
        if shell is not None and best is not None:
            shell.set_next_input(best_as_code(self._seen), replace=False)


def best_as_code(study: Study) -> str:
    """The best values as a cell that sets them: ``lr = 0.00123``, a line each; empty before there is a best."""
    best = study.best
    if best is None:
        return ""
    lines = [_comment(f"{study.metric} {best.value!r} in trial {best.number} of {study.name}")]
    for name, value in best.values.items():
        if not name.isidentifier():
            # spaces have none; a record of others may
            lines.append(_comment(f"{name} was {value!r}, which is no name of a variable"))
        elif name not in study.object_names:
            lines.append(f"{name} = {value!r}")
        elif isinstance(value, str) and value.isidentifier():
            lines.append(f"{name} = {value}")  # a function or class of the notebook
        else:
            lines.append(_comment(f"{name} was {value!r}, which only the notebook that defines it can set"))
    return "\n".join(lines)


def _comment(text: str) -> str:
    """A comment of one line, whatever names of others hold: what follows a line's end would be run."""
    return "# " + "".join(each if each.isprintable() else " " for each in text)
