"""What every benchmark reports: rows of a table, and the claim they test."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """One benchmark's result as it stands in the documentation."""

    title: str
    question: str
    head: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    verdict: str = ""

    def markdown(self, measured: datetime.date | None = None) -> str:
        dated = f"{self.question} Measured on {measured}." if measured else self.question
        lines = [f"## {self.title}", "", dated, "", _row(self.head), _row(["---"] * len(self.head))]
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, "", self.verdict, ""])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def interleaved(times: int, *contestants: Callable[[], float]) -> list[float]:
    """Return the median seconds of each contestant; they take turns, so that a noisy moment hits all of them."""
    seconds: list[list[float]] = [[] for _ in contestants]
    for _ in range(times):
        for contestant, values in zip(contestants, seconds, strict=True):
            values.append(contestant())
    return [statistics.median(values) for values in seconds]
