"""Joining features: point-in-time and by key, beside SQL written by hand for the same engine; time and peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.table import Table

# every contestant runs in a process of its own, so that its peak memory is its own
_CHILD = """
import json, sys, time
import deltalake, duckdb, pandas, pyarrow.dataset, pyarrow.parquet, hops_magic.features.store
from benchmarks import feature_joins
before, began = feature_joins.read_mb(), time.perf_counter()
rows = getattr(feature_joins, sys.argv[1])()
took, read = time.perf_counter() - began, feature_joins.read_mb() - before
print(json.dumps({"took": took, "rows": rows, "peak_gib": feature_joins.peak_gib(), "read_mb": read}))
"""
LABELS, ROWS, KEYS = 1_000_000, 5_000_000, 200_000
JOINED, JOINED_FEATURES = 1_000_000, 20
WIDEST_FEATURES = 50
VIEWS, VIEW_FEATURES, VIEW_LABELS = 10, 100, 17_000
# sizes that all of Feast's stores finish on a small machine
FEAST_VIEWS, FEAST_FEATURES, FEAST_LABELS, FEAST_ROWS, FEAST_KEYS = 3, 3, 100_000, 500_000, 20_000
FEAST_PYTHON = Path(__file__).parent.parent / ".venv-feast" / "bin" / "python"
ROUNDS = 3


def peak_gib() -> float:
    """Peak memory of this process; the kernel's figure for resource limits would count what its parent had, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def read_mb() -> float:
    """What this process has read of files so far, whether from the disk or the system's cache."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0]) / 1e6


def build() -> None:
    """Fill the store under ``HOPS_HOME``."""
    import numpy as np
    import pyarrow as pa

    from hops_magic.features.store import FeatureStore

    store, rng = FeatureStore(), np.random.default_rng(0)
    times = _times(rng)
    for number in range(3):
        rows = pa.table({"key": rng.integers(0, KEYS, ROWS), "at": times(ROWS), **_features(rng, f"pit{number}", 5, ROWS)})
        store.save(_distinct(rows, "key"), f"pit{number}", key="key", event_time="at", statistics=False)
    for number in range(5):
        table = pa.table({"id": np.arange(JOINED), **_features(rng, f"wide{number}", JOINED_FEATURES, JOINED)})
        store.save(table, f"wide{number}", key="id", statistics=False)
    widest = pa.table({"id": np.arange(JOINED), **_features(rng, "fifty", WIDEST_FEATURES, JOINED)})
    store.save(widest, "fifty", key="id", statistics=False)
    for number in range(VIEWS):
        count = 100_000
        rows = pa.table(
            {"user": np.arange(count) % 20_000, "at": times(count), **_features(rng, f"view{number}", VIEW_FEATURES, count)}
        )
        store.save(_distinct(rows, "user"), f"view{number}", key="user", event_time="at", statistics=False)
    home = Path(os.environ["HOPS_HOME"])
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"key": rng.integers(0, KEYS, LABELS), "ts": times(LABELS)}), home / "labels.parquet")
    pq.write_table(
        pa.table({"user": rng.integers(0, 20_000, VIEW_LABELS), "ts": times(VIEW_LABELS)}), home / "users.parquet"
    )


def build_feast() -> int:
    """The same tables as groups, and as files for Feast."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hops_magic.features.store import FeatureStore

    store, rng, folder = FeatureStore(), np.random.default_rng(0), _feast_folder()
    folder.mkdir()
    times = _times(rng)
    for number in range(FEAST_VIEWS):
        features = _features(rng, f"view{number}", FEAST_FEATURES, FEAST_ROWS)
        drawn = pa.table({"key": rng.integers(0, FEAST_KEYS, FEAST_ROWS), "at": times(FEAST_ROWS), **features})
        rows = _distinct(drawn, "key")
        pq.write_table(rows, folder / f"view{number}.parquet")
        store.save(rows, f"feast{number}", key="key", event_time="at", statistics=False)
    labels = {"n": np.arange(FEAST_LABELS), "key": rng.integers(0, FEAST_KEYS, FEAST_LABELS), "ts": times(FEAST_LABELS)}
    pq.write_table(pa.table(labels), folder / "labels.parquet")
    return FEAST_LABELS


def _feast_columns() -> list[tuple[int, int]]:
    return [(number, feature) for number in range(FEAST_VIEWS) for feature in range(FEAST_FEATURES)]


def _feast_folder() -> Path:
    return Path(os.environ["HOPS_HOME"]) / "feast"


def _times(rng):
    import pyarrow as pa

    def times(count: int) -> pa.Array:
        return pa.array(rng.integers(1_600_000_000, 1_700_000_000, count) * 1_000_000, pa.timestamp("us", tz="UTC"))

    return times


