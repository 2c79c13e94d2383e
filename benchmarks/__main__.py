"""Run every benchmark and write ``docs/benchmarks.md``: ``python -m benchmarks``."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from benchmarks import (
    collectives,
    events,
    feature_joins,
    feature_statistics,
    feature_store,
    first_step,
    imports,
    search_quality,
    stopping_simulation,
    study_load,
    throughput,
    time_to_target,
    trials,
)

MODULES = (
    imports,
    first_step,
    throughput,
    collectives,
    events,
    trials,
    study_load,
    search_quality,
    stopping_simulation,
    time_to_target,
    feature_joins,
    feature_store,
    feature_statistics,
)
HEAD = """# Benchmarks

Made by `make bench` (`python -m benchmarks`) on {date}: {cores} cores, {machine}, Python {python}.
Each table compares with a named rival that took turns with it in the same run. The machine is small and shared: trust
ratios, not seconds.

"""


def main() -> None:
    parts = []
    for module in MODULES:
        print(f"{module.__name__} ...", flush=True)
        parts.append(module.table().markdown())
        print(parts[-1], flush=True)
    head = HEAD.format(
        date=datetime.datetime.now(datetime.UTC).date(),
        cores=len(os.sched_getaffinity(0)),
        machine=platform.machine(),
        python=platform.python_version(),
    )
    Path("docs/benchmarks.md").write_text(head + "\n".join(parts))


if __name__ == "__main__":
    main()
