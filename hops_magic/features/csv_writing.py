"""CSV files that are written: so that they can be read back, or with a word on what could not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hops_magic.errors import counted
from hops_magic.features import engine
from hops_magic.features.csv_options import PANDAS_NULLS
from hops_magic.features.sql import literal, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True)
class CsvForm:
    """How a table is written.

    Attributes
    ----------
    quoted : tuple of str
        Columns of texts of which all are put into quotes, since some would be taken for missing values.
    notes : tuple of str
        What is not the same when the file is read, a sentence each.
    """

    quoted: tuple[str, ...]
    notes: tuple[str, ...]


def csv_form(connection: duckdb.DuckDBPyConnection, view: str, schema: pa.Schema) -> CsvForm:
    """Look how a table can be written, which is readable in an engine under a name."""
    import pyarrow as pa

    texts = [item.name for item in schema if pa.types.is_string(item.type) or pa.types.is_large_string(item.type)]
    floats = [item.name for item in schema if pa.types.is_floating(item.type)]
    others = [item.name for item in schema if pa.types.is_nested(item.type) or pa.types.is_binary(item.type)]
    markers = ", ".join(map(literal, PANDAS_NULLS))
    missing = _counts(connection, view, {name: f"{quoted(name)} IN ({markers})" for name in texts})
    nan = _counts(connection, view, {name: f"isnan({quoted(name)})" for name in floats})
    notes = [
        f"column {name[:40]}: {counted(count, 'text')}, empty or like NA, will be read as missing unless imported with "
        "--quoted-text (in Python quoted_text=True)"
        for name, count in missing.items()
    ]
    notes += [f"column {name[:40]}: NaN, in {counted(count, 'row')}, will be read as missing" for name, count in nan.items()]
    notes += [
        f"column {name[:40]} is of type {schema.field(name).type}, and will be read as text: Parquet keeps its type"
        for name in others
    ]
    return CsvForm(tuple(missing), tuple(notes))


def _counts(connection: duckdb.DuckDBPyConnection, view: str, conditions: dict[str, str]) -> dict[str, int]:
    """Count the rows for which each condition holds; those of none are left out."""
    if not conditions:
        return {}
    asked = ", ".join(f"count_if({condition}) AS c{at}" for at, condition in enumerate(conditions.values()))
    found: Sequence[int] = list(engine.rows_of(connection, f"SELECT {asked} FROM {quoted(view)}")[0].values())
    return {name: int(count) for name, count in zip(conditions, found, strict=True) if count}
