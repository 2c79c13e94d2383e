"""Writes, deletes and reads of a group of many columns, beside an append and beside the lake library's own merge."""

from __future__ import annotations

import datetime
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from hops_magic.features.store import FeatureStore

ROWS, COLUMNS = 50, 1_000
STORED = (50, 10_000)
DELETED = 10
TURNS = 5


def table() -> Table:
    sizes = " and ".join(f"{stored:,}" for stored in STORED)
    rows = []
    for stored in STORED:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measured(Path(folder), stored)
    return Table(
        "Feature groups of many columns",
        f"{COLUMNS:,} columns of doubles. Writes of {ROWS} rows, deletes of {DELETED} and a read of all columns of the "
        f"first {ROWS}, in turns, without statistics, on groups of {sizes} rows at the beginning; medians of {TURNS} turns, "
        "ratios to the append. Aim: an upsert at most 2 x an append where the group has as few rows as are written.",
        ["rows", "what", "how", "median", "worst", "ratio"],
        rows,
    )


def _measured(folder: Path, stored: int) -> list[list[object]]:
    from hops_magic.features.store import FeatureStore
    from hops_magic.settings import FeatureSettings

    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(folder / "home")}))
    store.save(_rows(0, stored), "wide", key="id", statistics=False)
    plain = folder / "plain"
    shutil.copytree(store.group("wide").location, plain)
    times: dict[str, list[float]] = {}
    for turn in range(TURNS):
        for what, act in _acts(store, plain, stored, turn).items():
            began = time.perf_counter()
            act()
            times.setdefault(what, []).append(time.perf_counter() - began)
    appended = statistics.median(times["append"])
    names = {
        "append": "`%features save --mode append`",
        "upsert": "`%features save`",
        "upsert by a merge": "deltalake's `merge`",
        "delete": "`%features delete-rows`",
        "delete by a merge": "deltalake's `merge`",
        "read": "`%features get wide.*`",
    }
    return [
        [
            f"{stored:,}" if what == "append" else "",
            what.split()[0],
            names[what],
            *(f"{seconds:.2f} s" for seconds in (statistics.median(each), max(each))),
            f"{statistics.median(each) / appended:.2f} x",
        ]
        for what, each in times.items()
    ]


def _acts(store: FeatureStore, plain: Path, stored: int, turn: int) -> dict[str, Callable[[], object]]:
    """Return what is done in a turn, in this order; the last rows of the group are new in each."""
    from deltalake import DeltaTable

    new = stored + turn * ROWS
    stamp = datetime.datetime.now(datetime.UTC)
    changed = _rows(0, ROWS, turn)
    gone = list(range(new, new + DELETED))

    def merge() -> None:
        stamped = changed.append_column("_hops_committed_at", _stamps(stamp, ROWS))
        merger = DeltaTable(plain).merge(stamped, "t.id = s.id", source_alias="s", target_alias="t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    def merge_away() -> None:
        keys = changed.select(["id"]).slice(0, DELETED)
        DeltaTable(plain).merge(keys, "t.id = s.id", source_alias="s", target_alias="t").when_matched_delete().execute()

    return {
        "append": lambda: store.save(_rows(new, ROWS), "wide", mode="append", statistics=False),
        "upsert": lambda: store.save(changed, "wide", statistics=False),
        "upsert by a merge": merge,
        "delete": lambda: store.delete_rows("wide", keys={"id": gone}, statistics=False),
        "delete by a merge": merge_away,
        "read": lambda: store.get("wide.*", keys={"id": list(range(ROWS))}, form="arrow"),
    }


def _rows(first: int, count: int, seed: int = 0) -> pa.Table:
    import pyarrow as pa

    rng = np.random.default_rng((first, seed))
    features = {f"x{number}": rng.normal(size=count) for number in range(COLUMNS)}
    return pa.table({"id": np.arange(first, first + count), **features})


def _stamps(stamp: datetime.datetime, count: int) -> pa.Array:
    import pyarrow as pa

    return pa.array([stamp] * count, pa.timestamp("us", tz="UTC"))
