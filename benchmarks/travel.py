"""What it costs to pickle a notebook's values as one graph, beside plain cloudpickle of the same values in the same run."""

from __future__ import annotations

import gc
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np

from benchmarks.table import Table
from hops_magic.cells.numbered import Numbered
from hops_magic.cells.travel import dumps, loads

AIM = 1.2


class Part:
    """A small object of a user's own."""

    def __init__(self, number: int) -> None:
        self.number, self.items = number, [number]


def values() -> dict[str, Any]:
    import pandas as pd

    return {
        "100,000 small dictionaries": [{"a": number, "b": str(number)} for number in range(100_000)],
        "100,000 objects of a class": [Part(number) for number in range(100_000)],
        "a dictionary of 1,000,000 numbers": {number: number for number in range(1_000_000)},
        "a list of 10,000 small arrays": [np.zeros(10) for _ in range(10_000)],
        "a table of 50 columns": pd.DataFrame({f"c{n}": np.arange(20_000) * (1.0 if n % 2 else 1) for n in range(50)}),
    }


def plain(value: Any) -> tuple[bytes, list[Any]]:
    file, aside = io.BytesIO(), list[Any]()
    cloudpickle.Pickler(file, protocol=5, buffer_callback=aside.append).dump(value)
    return file.getvalue(), aside


def seconds(work: Callable[[], object]) -> float:
    """CPU time, since a busy machine stretches the other one; the garbage of earlier work is gone."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Medians of both, and of the ratios of neighbours."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(times)]
    return (
        statistics.median(mine for mine, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(mine / other for mine, other in pairs),
    )


def table(times: int = 7) -> Table:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    rows: list[list[Any]] = []
    for name, value in values().items():
        mine, other, packing = ratio(lambda value=value: dumps(value, namespace), lambda value=value: plain(value), times)  # type: ignore[misc]
        pickled, (stream, aside) = dumps(value, namespace), plain(value)
        *_, unpacking = ratio(
            lambda: loads(pickled.stream, namespace, pickled.buffers, numbered=Numbered()),  # noqa: B023 (called at once)
            lambda: cloudpickle.loads(stream, buffers=aside),  # noqa: B023
            times,
        )
        rows.append([name, 1_000 * mine, 1_000 * other, packing, unpacking])
    result = Table(
        "What travels",
        "Values of a notebook, pickled as one graph of objects, and by plain cloudpickle. "
        f"CPU time of one process, in turns. Aim: at most {AIM} times plain cloudpickle.",
        ["value", "pickled, ms", "by cloudpickle, ms", "ratio", "unpickled, ratio"],
        rows,
    )
    worst = max(rows, key=lambda row: row[3])
    result.verdict = f"{'Reached' if worst[3] <= AIM else 'Missed'}: at most {worst[3]:.2f} times, for {worst[0]}."
    return result


if __name__ == "__main__":
    print(table().markdown())
