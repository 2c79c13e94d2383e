"""Rows that broke a rule, put aside in a table beside their group's."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from hops_magic.features import engine
from hops_magic.features.errors import FeatureError, StoreError
from hops_magic.features.folders import quarantine_beside
from hops_magic.features.lake import LakeTable, Note
from hops_magic.features.model import COMMITTED_AT, Group, Operation
from hops_magic.features.sql import quoted

if TYPE_CHECKING:
    import datetime

    import pyarrow as pa


def quarantine_of(group: Group) -> str:
    """Where a group's rows are that broke a rule."""
    return quarantine_beside(group.location)


def put_aside(group: Group, rows: pa.Table, now: datetime.datetime) -> None:
    """Keep rows that broke a rule, once the good ones of their write are committed.

    Raises
    ------
    StoreError
        If they cannot be written.
    """
    import pyarrow as pa

    stamped = rows.append_column(COMMITTED_AT, pa.array([now] * rows.num_rows, pa.timestamp("us", tz="UTC")))
    note = Note(operation=Operation.APPEND, author=getpass.getuser())
    location = quarantine_of(group)
    try:
        if not LakeTable.exists(location):
            LakeTable.create(location, stamped.to_reader(), note, keys=())
            return
        table = LakeTable(location)
        if table.schema.equals(stamped.schema):
            table.append(stamped.to_reader(), note, keys=())
            return
        with engine.connect() as connection:
            table.register(connection, "earlier")
            earlier = connection.sql("SELECT * FROM earlier").to_arrow_table()
        # the group has other columns by now; files of one schema are read by any reader
        table.overwrite(pa.concat_tables([_toward(earlier, stamped.schema), stamped]).to_reader(), note, keys=())
    except StoreError as error:
        raise StoreError(
            f"the good rows were written to {group.full_name}, but the {rows.num_rows:,} that broke a rule could not be put "
            f"aside: {error}"
        ) from error


def rows_aside(group: Group) -> int:
    """Return how many rows broke a rule and were put aside."""
    return LakeTable(quarantine_of(group)).rows if LakeTable.exists(quarantine_of(group)) else 0


def read_aside(group: Group) -> pa.Table:
    """Return these rows, with the rules that they broke.

    Raises
    ------
    FeatureError
        If there are none.
    """
    if not LakeTable.exists(quarantine_of(group)):
        raise FeatureError(f"no row of {group.full_name} was put aside")
    with engine.connect() as connection:
        LakeTable(quarantine_of(group)).register(connection, "aside")
        return connection.sql(f"SELECT * EXCLUDE ({quoted(COMMITTED_AT)}) FROM aside").to_arrow_table()


def _toward(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring earlier rows to the columns of today; groups only gain columns and widen types."""
    import pyarrow as pa

    have = rows.column_names
    columns = [
        rows[item.name].cast(item.type) if item.name in have else pa.nulls(rows.num_rows, item.type) for item in schema
    ]
    return pa.table(columns, schema=schema)
