"""Rows that features are asked for: a spine, or the keys of a look-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hops_magic.features.brought import Brought
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.key_types import KeyColumn, comparable, moments
from hops_magic.features.names import nearest
from hops_magic.features.planner import Plan
from hops_magic.features.query import ROW
from hops_magic.features.sql import literal, quoted
from hops_magic.features.tables import check_names, looked_for
from hops_magic.features.types import LossError, UnusableTypeError, stored_type
from hops_magic.features.ways import SPINE

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# beyond that many, keys are joined instead of listed
_LISTED_KEYS = 1_000


def rows_to_find(data: Any, event_time: str | None, *, name: str) -> Brought:
    """Take rows that features are asked for.

    Raises
    ------
    FeatureError
        If they are no table, or ``event_time`` is no column of theirs.
    """
    brought = Brought.of(data, name)
    if event_time is not None and event_time not in brought.columns:
        raise UnknownNameError("column", event_time, nearest(event_time, brought.columns), name)
    return brought


def needed_columns(plan: Plan) -> tuple[str, ...]:
    """Return the columns of a spine by which a plan finds features."""
    assert plan.spine is not None
    wanted = {pair.left for join in plan.joins for pair in join.on if pair.source == SPINE} | {plan.spine.event_time}
    return tuple(name for name in plan.spine.columns if name in wanted)


@dataclass(frozen=True)
class SpineRows:
    """Rows to find features for as the engine has them, numbered.

    Attributes
    ----------
    brought : Brought
        The rows as their user has them.
    read : frozenset of str
        Columns that were read as another type, to be found in a group.
    """

    rows: pa.Table
    brought: Brought
    read: frozenset[str] = frozenset()

    @classmethod
    def of(cls, brought: Brought, event_time: str | None, columns: Iterable[str] | None = None) -> SpineRows:
        """Bring columns, by default all, to the types of the store, number the rows, and see to their moments.

        Raises
        ------
        FeatureError
            If ``event_time`` holds no times, or a column cannot be kept.
        """
        import pyarrow as pa

        if columns is None:
            check_names(brought.columns, brought.name)
        own = brought.table(columns)
        if event_time is not None:
            at = own.schema.get_field_index(event_time)
            own = own.set_column(at, event_time, _floored(own.column(at)))
        rows = looked_for(own, name=brought.name)
        if event_time is not None:
            rows = rows.set_column(at, event_time, _times(rows.column(at), event_time, brought.name))
        return cls(rows.append_column(ROW, pa.array(range(own.num_rows), pa.int64())), brought)

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
        rows = comparable(self.rows, keys, name=self.brought.name)
        read = frozenset(
            item.name
            for item, before in zip(rows.schema, self.rows.schema, strict=True)
            if item.type != before.type and rows.column(item.name).null_count < rows.num_rows
        )
        return replace(self, rows=rows, read=read)

    def typed(self, plan: Plan) -> Plan:
        """Return a plan that knows the types of these rows."""
        assert plan.spine is not None
        return replace(plan, spine=replace(plan.spine, types=self.types))

    def check_kept(self) -> None:
        """Refuse columns whose values are all null, so that they have no type in files.

        Raises
        ------
        FeatureError
            With the first one.
        """
        for item in self.rows.schema:
            try:
                stored_type(item.type)
            except UnusableTypeError as error:
                raise FeatureError(f"column {item.name} of {self.brought.name} cannot be kept: {error}") from error

    def beside(self, answer: pa.Table, own: Brought, form: str) -> Any:
        """Return an answer with the rows as their user has them, in a form that these were brought to."""
        read = {name: self.rows.column(name) for name in self.read}
        return own.beside(answer.drop_columns([ROW]), answer.column(ROW), form, read)

    def narrow(self, connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
        """Let a look-up read only the parts of tables that can hold these keys."""
        for join in plan.joins:
            listed = [pair for pair in join.on if pair.source == SPINE and self.rows.num_rows <= _LISTED_KEYS]
            conditions = [
                f"{quoted(pair.right)} IN ({', '.join(sorted({literal(value) for value in self._values(pair.left)}))})"
                for pair in listed
            ]
            conditions = conditions if self.rows.num_rows else ["FALSE"]
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            view = f"{join.alias}_rows"
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT * FROM {quoted(view + '_all')}{where}")

    def _values(self, column: str) -> list[object]:
        found: list[object] = self.rows[column].to_pylist()
        return found


def _floored(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the microsecond in which a moment of nanoseconds lies: what was known at the one was known at the other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_timestamp(array.type) or array.type.unit != "ns":
        return array
    # a cast alone would cut towards 1970
    return pc.floor_temporal(array, unit="microsecond").cast(pa.timestamp("us", array.type.tz), safe=False)


def _to_microseconds(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times as texts without the digits beyond microseconds, for the reason that :func:`_floored` has."""
    import pyarrow.compute as pc

    found: pa.ChunkedArray = pc.replace_substring_regex(texts, r"(:[0-9]{2}\.[0-9]{6})[0-9]{1,3}", r"\1")
    return found


def _times(array: pa.ChunkedArray, column: str, name: str) -> pa.ChunkedArray:
    """Return the moments that a column says; numbers say none, since their unit would have to be guessed.

    Raises
    ------
    FeatureError
        If it does not hold times, dates, or texts of them.
    """
    import pyarrow as pa

    kind, moment = array.type, pa.timestamp("us", "UTC")
    if pa.types.is_timestamp(kind):
        return array
    if array.null_count == len(array):
        return pa.chunked_array([pa.nulls(len(array), moment)])
    if pa.types.is_date(kind):
        return array.cast(pa.timestamp("us")).cast(moment)
    what = f"--event-time {column} of {name} must hold timestamps, got"
    if pa.types.is_string(kind):
        try:
            return moments(_to_microseconds(array))
        except LossError as error:
            shown = ", ".join(f"row {row:,}: {text[:40]!r}" for row, text in error.failing)
            raise FeatureError(
                f"{what} texts that are no times of ISO 8601 such as 2024-12-31T23:59:00+01:00 ({shown}): convert them"
            ) from error
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        raise FeatureError(
            f"{what} {kind}, and the unit of numbers is not guessed: convert them, e.g. pandas.to_datetime(COLUMN, unit='s')"
        )
    raise FeatureError(f"{what} {kind}: convert them, or name another column")