def _distinct(drawn, key: str):
    import duckdb

    connection = duckdb.connect()
    connection.register("drawn", drawn)
    return connection.sql(f'SELECT DISTINCT ON ("{key}", "at") * FROM drawn').to_arrow_table()


def _features(rng, prefix: str, count: int, rows: int) -> dict:
    return {f"{prefix}_f{number}": rng.normal(size=rows) for number in range(count)}


def _read(name: str):
    import pyarrow.parquet as pq

    return pq.read_table(Path(os.environ["HOPS_HOME"]) / name)


def point_in_time() -> int:
    from hops_magic.features.store import FeatureStore

    names = [f"pit{number}.pit{number}_f{feature}" for number in range(3) for feature in range(3)]
    return FeatureStore().get(*names, spine=_read("labels.parquet"), event_time="ts", form="arrow").num_rows


def point_in_time_by_hand() -> int:
    """What somebody who knows DuckDB writes for the same tables; the labels keep their order."""
    import duckdb
    from deltalake import DeltaTable

    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    connection.register("labels", _read("labels.parquet"))
    parts, joins, columns = [], [], []
    for number in range(3):
        (folder,) = (Path(os.environ["HOPS_HOME"]) / "features" / f"pit{number}").iterdir()
        names = ", ".join(f"pit{number}_f{feature}" for feature in range(3))
        parts.append(f'g{number} AS (SELECT key, "at", {names} FROM read_parquet({DeltaTable(folder).file_uris()}))')
        joins.append(f'ASOF LEFT JOIN g{number} ON l.key = g{number}.key AND l.ts >= g{number}."at"')
        columns += [f"g{number}.pit{number}_f{feature}" for feature in range(3)]
    numbered = "(SELECT *, row_number() OVER () AS n FROM labels) l"
    sql = f"WITH {', '.join(parts)} SELECT l.key, l.ts, {', '.join(columns)} FROM {numbered} {' '.join(joins)} ORDER BY l.n"
    return connection.sql(sql).to_arrow_table().num_rows


def by_key() -> int:
    from hops_magic.features.store import FeatureStore

    return (
        FeatureStore()
        .get(*[f"wide{n}.wide{n}_f{f}" for n in range(5) for f in range(JOINED_FEATURES)], form="arrow")
        .num_rows
    )


def by_key_by_hand() -> int:
    import duckdb
    from deltalake import DeltaTable

    connection, parts = duckdb.connect(), []
    for number in range(5):
        (folder,) = (Path(os.environ["HOPS_HOME"]) / "features" / f"wide{number}").iterdir()
        parts.append(f"read_parquet({DeltaTable(folder).file_uris()}) w{number}")
    joins = " ".join(f"LEFT JOIN {part} ON w0.id = w{number}.id" for number, part in enumerate(parts) if number)
    columns = ", ".join(f"w{n}.wide{n}_f{f}" for n in range(5) for f in range(JOINED_FEATURES))
    return connection.sql(f"SELECT {columns} FROM {parts[0]} {joins}").to_arrow_table().num_rows


def thousand_features() -> int:
    from hops_magic.features.store import FeatureStore

    names = [f"view{number}.view{number}_f{feature}" for number in range(VIEWS) for feature in range(VIEW_FEATURES)]
    return FeatureStore().get(*names, spine=_read("users.parquet"), event_time="ts", form="arrow").num_rows


def one_of_fifty() -> int:
    from hops_magic.features.store import FeatureStore

    return FeatureStore().get("fifty.fifty_f3", form="arrow").num_rows


def size_mb(group: str) -> float:
    """Size of a group's files."""
    return sum(file.stat().st_size for file in (_home() / "features" / group).rglob("*.parquet")) / 1e6


def _home() -> Path:
    return Path(os.environ["HOPS_HOME"])


def feast_tables():
    from hops_magic.features.store import FeatureStore

    names = [f"feast{number}.view{number}_f{feature}" for number, feature in _feast_columns()]
    return FeatureStore().get(*names, spine=_read("feast/labels.parquet"), event_time="ts", form="arrow")


def like_feast() -> int:
    return feast_tables().num_rows


def feast_duckdb_differs() -> list[int]:
    return _differences("duckdb")


def feast_dask_differs() -> list[int]:
    return _differences("dask")


def _differences(kind: str) -> list[int]:
    """Of the labels: with another value in Feast's answer, not in its answer, and of these the ones that lack values."""
    import duckdb

    connection = duckdb.connect()
    connection.register("ours", feast_tables())
    names = [f"view{number}_f{feature}" for number, feature in _feast_columns()]
    differs = " OR ".join(f"ours.{name} IS DISTINCT FROM theirs.{name}" for name in names)
    lacks = " OR ".join(f"ours.{name} IS NULL" for name in names)
    joined = f"ours LEFT JOIN read_parquet('{_feast_folder()}/{kind}.parquet') theirs USING (n)"
    counts = f"""count(*) FILTER (theirs.key IS NOT NULL AND ({differs})), count(*) FILTER (theirs.key IS NULL),
        count(*) FILTER (theirs.key IS NULL AND ({lacks}))"""
    return list(connection.sql(f"SELECT {counts} FROM {joined}").fetchall()[0])


