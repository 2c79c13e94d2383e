from __future__ import annotations

import logging
import threading
import time

import pytest

from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance
from hops_magic.runs.states import RunState
from hops_magic.widgets.view import RunView

RUN = Run(run_id="run-1")


class Recorder:
    def __init__(self) -> None:
        self.painted: list[Run] = []
        self.finished: list[Run] = []
        self.has_painted = threading.Condition()

    def paint(self, run: Run) -> None:
        with self.has_painted:
            self.painted.append(run)
            self.has_painted.notify_all()

    def finish(self, run: Run) -> None:
        self.finished.append(run)

    def wait_for(self, run: Run) -> None:
        with self.has_painted:
            assert self.has_painted.wait_for(lambda: run in self.painted, timeout=10)


def test_the_last_update_is_shown_however_many_there_were() -> None:
    painter = Recorder()
    run = RUN
    began = time.monotonic()
    with RunView(painter, run, pace_s=0.05) as view:
        for step in range(1, 2_001):
            run = advance(run, ev.Progress(rank=0, step=step))
            view.update(run)
        painter.wait_for(run)
        took = time.monotonic() - began
    assert len(painter.painted) <= took / 0.05 + 2
    assert painter.finished == [run]


def test_closing_shows_the_end_once() -> None:
    painter = Recorder()
    view = RunView(painter, RUN)
    done = advance(RUN, ev.StateChanged(state=RunState.DONE))
    view.close(done)
    view.close()
    assert painter.finished == [done]


def test_an_error_in_the_cell_closes_the_view() -> None:
    painter = Recorder()
    with pytest.raises(KeyboardInterrupt), RunView(painter, RUN):
        raise KeyboardInterrupt
    assert painter.finished == [RUN]


def test_a_view_that_cannot_be_drawn_does_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def paint(self, run: Run) -> None:
            super().paint(run)
            raise BrokenPipeError

    painter = Broken()
    with caplog.at_level(logging.WARNING), RunView(painter, RUN, pace_s=0.001) as view:
        painter.wait_for(RUN)
        for step in range(1, 50):
            view.update(advance(RUN, ev.Progress(rank=0, step=step)))
    assert painter.painted == [RUN]
    assert painter.finished == []
    assert "the run goes on" in caplog.text
