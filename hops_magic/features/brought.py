"""Rows that users brought, as they brought them: features are put beside their own columns, types and index."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.features.readers import as_form
from hops_magic.features.sources import table_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Brought:
    """Rows as their user has them: a DataFrame of pandas or polars, or what Arrow makes of any other table.

    Parameters
    ----------
    rows
        Read once: a reader, or a table of Dask, is no more than that.
    """

    rows: Any

    @classmethod
    def of(cls, data: Any, name: str) -> Brought:
        """Take rows of any table."""
        return cls(data if _is_of(data, "pandas") or _is_of(data, "polars") else table_of(data, name))

    def beside(self, features: pa.Table, numbers: pa.ChunkedArray, form: str, read: Collection[str]) -> Any:
        """Return the rows with features beside them.

        Parameters
        ----------
        features
            Columns of the answer: those of the rows as the engine has them, then the features.
        numbers
            Number of the brought row that each row of the answer is of.
        form
            ``df``, ``polars`` or ``arrow``.
        read
            Columns that were read as another type, such as text as numbers: they come as the engine has them.
        """
        if form == "df" and _is_of(self.rows, "pandas"):
            return self._of_pandas(features, numbers, read)
        if form == "polars" and _is_of(self.rows, "polars"):
            return self._of_polars(features, numbers, read)
        own = table_of(self.rows, "the spine")
        own = own if _is_whole(numbers, own.num_rows) else own.take(numbers)
        for name in own.column_names:
            if name not in read:
                at = features.schema.get_field_index(name)
                features = features.set_column(at, own.schema.field(name), own.column(name))
        return as_form(features, form)

    def _of_pandas(self, features: pa.Table, numbers: pa.ChunkedArray, read: Collection[str]) -> Any:
        import pandas as pd

        own = self.rows.iloc[numbers.to_numpy()]
        index, own = own.index, own.reset_index(drop=True)
        # a named index is a column of the rows as the engine has them
        there = {*map(str, own.columns), *(str(level) for level in index.names if level is not None)}
        found = features.to_pandas()
        for name in own.columns:
            if str(name) in read:
                own[name] = found[str(name)]
        answer = pd.concat([own, found[[name for name in features.column_names if name not in there]]], axis=1)
        answer.index = index
        return answer

    def _of_polars(self, features: pa.Table, numbers: pa.ChunkedArray, read: Collection[str]) -> Any:
        import polars

        own = self.rows if _is_whole(numbers, self.rows.height) else self.rows[numbers.to_numpy()]
        found: Any = polars.from_arrow(features)
        return found.with_columns(own.get_column(name) for name in own.columns if name not in read)


def _is_of(data: Any, library: str) -> bool:
    """Whether data is a DataFrame of a library, which is not imported for that."""
    module = sys.modules.get(library)
    return module is not None and isinstance(data, module.DataFrame)


def _is_whole(numbers: pa.ChunkedArray, rows: int) -> bool:
    """Whether each row is there once, in its order."""
    import numpy as np

    return len(numbers) == rows and bool(np.array_equal(numbers.to_numpy(), np.arange(rows)))
