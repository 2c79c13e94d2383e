"""Run benchmarks and write ``docs/benchmarks.md``: ``python -m benchmarks`` all, ``python -m benchmarks sidebar`` one.

Sections of benchmarks that are not run stay as they are.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from pathlib import Path

from benchmarks import (
    collectives,
    events,
    examples_per_second,
    failing_regions,
    feature_drift,
    feature_joins,
    feature_statistics,
    feature_store,
    feature_wide,
    first_step,
    first_step_check,
    imports,
    input_sharing,
    larger_than_memory,
    restarts,
    search_quality,
    sidebar,
    stopping_simulation,
    study_load,
    throughput,
    time_to_target,
    travel,
    trials,
)
from benchmarks.document import with_sections

MODULES = (
    imports,
    travel,
    first_step,
    throughput,
    examples_per_second,
    input_sharing,
    first_step_check,
    collectives,
    events,
    trials,
    study_load,
    search_quality,
    failing_regions,
    stopping_simulation,
    time_to_target,
    feature_joins,
    feature_store,
    feature_wide,
    feature_statistics,
    feature_drift,
    larger_than_memory,
    sidebar,
    restarts,
)
DOCUMENT = Path("docs/benchmarks.md")
HEAD = """# Benchmarks

Made by `make bench` (one alone by `python -m benchmarks NAME`): {cores} cores, {machine}, Python {python}. Each table
compares with a named rival that took turns with it in the same run. The machine is small and shared: trust ratios, not
seconds.
"""


def main() -> None:
    names = {module.__name__.removeprefix("benchmarks."): module for module in MODULES}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write docs/benchmarks.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    chosen = parser.parse_args().names or list(names)
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"there is no benchmark {', '.join(unknown)}, but {', '.join(names)}")
    head = HEAD.format(cores=len(os.sched_getaffinity(0)), machine=platform.machine(), python=platform.python_version())
    measured = []
    for name in chosen:
        print(f"{name} ...", flush=True)
        section = names[name].table().markdown(datetime.datetime.now(datetime.UTC).date())
        print(section, flush=True)
        # at once: what was measured is kept if a later one fails
        DOCUMENT.write_text(with_sections(DOCUMENT.read_text(), head, [section]))
        measured.append(section)
    if len(chosen) == len(names):
        # sections that no benchmark makes any more
        DOCUMENT.write_text(with_sections("", head, measured))


if __name__ == "__main__":
    main()
