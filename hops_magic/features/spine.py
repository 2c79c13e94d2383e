"""Rows that features are asked for: a spine, or the keys of a look-up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hops_magic.features.brought import Brought
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.key_types import KeyColumn, comparable
from hops_magic.features.names import nearest
from hops_magic.features.planner import SPINE, Plan
from hops_magic.features.query import ROW
from hops_magic.features.sql import literal, quoted
from hops_magic.features.tables import incoming

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# beyond that many, keys are joined instead of listed
_LISTED_KEYS = 1_000


@dataclass(frozen=True)
class SpineRows:
    """Rows to find features for, numbered.

    Attributes
    ----------
    name : str
        What messages call them.
    brought : Brought
        The rows as their user has them.
    read : frozenset of str
        Columns that were read as another type, to be found in a group.
    """

    rows: pa.Table
    columns: tuple[str, ...]
    name: str
    brought: Brought
    read: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: Any, event_time: str | None, *, name: str) -> SpineRows:
        """Bring rows to the types of the store, number them, and see to their moments.

        Raises
        ------
        FeatureError
            If ``event_time`` is no column of theirs, or holds no times.
        """
        import pyarrow as pa

        brought = Brought.of(data, name)
        rows = incoming(brought.rows, name=name)
        names = tuple(rows.column_names)
        if event_time is not None:
            if event_time not in names:
                raise UnknownNameError("column", event_time, nearest(event_time, names), name)
            kind = rows.schema.field(event_time).type
            if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
                raise FeatureError(f"--event-time {event_time} of {name} must hold timestamps, got {kind}")
            if pa.types.is_date(kind):
                moments = rows[event_time].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
                rows = rows.set_column(names.index(event_time), event_time, moments)
        return cls(rows.append_column(ROW, pa.array(range(rows.num_rows), pa.int64())), names, name, brought)

    @property
    def types(self) -> dict[str, str]:
        """Text of the type of each column."""
        return {item.name: str(item.type) for item in self.rows.schema}

    def comparable_in(self, plan: Plan) -> SpineRows:
        """Bring keys to the types of the groups that a plan joins.

        Raises
        ------
        SchemaMismatchError
            If values can never be equal to a group's.
        """
        keys = [
            KeyColumn(pair.left, join.group, pair.right) for join in plan.joins for pair in join.on if pair.source == SPINE
        ]
        rows = comparable(self.rows, keys, name=self.name)
        read = frozenset(item.name for item in rows.schema if item.type != self.rows.schema.field(item.name).type)
        return replace(self, rows=rows, read=read)

    def beside(self, answer: pa.Table, form: str) -> Any:
        """Return an answer with the rows as their user has them."""
        features = answer.drop_columns([ROW])
        return self.brought.beside(features, answer.column(ROW), form, self.read)

    def narrow(self, connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
        """Let a look-up read only the parts of tables that can hold these keys."""
        for join in plan.joins:
            conditions = [
                f"{quoted(pair.right)} IN ({', '.join(sorted({literal(value) for value in self._values(pair.left)}))})"
                for pair in join.on
                if pair.source == SPINE and self.rows.num_rows <= _LISTED_KEYS
            ]
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            view = f"{join.alias}_rows"
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT * FROM {quoted(view + '_all')}{where}")

    def _values(self, column: str) -> list[object]:
        found: list[object] = self.rows[column].to_pylist()
        return found
