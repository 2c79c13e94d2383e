"""What changed in a group between two commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hops_magic.features import engine
from hops_magic.features.errors import FeatureError
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import COMMITTED_AT, Group
from hops_magic.features.sql import listed, quoted

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed in a group between two commits.

    Attributes
    ----------
    added, removed : Table
        Rows that only the later, or only the earlier has; at most as many as were asked for.
    changed : Table
        Rows of keys that both have, with other values: the earlier and the later value of each column that differs.
    counts : mapping
        Rows added, changed and removed in all.
    """

    group: Group
    before: int
    after: int
    added: pa.Table
    changed: pa.Table
    removed: pa.Table
    counts: Mapping[str, int]


def difference(group: Group, before: int, after: int, limit: int) -> Difference:
    """Compare a group's rows at two commits, by key; at most ``limit`` rows of each kind are shown, all are counted.

    Raises
    ------
    FeatureError
        If the limit is negative.
    """
    if limit < 0:
        raise FeatureError(f"--limit must be at least 0, got {limit}")
    earlier, later = LakeTable(group.location, before), LakeTable(group.location, after)
    then, now = set(earlier.schema.names), set(later.schema.names)
    features = [name for name in group.column_names if name in then | now and name not in group.row_key]
    match = " AND ".join(f"a.{quoted(key)} = b.{quoted(key)}" for key in group.row_key)
    # a column that one of them lacks is null there
    values_of = {
        name: (f"a.{quoted(name)}" if name in then else "NULL", f"b.{quoted(name)}" if name in now else "NULL")
        for name in features
    }
    differs = " OR ".join(f"{old} IS DISTINCT FROM {new}" for old, new in values_of.values()) or "FALSE"
    both = [
        f"{old} AS {quoted(name + ' before')}, {new} AS {quoted(name + ' after')}" for name, (old, new) in values_of.items()
    ]
    values = ", ".join([listed(group.row_key, "b."), *both])
    hidden = f"EXCLUDE ({quoted(COMMITTED_AT)})"
    queries = {
        "added": f"SELECT * {hidden} FROM later b ANTI JOIN earlier a ON {match}",
        "changed": f"SELECT {values} FROM earlier a JOIN later b ON {match} WHERE {differs}",
        "removed": f"SELECT * {hidden} FROM earlier a ANTI JOIN later b ON {match}",
    }
    order = f"ORDER BY {listed(group.row_key)} LIMIT {int(limit)}"
    with engine.connect() as connection:
        earlier.register(connection, "earlier")
        later.register(connection, "later")
        counts = {name: int(engine.value_of(connection, f"SELECT count(*) FROM ({sql})")) for name, sql in queries.items()}
        tables = {name: connection.sql(f"SELECT * FROM ({sql}) {order}").to_arrow_table() for name, sql in queries.items()}
    return Difference(group=group, before=before, after=after, counts=counts, **tables)
