from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hops_magic.errors import OptionError
from hops_magic.runs import events as ev
from hops_magic.runs.run import MAX_OUTPUT_CHARS, Run, advance, advance_all
from hops_magic.runs.states import RunState
from hops_magic.widgets import Environment, detect, open_view
from hops_magic.widgets.text import LinePainter, TerminalPainter

RUN = Run(run_id="run-1", name="digits", world_size=2)
STARTED = ev.StateChanged(at=100.0, state=RunState.RUNNING)


def lines_of(*batches: list[ev.Event]) -> list[str]:
    stream, run = io.StringIO(), RUN
    painter = LinePainter(stream, clock=lambda: 112.0)
    for batch in batches:
        run = advance_all(run, batch)
        painter.paint(run)
    painter.finish(run)
    return stream.getvalue().splitlines()


def epoch(number: int, *, epochs: int = 3, **values: float) -> list[ev.Event]:
    return [
        ev.Metrics(rank=0, step=number, scope="epoch", values=values),
        ev.Progress(rank=0, epoch=number, epochs=epochs, step=0, examples_per_s=2000.0),
    ]


def test_a_file_gets_a_line_for_each_state_and_epoch() -> None:
    assert lines_of(
        [ev.Queued(position=1, needed=2, free=1)],
        [STARTED],
        epoch(1, loss=0.5),
        [
            ev.Metrics(rank=0, step=1, scope="epoch", values={"val_loss": 0.6}),
            ev.Progress(rank=0, epoch=1, epochs=3, step=4),
        ],
        epoch(2, loss=0.25, val_loss=0.3),
        [ev.StateChanged(at=112.5, state=RunState.DONE)],
    ) == [
        "digits: waiting for 2 slots, 1 free, next in the queue",
        "digits: running on 2 ranks",
        "epoch 1/3  loss 0.5  val_loss 0.6  2,000 examples/s  0:12",
        "epoch 2/3  loss 0.25  val_loss 0.3  2,000 examples/s  0:12",
        "digits: done after 12.5 s",
    ]


def test_output_comes_by_whole_lines_with_its_rank() -> None:
    lines = lines_of(
        [STARTED, ev.Output(rank=0, stream="stdout", text="one\ntw")],
        [
            ev.Output(rank=1, stream="stderr", text="\x1b[31mbad\x1b[0m\n"),
            ev.Output(rank=0, stream="stdout", text="o\nlast"),
        ],
    )
    assert lines == ["[0] one", "digits: running on 2 ranks", "[0] two", "[1] bad", "[0] last"]


def test_a_progress_bar_of_a_rank_is_one_line() -> None:
    lines = lines_of(*([ev.Output(rank=0, stream="stdout", text=f"\r{step}/3 steps")] for step in (1, 2, 3)))
    assert lines == ["digits: submitted", "[0] 3/3 steps"]


def test_dropped_output_is_admitted() -> None:
    lines = lines_of([ev.Output(rank=0, stream="stdout", text="x\n" * MAX_OUTPUT_CHARS)])
    assert lines[0] == "[0] … earlier output is in the run's record"


def test_displays_warnings_restarts_and_errors_are_told_once() -> None:
    lines = lines_of(
        [
            ev.Displayed(rank=0, data={"text/plain": "a frame\nof two lines"}),
            ev.Displayed(rank=0, data={"text/plain": "a frame\nof two lines"}),
            ev.Warned(message="slow disk"),
            ev.Restarted(attempt=1, reason="rank 1 was killed by SIGKILL"),
        ],
        [ev.RankError(rank=rank, name="ValueError", message="bad", traceback="...") for rank in (0, 1)],
    )
    assert lines == [
        *["[0] a frame", "[0] of two lines"] * 2,
        "restarted: rank 1 was killed by SIGKILL",
        "warning: slow disk",
        "digits: submitted",
        "ranks 0-1: ValueError: bad",
    ]


def test_epochs_that_a_restart_repeats_are_told_again() -> None:
    assert [line[:9] for line in lines_of(epoch(1, loss=1), epoch(2, loss=1), epoch(3, loss=1), epoch(2, loss=1))][1:] == [
        "epoch 1/3",
        "epoch 2/3",
        "epoch 2/3",
    ]


