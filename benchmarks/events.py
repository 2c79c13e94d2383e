"""A thousand metric events a second from four ranks: what the kernel pays, and whether the record has them all."""

from __future__ import annotations

import time

import hops_magic as hops
from benchmarks.table import Table
from hops_magic.session import session

SECONDS, RANKS, RATE = 20, 4, 1_000

CELL = f"""
import time
import hops_magic as hops
began = time.perf_counter()
for step in range(1, {SECONDS * RATE // RANKS} + 1):
    hops.report(step=step, value=step * 0.5)
    ahead = began + step * {RANKS / RATE} - time.perf_counter()
    if ahead > 0:
        time.sleep(ahead)
"""


def table() -> Table:
    cluster = session().clusters.current()
    cluster.scale(max(RANKS, len(cluster.status().workers)))
    hops.train("1", workers=RANKS, framework="none", show=False, namespace={})
    cpu, began = time.process_time(), time.perf_counter()
    trained = hops.train(CELL, workers=RANKS, framework="none", show=False, namespace={}, name="events")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    run = trained.run
    metrics = hops.experiments.metrics(run.run_id)
    recorded = sum(len(points) for name, points in metrics.items() if name.startswith("value"))
    result = Table(
        "Events",
        f"{RANKS} ranks say {RATE:,} metric events a second for {SECONDS} s. Aims: kernel CPU under 10 %, nothing lost.",
        ["said", "recorded", "kernel CPU (% of one core)"],
        [[SECONDS * RATE, recorded, 100 * cpu / wall]],
    )
    result.verdict = f"The kernel used {100 * cpu / wall:.1f} % of a core; {SECONDS * RATE - recorded} events were lost."
    return result


if __name__ == "__main__":
    print(table().markdown())