def measured(name: str) -> dict:
    command = [sys.executable, "-c", _CHILD, name]
    if name.startswith("feast:"):
        kind = name.removeprefix("feast:")
        folder = _feast_folder()
        command = [str(FEAST_PYTHON), "-m", "benchmarks.feast_rival", kind, str(folder), str(folder / f"{kind}.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1_800)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(names: list[str], rounds: int = ROUNDS) -> dict[str, dict]:
    """Median times of contestants that take turns."""
    runs = [{name: measured(name) for name in names} for _ in range(rounds)]
    return {
        name: {
            "took": statistics.median(run[name]["took"] for run in runs),
            "peak_gib": max(run[name]["peak_gib"] for run in runs),
        }
        for name in names
    }


def table() -> Table:
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOPS_HOME"] = home
        subprocess.run([sys.executable, "-c", "from benchmarks import feature_joins as f; f.build()"], check=True)
        rows = []
        for title, ours, hand in (
            (f"point in time: {LABELS:,} labels, 3 groups of {ROWS:,} rows", "point_in_time", "point_in_time_by_hand"),
            (f"by key: 5 groups of {JOINED:,} rows, {5 * JOINED_FEATURES} features", "by_key", "by_key_by_hand"),
        ):
            found = in_turns([ours, hand])
            mine, theirs = found[ours], found[hand]
            ratio = mine["took"] / theirs["took"]
            rows += [
                [title, "`%features get`", f"{mine['took']:.2f} s", f"{mine['peak_gib']:.1f} GiB", f"{ratio:.2f} x"],
                ["", "SQL by hand, DuckDB", f"{theirs['took']:.2f} s", f"{theirs['peak_gib']:.1f} GiB", "1"],
            ]
        title = f"{VIEW_LABELS:,} labels, {VIEWS * VIEW_FEATURES:,} features of {VIEWS} groups"
        title += " (Feast's issue 3003: 30 min, 50 GB)"
        mine = measured("thousand_features")
        rows.append([title, "`%features get`", f"{mine['took']:.2f} s", f"{mine['peak_gib']:.1f} GiB", ""])
        mine = measured("one_of_fifty")
        read = f"{mine['read_mb']:.1f} MB read of {size_mb('fifty'):.0f} MB"
        title = f"one feature of a group of {JOINED:,} rows and {WIDEST_FEATURES} features"
        rows.append([title, f"`%features get`: {read}", f"{mine['took']:.2f} s", f"{mine['peak_gib']:.1f} GiB", ""])
        compared, verdict = _beside_feast()
    return Table(
        "Joining features",
        "Processes of their own, from the call to a table of Arrow in memory, after imports; median of "
        f"{ROUNDS} turns, highest peak memory.",
        ["what", "how", "time", "peak memory", "ratio"],
        [*rows, *compared],
        verdict,
    )


def _beside_feast() -> tuple[list[list[object]], str]:
    """Rows and verdict of each of Feast's stores in turns with ours; the slow one has one turn."""
    if not FEAST_PYTHON.exists():
        sys.exit("benchmarks.feature_joins needs Feast: make .venv-feast/.ready installs it")
    measured("build_feast")
    rows: list[list[object]] = []
    verdicts = []
    for kind, rounds in (("duckdb", ROUNDS), ("dask", 1)):
        found = in_turns(["like_feast", f"feast:{kind}"], rounds)
        mine, theirs = found["like_feast"], found[f"feast:{kind}"]
        times = theirs["took"] / mine["took"]
        other, missing, lacking = measured(f"feast_{kind}_differs")["rows"]
        title = f"point in time: {FEAST_LABELS:,} labels, {FEAST_VIEWS} groups of {FEAST_ROWS:,} rows"
        rows += [
            [title, "`%features get`", f"{mine['took']:.2f} s", f"{mine['peak_gib']:.1f} GiB", f"{1 / times:.3f} x"],
            ["", f"Feast, {kind} store", f"{theirs['took']:.2f} s", f"{theirs['peak_gib']:.1f} GiB", "1"],
        ]
        verdict = f"Feast's {kind} store takes {times:.1f} x the time ({rounds} turn{'s' * (rounds > 1)}) and "
        verdict += f"gives other values for {other:,} labels"
        if missing:
            verdict += f"; it drops {missing:,}, of which {lacking:,} have no value yet in some group"
        verdicts.append(f"{verdict}.")
    return rows, " ".join(verdicts)


if __name__ == "__main__":
    print(table().markdown())
