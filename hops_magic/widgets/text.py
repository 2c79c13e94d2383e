"""Views of a run in text: one moving line on a terminal, or lines that stay in a file or pipe."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from hops_magic.errors import counted
from hops_magic.runs.events import Displayed
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState
from hops_magic.widgets import words
from hops_magic.widgets.pace import Pace, Stopwatch
from hops_magic.widgets.plain import clean, one_line

_BAR_CELLS = 20
_CLEAR_LINE = "\r\x1b[K"
_COLOURS = {RunState.DONE: "32", RunState.FAILED: "31", RunState.STOPPED: "33", RunState.RESTARTING: "33"}


class News:
    """What has been said since the last look, as lines of text: output of ranks, displays, warnings, restarts."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._rest: dict[tuple[int, str], str] = {}
        self._warnings = self._restarts = 0
        self._displays: tuple[Displayed, ...] = ()

    def lines(self, run: Run, *, is_last: bool = False) -> Iterator[str]:
        """Yield the new lines; incomplete ones wait for their end, or for ``is_last``."""
        for rank in sorted(run.ranks):
            yield from self._output(run, rank)
        if is_last:
            yield from self._rests()
        for shown in run.displays:
            # by identity: the same thing may be displayed twice, and earlier ones may be updated or taken back
            if shown.rank == 0 and shown.data and not any(shown is known for known in self._displays):
                text = str(shown.data.get("text/plain", f"<{', '.join(shown.data)}>"))
                yield from (f"[{shown.rank}] {line}" for line in clean(text).split("\n"))
        self._displays = run.displays
        for reason in run.restarts[self._restarts :]:
            yield f"restarted: {one_line(reason)}"
        for message in run.warnings[self._warnings :]:
            yield f"warning: {one_line(message, 1_000)}"
        self._restarts, self._warnings = len(run.restarts), len(run.warnings)

    def _output(self, run: Run, rank: int) -> Iterator[str]:
        view = run.ranks[rank]
        fresh = view.output_chars - self._seen.get(rank, 0)
        if fresh <= 0:
            return
        self._seen[rank] = view.output_chars
        kept = sum(len(text) for _, text in view.output)
        if fresh > kept:
            yield f"[{rank}] … earlier output is in the run's record"
        skip = max(0, kept - fresh)
        for stream, text in view.output:
            new, skip = text[skip:], max(0, skip - len(text))
            *whole, rest = (self._rest.pop((rank, stream), "") + new).split("\n")
            # of a line that a progress bar rewrites for minutes only the newest state is worth keeping
            self._rest[rank, stream] = rest[rest.rfind("\r", 0, -1) + 1 :] if "\r" in rest else rest
            yield from (f"[{rank}] {clean(line)}" for line in whole)

    def _rests(self) -> Iterator[str]:
        for (rank, _), rest in self._rest.items():
            if text := clean(rest):
                yield f"[{rank}] {text}"
        self._rest.clear()


