"""The thread that shows a run, or a study, at a calm pace, however often it changes."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.runs.summary import Summary

log = logging.getLogger(__name__)


Painted_contra = TypeVar("Painted_contra", contravariant=True)


class Painter(Protocol[Painted_contra]):
    """One way of showing a run or a study; never called by two threads at once."""

    def paint(self, run: Painted_contra, /) -> None:
        """Show the run as it is now."""
        ...

    def finish(self, run: Painted_contra, /) -> None:
        """Show the run for the last time, in a form that lasts."""
        ...


class View(Generic[Summary]):
    """Shows one run or study until it is closed.

    Parameters
    ----------
    painter
        What does the showing.
    run
        The run as it is at first.
    wake
        Set by the painter when it wants to paint though the run has not changed.
    pace_s
        Shortest time between two paintings.
    """

    def __init__(
        self, painter: Painter[Summary], run: Summary, *, wake: threading.Event | None = None, pace_s: float = 0.1
    ) -> None:
        self._painter: Painter[Summary] = painter
        self._pace_s = pace_s
        self._run: Summary = run
        self._changed = threading.Event() if wake is None else wake
        self._closing = threading.Event()
        self._is_broken = False
        # a kernel finds the cell that something is shown for in the context
        paint = functools.partial(contextvars.copy_context().run, self._paint_changes)
        self._thread = threading.Thread(target=paint, name=f"hops-view-{run.run_id}", daemon=True)
        self._changed.set()
        self._thread.start()

    def update(self, run: Summary) -> None:
        """Show the run as it is now, soon; returns at once, from any thread."""
        if run is not self._run:
            self._run = run
            self._changed.set()

    def close(self, run: Summary | None = None) -> None:
        """Show the run for the last time (by default as last updated); a second call does nothing."""
        if self._closing.is_set():
            return
        self._run = self._run if run is None else run
        self._closing.set()
        self._changed.set()
        self._thread.join()
        self._try(self._painter.finish)

    def __enter__(self) -> View[Summary]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _paint_changes(self) -> None:
        while True:
            # once a second even without changes: a terminal's clock goes on
            self._changed.wait(1.0)
            if self._closing.is_set():
                return
            self._changed.clear()
            self._try(self._painter.paint)
            self._closing.wait(self._pace_s)

    def _try(self, show: Callable[[Summary], None]) -> None:
        if self._is_broken:
            return
        try:
            show(self._run)
        # a view that cannot be drawn (closed stream, lost front end) must never end the run that it shows
        except Exception:
            self._is_broken = True
            log.warning("the view of run %s cannot be shown any longer; the run goes on", self._run.run_id, exc_info=True)


RunView = View[Run]
StudyView = View[Study]
