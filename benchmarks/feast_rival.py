"""Feast on the files that :mod:`benchmarks.feature_joins` joins too.

``python -m benchmarks.feast_rival STORE FOLDER ANSWER`` is run with the environment of ``make .venv-feast/.ready``,
which has Feast. ``STORE`` is the kind of offline store, ``duckdb`` or ``dask``; ``FOLDER`` holds the tables. Writes the
joined table to ``ANSWER`` and prints time and peak memory of the join.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.feature_joins import FEAST_FEATURES, FEAST_VIEWS, peak_gib

os.environ.setdefault("FEAST_USAGE", "False")


def repository(kind: str, folder: Path, home: Path):
    """A store with a view for each table."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=f"view{number}",
            entities=[key],
            # values never expire, as ours do not unless told
            ttl=datetime.timedelta(0),
            schema=[Field(name=f"view{number}_f{feature}", dtype=Float64) for feature in range(FEAST_FEATURES)],
            source=FileSource(path=str(folder / f"view{number}.parquet"), timestamp_field="at"),
        )
        for number in range(FEAST_VIEWS)
    ]
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            registry=str(home / "registry.db"),
            provider="local",
            offline_store={"type": kind},
            online_store={"type": "sqlite", "path": str(home / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    store.apply([key, *views])
    return store


def _labels(folder: Path):
    import pyarrow.parquet as pq

    return pq.read_table(folder / "labels.parquet").rename_columns({"ts": "event_timestamp"}).to_pandas()


def main(kind: str, folder: Path, answer: Path) -> None:
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as home:
        store = repository(kind, folder, Path(home))
        names = [f"view{n}:view{n}_f{feature}" for n in range(FEAST_VIEWS) for feature in range(FEAST_FEATURES)]
        # ten labels first: Feast imports much of itself at its first join
        ten = _labels(folder).head(10)
        store.get_historical_features(entity_df=ten, features=names).to_arrow()
        began = time.perf_counter()
        joined = store.get_historical_features(entity_df=_labels(folder), features=names).to_arrow()
        took = time.perf_counter() - began
    print(json.dumps({"took": took, "rows": joined.num_rows, "peak_gib": peak_gib()}))
    pq.write_table(joined, answer)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
