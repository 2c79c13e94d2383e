"""Looking into a group or a table: a page of its rows, and whether its rules hold now."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hops_magic.features import engine
from hops_magic.features.errors import UnknownNameError
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import Group
from hops_magic.features.names import nearest
from hops_magic.features.sql import listed

if TYPE_CHECKING:
    import pyarrow as pa

    from hops_magic.features.validation import Report


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A page of rows; ``total`` is their number in all."""

    table: pa.Table
    total: int


def page(
    group: Group, table: LakeTable, columns: Sequence[str] = (), *, limit: int, offset: int = 0, sort: str = ""
) -> Rows:
    """Return rows of a group, by its key or another column (``-`` before it for descending).

    Raises
    ------
    UnknownNameError
        If it has no such column.
    """
    wanted = list(columns) or list(group.column_names)
    first = sort.removeprefix("-")
    for name in [*wanted, *([first] if first else [])]:
        if group.column(name) is None:
            raise UnknownNameError("column", name, nearest(name, group.column_names), group.full_name)
    key = [name for name in group.row_key if name != first]
    order = [f"{listed([first])} {'DESC' if sort.startswith('-') else 'ASC'} NULLS LAST"] if first else []
    order += [listed(key)] if key else []
    with engine.connect() as connection:
        table.register(connection, "rows")
        query = f"SELECT {listed(wanted)} FROM rows ORDER BY {', '.join(order)} LIMIT {int(limit)} OFFSET {int(offset)}"
        return Rows(table=connection.sql(query).to_arrow_table(), total=group.rows)


def check_now(group: Group, table: LakeTable, now: datetime.datetime) -> Report | None:
    """Ask a group's rules of the rows that it has; None if it has no rules."""
    from hops_magic.features.rules import Rule
    from hops_magic.features.validation import validate

    if not group.rules:
        return None
    rules = [Rule.from_json(rule) for rule in group.rules]
    with engine.connect() as connection:
        table.register(connection, "rows")
        return validate(
            connection,
            "rows",
            rules,
            group.columns,
            stored=None,
            row_key=group.row_key,
            now=now,
            event_time=group.event_time,
        )
