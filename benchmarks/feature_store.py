"""Upserts beside the lake library's own, look-ups by key, and searching a large catalog."""

from __future__ import annotations

import datetime
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Table

ROWS, UPSERTED, FEATURES = 5_000_000, 100_000, 8
LOOKUPS = 300
GROUPS, COLUMNS = 1_000, 10


def table() -> Table:
    with tempfile.TemporaryDirectory() as folder:
        rows = [*_upserts(Path(folder)), *_search(Path(folder))]
    return Table(
        "Writing, looking up and searching features",
        f"One process. Upserts of {UPSERTED:,} rows into {ROWS:,} of {FEATURES + 1} columns, in turns on equal tables, "
        f"without statistics; {LOOKUPS} look-ups of two features by key in the group after an upsert; a catalog of "
        f"{GROUPS * COLUMNS:,} features in {GROUPS:,} groups.",
        ["what", "how", "median", "worst", "ratio"],
        rows,
    )


def _upserts(folder: Path) -> list[list[object]]:
    import pyarrow as pa
    from deltalake import DeltaTable

    from hops_magic.features.store import FeatureStore
    from hops_magic.settings import FeatureSettings

    rng = np.random.default_rng(0)
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(folder / "home")}))
    columns = {f"x{number}": rng.normal(size=ROWS) for number in range(FEATURES)}
    whole = pa.table({"id": np.arange(ROWS), **columns})
    store.save(whole, "big", key="id", statistics=False)
    plain = folder / "plain"
    shutil.copytree(store.group("big").location, plain)
    ours, theirs = [], []
    for _ in range(3):
        some = whole.take(pa.array(rng.permutation(ROWS)[:UPSERTED]))
        began = time.perf_counter()
        store.save(some, "big", statistics=False)
        ours.append(time.perf_counter() - began)
        stamp = pa.array([datetime.datetime.now(datetime.UTC)] * UPSERTED, pa.timestamp("us", tz="UTC"))
        stamped = some.append_column("_hops_committed_at", stamp)
        began = time.perf_counter()
        merger = DeltaTable(plain).merge(stamped, "t.id = s.id", source_alias="s", target_alias="t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()
        theirs.append(time.perf_counter() - began)
    looked = []
    for key in rng.integers(0, ROWS, LOOKUPS + 5).tolist():
        began = time.perf_counter()
        store.get("x1", "x3", keys={"id": [key]}, form="arrow")
        looked.append(1_000 * (time.perf_counter() - began))
    # the first ones open tables
    looked = sorted(looked[5:])
    mine, lib = statistics.median(ours), statistics.median(theirs)
    return [
        ["upsert", "`%features save`", f"{mine:.2f} s", f"{max(ours):.2f} s", f"{mine / lib:.2f} x"],
        ["", "deltalake's `merge`", f"{lib:.2f} s", f"{max(theirs):.2f} s", "1"],
        [
            "look-up by key",
            "`%features get --keys`",
            f"{statistics.median(looked):.1f} ms",
            f"{looked[int(0.99 * LOOKUPS)]:.1f} ms (p99)",
            "",
        ],
    ]


def _p99(ordered: list[float]) -> float:
    return ordered[int(0.99 * len(ordered))]


def _search(folder: Path) -> list[list[object]]:
    from seeding_at_scale import many_groups

    from hops_magic.features.store import FeatureStore
    from hops_magic.settings import FeatureSettings

    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(folder / "many")}))
    many_groups(store, GROUPS, COLUMNS)
    found = []
    for title, ask in (
        ("search for a word of descriptions", lambda: store.search("attend")),
        ("search for a name", lambda: store.search("feature_99")),
        ("list 50 groups", lambda: store.groups(limit=50)),
    ):
        times = []
        for _ in range(20):
            began = time.perf_counter()
            ask()
            times.append(1_000 * (time.perf_counter() - began))
        found.append([title, "`%features`", f"{statistics.median(times):.1f} ms", f"{max(times):.1f} ms", ""])
    return found


if __name__ == "__main__":
    print(table().markdown())
