"""What an answer comes back as: a table of pandas, polars or Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError

if TYPE_CHECKING:
    import pyarrow as pa

    from hops_magic.features.streaming import StreamedRows

FORMS = ("df", "polars", "arrow", "dask", "tf")
STREAMED = ("dask", "tf")
# a float64 holds all whole numbers up to that one
_EXACT = 2**53


def as_form(table: pa.Table, form: str) -> Any:
    """Return a table in memory as ``df`` (pandas), ``polars`` or ``arrow``."""
    if form == "arrow":
        return table
    if form == "polars":
        import polars

        return polars.from_arrow(table)
    if form == "df":
        return _pandas(table)
    raise FeatureError(f"--as must be one of {', '.join(FORMS)}, got {form!r}")


def _pandas(table: pa.Table) -> Any:
    """Return a DataFrame in which no whole number is rounded: beside nulls, pandas would make floats of all."""
    import pandas as pd
    import pyarrow as pa

    frame = table.to_pandas()
    nullable = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    for at, values in enumerate(table.columns):
        if _would_round(values):
            frame.isetitem(at, values.to_pandas(types_mapper=nullable.get).set_axis(frame.index))
        elif pa.types.is_list(values.type) and any(_would_round(chunk.flatten()) for chunk in values.chunks):
            frame.isetitem(at, pd.Series(values.to_pylist(), index=frame.index, dtype=object))
    return frame


def _would_round(values: pa.Array | pa.ChunkedArray) -> bool:
    """Whether there are nulls among whole numbers of which a float does not hold some."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(values.type) or not values.null_count:
        return False
    return any(abs(end or 0) > _EXACT for end in pc.min_max(values).as_py().values())


def as_streamed(rows: StreamedRows, form: str) -> Any:
    """Return rows in files as ``dask``, or as they are for ``tf``."""
    return rows.to_dask() if form == "dask" else rows
