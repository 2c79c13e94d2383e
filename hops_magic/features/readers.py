"""What an answer comes back as: a table of pandas, polars or Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError

if TYPE_CHECKING:
    import pyarrow as pa

    from hops_magic.features.streaming import StreamedRows

FORMS = ("df", "polars", "arrow", "dask", "tf")
STREAMED = ("dask", "tf")


def as_form(table: pa.Table, form: str) -> Any:
    """Return a table in memory as ``df`` (pandas), ``polars`` or ``arrow``."""
    if form == "arrow":
        return table
    if form == "polars":
        import polars

        return polars.from_arrow(table)
    if form == "df":
        return table.to_pandas()
    raise FeatureError(f"--as must be one of {', '.join(FORMS)}, got {form!r}")


def as_streamed(rows: StreamedRows, form: str) -> Any:
    """Return rows in files as ``dask``, or as they are for ``tf``."""
    return rows.to_dask() if form == "dask" else rows
