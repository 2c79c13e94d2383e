"""Saving, upserting and materialising more rows than the engine may hold: each in a process of its own, with its peak."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.table import Table

ROWS, COLUMNS, BATCH = 6_000_000, 20, 100_000
# half of what is free is what the engine takes
FREE_GIB = 1.0
_context = multiprocessing.get_context("spawn")


def table() -> Table:
    nbytes = ROWS * (COLUMNS + 1) * 8
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            [what, f"{seconds:.0f} s", f"{peak / 2**30:.2f} GiB"]
            for what, step in (("save", save), ("upsert of every second row", upsert), ("dataset", dataset))
            for seconds, peak in [measured(step, Path(folder), ROWS)]
        ]
    return Table(
        "Rows beyond memory",
        f"{ROWS:,} rows of {COLUMNS} doubles and a key, {nbytes / 2**30:.2f} GiB, from a reader; the engine is given "
        f"{FREE_GIB / 2:g} GiB. Peak resident memory of the whole process, libraries included.",
        ["what", "time", "peak"],
        rows,
    )


def measured(step: Callable[[Path, int], None], folder: Path, rows: int) -> tuple[float, int]:
    """Run a step in a process of its own; returns its seconds and the bytes that it held at most."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_run, args=(step, folder, rows, theirs))
    process.start()
    theirs.close()
    seconds, peak = ours.recv()
    process.join()
    return seconds, peak


def save(folder: Path, rows: int) -> None:
    _store(folder).save(_reader(rows, 1), "big", key="id", statistics=False)


def upsert(folder: Path, rows: int) -> None:
    _store(folder).save(_reader(rows // 2, 2), "big", statistics=False)


def dataset(folder: Path, rows: int) -> None:
    from hops_magic.features.store import request_of

    made = _store(folder).create_dataset("big", request_of("big.*"), split={"a": 0.9, "b": 0.1}, statistics=False)
    assert sum(made.rows.values()) == rows


def _run(step: Callable[[Path, int], None], folder: Path, rows: int, messages: Connection) -> None:
    import psutil

    psutil.virtual_memory = lambda: types.SimpleNamespace(available=int(FREE_GIB * 2**30))
    began = time.perf_counter()
    step(folder, rows)
    messages.send((time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024))


def _store(folder: Path) -> Any:
    from hops_magic.features.store import FeatureStore
    from hops_magic.settings import FeatureSettings

    return FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(folder / "home")}))


def _reader(rows: int, step: int) -> Any:
    """Rows that are made as they are read; keys are ``step`` apart."""
    import numpy as np
    import pyarrow as pa

    schema = pa.schema([("id", pa.int64()), *((f"x{number}", pa.float64()) for number in range(COLUMNS))])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, BATCH):
            rng = np.random.default_rng(first)
            count = min(BATCH, rows - first)
            columns = [pa.array(rng.random(count)) for _ in range(COLUMNS)]
            yield pa.RecordBatch.from_arrays([pa.array(np.arange(first, first + count) * step), *columns], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
