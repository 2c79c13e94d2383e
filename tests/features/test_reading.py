"""What the engine fetches for an answer."""

import json

from hops_magic.features.store import request_of


def test_of_a_wide_group_only_what_is_asked_for_is_read(store):
    wide = {f"f{number}": [float(number)] * 3 for number in range(50)}
    store.save({"id": [1, 2, 3], **wide}, "wide", key="id", statistics=False)
    store.save({"id": [1, 2, 3], "n": [7, 8, 9]}, "narrow", key="id", statistics=False)
    for names, read in ((("f7",), {"f7"}), (("n", "f7"), {"id", "f7", "n"})):
        with store._reader.answering(request_of(*names)) as (connection, _, sql, _):
            plan = json.loads(connection.execute(f"EXPLAIN (FORMAT json) {sql}").fetchone()[1])
        assert set(columns_read(plan)) == read


def columns_read(plan):
    """The columns that the scans of the engine's plan fetch."""
    for step in plan:
        if "SCAN" in step["name"] or "PARQUET" in step["name"]:
            told = step["extra_info"]["Projections"]
            yield from [told] if isinstance(told, str) else told
        yield from columns_read(step["children"])