def test_epochs_of_several_fits_are_told_apart() -> None:
    def second(number: int) -> list[ev.Event]:
        return [
            ev.Metrics(rank=0, step=number, scope="epoch", series=2, values={"loss": 0.25}),
            ev.Progress(rank=0, epoch=number, epochs=5, step=0, examples_per_s=2000.0, series=2),
        ]

    lines = lines_of(epoch(1, loss=1), epoch(2, loss=0.5), epoch(3, loss=0.5), second(1), second(2))
    assert lines[1:] == [
        "epoch 1/3  loss 1  2,000 examples/s",
        "epoch 2/3  loss 0.5  2,000 examples/s",
        "fit 1 epoch 3  loss 0.5  2,000 examples/s",
        "fit 2 epoch 1/5  loss 0.25  2,000 examples/s",
        "fit 2 epoch 2/5  loss 0.25  2,000 examples/s",
    ]


def test_why_a_run_failed_is_said_once_whoever_watches() -> None:
    raised = ev.RankError(rank=1, name="ValueError", message="bad\n", traceback="...")
    failed = ev.StateChanged(at=112.5, state=RunState.FAILED, reason="ValueError: bad  [rank 1]")
    assert lines_of([STARTED, raised, failed]) == ["digits: failed after 12.5 s", "rank 1: ValueError: bad"]
    lost = ev.StateChanged(at=112.5, state=RunState.FAILED, reason="worker w1 was lost")
    assert lines_of([STARTED, lost])[-1] == "digits: failed after 12.5 s (worker w1 was lost)"


def terminal(run: Run, columns: int = 100) -> str:
    stream = io.StringIO()
    painter = TerminalPainter(stream, clock=lambda: 112.0, columns=lambda: columns)
    painter.paint(run)
    return stream.getvalue()


def test_a_terminal_gets_one_line_that_fits(monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = advance_all(
        RUN,
        [
            STARTED,
            *epoch(1, loss=0.5, accuracy=0.75),
            ev.Progress(rank=0, epoch=1, epochs=2, step=5, steps=10, examples_per_s=1000.0),
        ],
    )
    shown = terminal(run, 200)
    bar = "━" * 15 + "─" * 5
    assert shown == (
        f"\r\x1b[Kdigits running  {bar}  epoch 2/2, step 5/10  0:12  loss 0.5  accuracy 0.75  1,000 examples/s  2 ranks"
    )
    for columns in (20, 40, 60, 80):
        assert len(terminal(run, columns)) - len("\r\x1b[K") < columns
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[36mrunning\x1b[0m" in terminal(run)


def test_output_scrolls_above_the_line(monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = terminal(advance(RUN, ev.Output(rank=0, stream="stdout", text="hello\n")))
    assert shown == "\r\x1b[K[0] hello\ndigits submitted  2 ranks"


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b[2J" not in terminal(Run(run_id="r", name="\x1b[2J\u202e\r\nevil" * 1000))


def test_the_environment_is_found_and_the_view_follows_it() -> None:
    class Kernel:
        kernel = object()

    stream = io.StringIO()
    assert detect(shell=Kernel(), environ={}) is Environment.NOTEBOOK
    assert detect(shell=Kernel(), environ={"SERVER_SOFTWARE": "voila/0.5.8"}) is Environment.VOILA
    assert detect(shell=object(), environ={}, stream=stream) is Environment.STREAM
    assert detect(shell=object(), environ={"HOPS_VIEW": "notebook"}) is Environment.NOTEBOOK
    with pytest.raises(OptionError, match=r"HOPS_VIEW must be one of notebook, .*stream, got browser"):
        detect(environ={"HOPS_VIEW": "browser"})
    with open_view(RUN, on_stop=lambda: None, environment=Environment.STREAM, stream=stream) as view:
        view.update(advance(RUN, STARTED))
    assert stream.getvalue().endswith("digits: running on 2 ranks\n")


def test_a_console_that_knows_no_updates_gets_lines(tmp_path: Path) -> None:
    class Kernel:
        kernel = object()

    script = tmp_path / "jupyter-console"
    script.write_text("input()")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE) as console:
        started_by = {"JPY_PARENT_PID": str(console.pid)}
        assert detect(shell=Kernel(), environ=started_by) is Environment.STREAM
        console.communicate(b"\n")
    # nobody knows who it was
    assert detect(shell=Kernel(), environ=started_by) is Environment.NOTEBOOK
    for parent in (str(os.getpid()), "1", "", "none"):
        assert detect(shell=Kernel(), environ={"JPY_PARENT_PID": parent}) is Environment.NOTEBOOK