class TerminalPainter:
    """A line with a progress bar that rewrites itself; output of ranks scrolls above it.

    Parameters
    ----------
    stream
        The terminal.
    clock
        Seconds since the epoch.
    columns
        Width of the terminal, asked anew for each line.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.time,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._stream, self._clock, self._columns = stream, clock, columns
        self._news = News()
        self._pace, self._watch = Pace(), Stopwatch()
        self._is_coloured = "NO_COLOR" not in os.environ

    def paint(self, run: Run) -> None:
        """Rewrite the line."""
        self._show(run, ending="", is_last=False)

    def finish(self, run: Run) -> None:
        """Leave the last state, and what went wrong, on the terminal."""
        self._show(run, ending="\n", is_last=True)

    def _show(self, run: Run, *, ending: str, is_last: bool) -> None:
        above = "".join(f"{line}\n" for line in self._news.lines(run, is_last=is_last))
        if is_last:
            above += "".join(f"{line}\n" for line in epilogue(run))
        self._stream.write(f"{_CLEAR_LINE}{above}{self._line(run)}{ending}")
        self._stream.flush()

    def _line(self, run: Run) -> str:
        now = self._clock()
        fraction = 1.0 if run.state is RunState.DONE else run.fraction_done()
        head = f"{one_line(words.title(run), 30)} {run.state.value}"
        full = round((fraction or 0.0) * _BAR_CELLS)
        bar = "" if fraction is None else "━" * full + "─" * (_BAR_CELLS - full)
        remaining = self._pace.remaining_of(run, now)
        elapsed = None if run.started_at is None else self._watch.elapsed_s(run.started_at, run.ended_at, now)
        parts = [head, bar, *_details(run, elapsed, remaining)]
        width = max(20, self._columns() - 1)
        line = ""
        for part in filter(None, parts):
            longer = f"{line}  {part}" if line else part
            if len(longer) > width:
                break
            line = longer
        if len(head) > width or not self._is_coloured:
            return line or head[:width]
        colour = _COLOURS.get(run.state, "36")
        name = head.removesuffix(run.state.value)
        return f"{name}\x1b[{colour}m{run.state.value}\x1b[0m{line[len(head) :]}"


class LinePainter:
    """Lines that stay: changes of state, one line per epoch, output of ranks."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.time) -> None:
        self._stream, self._clock = stream, clock
        self._news = News()
        self._state = ""
        self._epochs: dict[int, tuple[int, int]] = {}
        self._watch = Stopwatch()

    def paint(self, run: Run) -> None:
        """Write what is new."""
        self._write(self._lines(run, is_last=False))

    def finish(self, run: Run) -> None:
        """Write what is new, how the run ended, and what went wrong."""
        self._write([*self._lines(run, is_last=True), *epilogue(run)])

    def _lines(self, run: Run, *, is_last: bool) -> list[str]:
        lines = list(self._news.lines(run, is_last=is_last))
        # an epoch's values may come in two events: its line waits for the next epoch, or for the end
        lines += self._epoch_lines(run, is_last=is_last)
        state = words.queue(run) or run.state.value
        if state != self._state:
            self._state = state
            lines.append(self._state_line(run, state))
        return lines

    def _state_line(self, run: Run, state: str) -> str:
        line = f"{one_line(words.title(run), 60)}: {state}"
        if run.state is RunState.RUNNING:
            line += f" on {counted(run.world_size, 'rank')}"
        if run.state.is_final and run.elapsed_s is not None:
            line += f" after {run.elapsed_s:.1f} s"
        reason = words.reason(run)
        return f"{line} ({reason})" if reason else line

    def _epoch_lines(self, run: Run, *, is_last: bool) -> Iterator[str]:
        table = words.epoch_table(run)
        newest_series = max(table, default=0)
        for series, epochs in sorted(table.items()):
            printed, last_newest = self._epochs.get(series, (0, 0))
            newest = max(epochs)
            if newest < last_newest:
                # a restart went back: what it repeats is told again
                printed = newest - 1
            for epoch in sorted(epochs):
                is_current = series == newest_series
                # the ranks' progress is that of the newest fit: an older one is over
                if epoch <= printed or (epoch == newest and is_current and not (is_last or self._is_past(run, epoch))):
                    continue
                fit = f"fit {series} " if len(table) > 1 else ""
                speed = words.epoch_speed(run, series, epoch)
                yield fit + self._epoch_line(run, epoch, epochs[epoch], speed, is_current=is_current)
                printed = epoch
            self._epochs[series] = (printed, newest)

    def _is_past(self, run: Run, epoch: int) -> bool:
        view = run.ranks.get(0)
        return view is not None and view.epoch >= epoch and (view.step > 0 or run.state.is_final)

    def _epoch_line(self, run: Run, epoch: int, values: dict[str, float], speed: float | None, *, is_current: bool) -> str:
        view = run.ranks.get(0)
        total = f"/{view.epochs}" if is_current and view is not None and view.epochs else ""
        parts = [f"epoch {epoch}{total}", *(f"{name} {words.figure(value)}" for name, value in values.items())]
        parts += [f"{speed:,.0f} examples/s"] if speed is not None else []
        if run.started_at is not None:
            parts.append(words.duration(self._watch.elapsed_s(run.started_at, None, self._clock())))
        return "  ".join(parts)

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()


def epilogue(run: Run) -> list[str]:
    """What a text view says after the end: the errors' headlines, for the traceback comes with the exception."""
    return [f"{group.ranks}: {one_line(group.headline, 400)}" for group in words.errors(run)]


def _details(run: Run, elapsed_s: float | None, remaining_s: float | None) -> Iterator[str]:
    """The parts of a status line, the most telling first: what does not fit is left out."""
    if waiting := words.queue(run):
        yield waiting
        return
    if not run.state.is_waiting:
        yield words.waiting(run)
    if run.state.is_final and (reason := words.reason(run)):
        yield reason
    if not run.state.is_final:
        yield words.progress(run)
    if elapsed_s is not None:
        elapsed = words.duration(elapsed_s)
        yield elapsed if remaining_s is None else f"{elapsed}, {words.duration(remaining_s)} left"
    yield from (f"{one_line(name, 30)} {words.figure(value)}" for name, value in list(words.latest_metrics(run).items())[:6])
    speed = words.throughput(run)
    if speed is not None:
        yield f"{speed:,.0f} examples/s"
    yield counted(run.world_size, "rank")
