"""Statistics of 50 columns of doubles and a million rows, beside pandas' ``describe`` and ``corr``; time and peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Table

ROWS, COLUMNS, ROUNDS = 1_000_000, 50, 3
QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
# every contestant runs in a process of its own, so that its peak memory is its own; what it needs is imported before
_CHILD = """
import json, resource, sys, time
from benchmarks import feature_statistics
run = getattr(feature_statistics, sys.argv[1])(sys.argv[2])
began, cpu = time.perf_counter(), time.process_time()
run()
told = {"took": time.perf_counter() - began, "cpu": time.process_time() - cpu}
print(json.dumps({**told, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}))
"""
CONTESTANTS = {
    "ours, a file": "ours_of_a_file",
    "pandas, a file": "pandas_of_a_file",
    "ours, a DataFrame": "ours_of_a_frame",
    "pandas, a DataFrame": "pandas_of_a_frame",
}


def build(path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    columns = {}
    for number in range(COLUMNS):
        # every fifth column has gaps: correlation is then over the rows where both are known
        mask = rng.random(ROWS) < 0.05 if number % 5 == 0 else None
        columns[f"feature_{number}"] = pa.array(rng.normal(number, 1 + number, ROWS), mask=mask)
    pq.write_table(pa.table(columns), path, row_group_size=131_072)


def ours_of_a_file(path: str):
    from hops_magic.features.sql import literal

    return _ours(lambda connection: connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet([{literal(path)}])"))


def ours_of_a_frame(path: str):
    import pandas as pd

    frame = pd.read_parquet(path)
    return _ours(lambda connection: connection.register("rows", frame))


def _ours(prepare):
    import threadpoolctl  # noqa: F401

    from hops_magic.features.column_statistics import compute
    from hops_magic.features.engine import connect
    from hops_magic.features.model import Column

    columns = [Column(name=f"feature_{number}", type="double") for number in range(COLUMNS)]

    def run() -> None:
        with connect() as connection:
            prepare(connection)
            found = compute(connection, "rows", columns)
        assert len(found.columns) == len(found.correlation.names) == COLUMNS

    return run


def pandas_of_a_file(path: str):
    import pandas as pd

    return lambda: _pandas(pd.read_parquet(path))


def pandas_of_a_frame(path: str):
    import pandas as pd

    frame = pd.read_parquet(path)
    return lambda: _pandas(frame)


def _pandas(frame) -> None:
    frame.describe(percentiles=QUANTILES)
    frame.corr()


def measured(name: str, path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, name, str(path)], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout)


def table() -> Table:
    result = Table(
        "Statistics of a feature group",
        f"{COLUMNS} columns of doubles, {ROWS:,} rows, every fifth column with 5 % nulls. Ours: counts, distinct values, "
        "moments, seven quantiles, histograms and correlation. pandas: `describe` with the same quantiles, and `corr`. "
        "From a Parquet file, and from a DataFrame that is in memory already. Aim: faster than pandas.",
        ["", "seconds", "seconds of CPU", "peak memory, MiB"],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        build(path)
        runs: dict[str, list[dict[str, float]]] = {label: [] for label in CONTESTANTS}
        for _ in range(ROUNDS):
            for label, name in CONTESTANTS.items():
                runs[label].append(measured(name, path))
    medians = {
        label: {key: statistics.median(run[key] for run in of_one) for key in ("took", "cpu", "peak_mib")}
        for label, of_one in runs.items()
    }
    result.rows = [[label, found["took"], found["cpu"], round(found["peak_mib"])] for label, found in medians.items()]
    file, frame = (
        medians[f"pandas, a {kind}"]["took"] / medians[f"ours, a {kind}"]["took"] for kind in ("file", "DataFrame")
    )
    result.verdict = f"{file:.1f} x as fast as pandas from a file, {frame:.1f} x from a DataFrame."
    return result


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores", flush=True)
    began = time.perf_counter()
    print(table().markdown())
    print(f"{time.perf_counter() - began:.0f} s")
