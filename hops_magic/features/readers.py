"""What an answer comes back as: a table of pandas, polars, Arrow or Dask, or a dataset of TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError

if TYPE_CHECKING:
    import pyarrow as pa

FORMS = ("df", "polars", "arrow", "dask", "tf")


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
