"""How long slots stand idle while a study has work, and what the kernel pays for watching it."""

from __future__ import annotations

import contextlib
import io
import random
import time
from collections.abc import Mapping
from typing import Any

import hops_magic as hops
from benchmarks.table import Table
from hops_magic.session import session
from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.searches import make_search
from hops_magic.tuning.space import Space

SLOTS, FINISHED, MEASURED, SHORT = 2, 500, 40, 1_000
SPACE = {**{f"x{i}": hops.uniform(0, 1) for i in range(6)}, "pause": hops.uniform(0, 5)}
CELL = "import time\ntime.sleep(pause)\nsum((x - 0.3) ** 2 for x in (x0, x1, x2, x3, x4, x5))"


class PausesLater:
    """TPE, whose first trials end at once, so that it has a history when those of 0.5 to 5 s begin."""

    def __init__(self) -> None:
        self._inner = make_search("tpe", Space.of(SPACE), seed=0, stopping="none")
        self._random = random.Random(0)

    def ask(self, number: int) -> Point | None:
        point = dict(self._inner.ask(number) or {})
        return {**point, "pause": 0.0 if number < FINISHED else self._random.uniform(0.5, 5.0)}

    def tell(self, number: int, point: Mapping[str, Any], outcome: Outcome) -> None:
        self._inner.tell(number, point, outcome)


def idle_percent() -> float:
    """Return the share of slot time in which no trial's own code ran, while trials were left to begin."""
    study = hops.tune(
        CELL,
        SPACE,
        minimize="loss",
        search=PausesLater(),
        stop="none",
        parallel=SLOTS,
        trials=FINISHED + MEASURED,
        show=False,
        namespace={},
    )
    trials = [trial for number, trial in study.summary.trials.items() if number >= FINISHED]
    began, last = min(t.started_at for t in trials), max(t.started_at for t in trials)
    busy = sum(min(t.values["pause"], max(0.0, last - t.started_at)) for t in trials)
    return 100 * (1 - busy / (SLOTS * (last - began)))


def kernel_percent() -> float:
    """Return the kernel's CPU, in percent of a core, while a study of many short trials is shown as text."""
    cpu, began = time.process_time(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        hops.tune("x ** 2", {"x": hops.uniform(0, 1)}, minimize="loss", trials=SHORT, parallel=SLOTS, namespace={})
    return 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


def table() -> Table:
    cluster = session().clusters.current()
    cluster.scale(max(SLOTS, len(cluster.status().workers)))
    idle, kernel = idle_percent(), kernel_percent()
    result = Table(
        "Studies under load",
        f"{SLOTS} slots. Idle: TPE with {FINISHED} finished trials behind it, {MEASURED} trials of 0.5 to 5 s, the time "
        f"between them that is not the cell's own. Kernel: {SHORT:,} trials that end at once. Aims: idle under 2 %, kernel "
        "under 10 % of a core.",
        ["", "percent"],
        [["slots idle while work remains", idle], ["kernel CPU", kernel]],
    )
    result.verdict = f"Slots were idle for {idle:.1f} % of the time; the kernel used {kernel:.1f} % of a core."
    return result


if __name__ == "__main__":
    print(table().markdown())
