"""Views of a study in text: one moving line on a terminal, or a line for each new best in a file or pipe."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study
from hops_magic.tuning.ablation import effects_of, words_of
from hops_magic.widgets import study_words, words
from hops_magic.widgets.pace import Stopwatch
from hops_magic.widgets.plain import one_line

_CLEAR_LINE = "\r\x1b[K"
_EVERY_S = 10.0


class StudyNews:
    """What has happened since the last look, as lines."""

    def __init__(self) -> None:
        self._best = -1
        self._warnings = self._restarts = 0

    def lines(self, study: Study) -> Iterator[str]:
        """Yield a line for each new best, warning and restart."""
        trial = None if study.is_ablation else study.best
        if trial is not None and trial.number != self._best:
            self._best = trial.number
            yield f"{study_words.best(study)}: {study_words.values(trial.values)}"
        for message in study.warnings[self._warnings :]:
            yield f"warning: {one_line(message, 1_000)}"
        for reason in study.restarts[self._restarts :]:
            yield f"restarted: {one_line(reason)}"
        self._warnings, self._restarts = len(study.warnings), len(study.restarts)


class StudyTerminalPainter:
    """A line that rewrites itself; each new best scrolls above it."""

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.time,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._stream, self._clock, self._columns = stream, clock, columns
        self._news, self._watch = StudyNews(), Stopwatch()

    def paint(self, study: Study) -> None:
        """Rewrite the line."""
        self._show(study, "")

    def finish(self, study: Study) -> None:
        """Leave the last state on the terminal."""
        self._show(study, "\n")

    def _show(self, study: Study, ending: str) -> None:
        above = "".join(f"{line}\n" for line in self._news.lines(study))
        line = status_line(study, self._clock(), self._watch)[: max(20, self._columns() - 1)]
        self._stream.write(f"{_CLEAR_LINE}{above}{line}{ending}")
        self._stream.flush()


class StudyLinePainter:
    """Lines that stay: changes of state, each new best, and how far the study is, now and then."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.time) -> None:
        self._stream, self._clock = stream, clock
        self._news, self._watch = StudyNews(), Stopwatch()
        self._state = ""
        self._told_at = 0.0

    def paint(self, study: Study) -> None:
        """Write what is new."""
        self._write(self._lines(study))

    def finish(self, study: Study) -> None:
        """Write what is new, and what the study came to."""
        self._write([*self._lines(study), study_text(study)])

    def _lines(self, study: Study) -> list[str]:
        lines = []
        now = self._clock()
        state = study_words.queue(study) or study.state.value
        if state != self._state and not study.state.is_final:
            self._state, self._told_at = state, now
            lines.append(f"{one_line(study_words.title(study), 60)}: {state}")
        lines += self._news.lines(study)
        if study.state is RunState.RUNNING and now - self._told_at > _EVERY_S:
            self._told_at = now
            lines.append(status_line(study, now, self._watch))
        return lines

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()


def status_line(study: Study, now: float, watch: Stopwatch | None = None) -> str:
    """The study in one line, the most telling first."""
    parts = [f"{one_line(study_words.title(study), 30)} {study_words.queue(study) or study.state.value}"]
    if study.trials:
        parts += [study_words.counts(study), study_words.best(study)]
    if study.started_at is not None:
        elapsed = words.duration((watch or Stopwatch()).elapsed_s(study.started_at, study.ended_at, now))
        left = study_words.remaining_s(study, now)
        parts.append(elapsed if left is None else f"{elapsed}, {words.duration(left)} left")
    return "  ".join(filter(None, parts))


def study_text(study: Study) -> str:
    """The study in a few lines of text."""
    head = f"{one_line(study_words.title(study))}: {study.state.value}"
    head += f" ({one_line(study.reason, 300)})" if study.reason else ""
    lines = [f"{head}  {study_words.counts(study)}"]
    if study.elapsed_s is not None:
        lines[0] += f"  {words.duration(study.elapsed_s)}"
    if study.is_ablation:
        lines += [f"  {one_line(effect.component, 40):24} {one_line(words_of(effect), 200)}" for effect in effects_of(study)]
    elif study.best is not None:
        lines.append(f"{study_words.best(study)}: {study_words.values(study.best.values)}")
    lines += [
        f"{study_words.trials(numbers)} failed: {one_line(reason, 300)}"
        for reason, numbers in list(study_words.failures(study).items())[:3]
    ]
    return "\n".join(lines)
