"""Rows that users brought, as they brought them: features are put beside their own columns, types and index."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError
from hops_magic.features.names import folded
from hops_magic.features.readers import as_form
from hops_magic.features.sources import array_of, is_dask, pandas_columns, table_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Brought:
    """Rows as their user has them: a DataFrame of pandas or polars, or what Arrow makes of any other table.

    Parameters
    ----------
    rows
        Read once: a reader, or a table of Dask, is no more than that.
    name : str
        What messages call them.
    """

    rows: Any
    name: str

    @classmethod
    def of(cls, data: Any, name: str) -> Brought:
        """Take rows of any table.

        Raises
        ------
        FeatureError
            If it is no table, has no columns, or columns whose names the engine cannot tell apart.
        """
        if isinstance(data, Brought):
            return data
        found = cls(_whole(data, name), name)
        seen: dict[str, str] = {}
        for column in found.columns:
            if (other := seen.get(folded(column))) is not None:
                told = "" if other == column else ", which differ only in case"
                raise FeatureError(f"{name} has columns {other!r} and {column!r}{told}: rename one")
            seen[folded(column)] = column
        if not seen:
            raise FeatureError(f"{name} has no columns: there is nothing to look for")
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; of pandas, those of the index that have names come first."""
        if self._is_of("pandas"):
            return tuple(self._of_frame)
        return tuple(self.rows.columns if self._is_of("polars") else self.rows.column_names)

    def table(self, columns: Iterable[str] | None = None) -> pa.Table:
        """Return some columns, or all, as a table of Arrow.

        Raises
        ------
        SchemaMismatchError
            If Arrow has no type for the values of one of them.
        """
        import pyarrow as pa

        names = list(self.columns if columns is None else columns)
        if self._is_of("pandas"):
            return pa.table({column: array_of(self._of_frame[column], column, self.name) for column in names})
        return table_of(self.rows.select(names), self.name)

    def as_form(self, form: str) -> Brought:
        """Return the rows as they can be put beside an answer in a form: ``df``, ``polars`` or ``arrow``."""
        stays = {"df": "pandas", "polars": "polars"}.get(form)
        return self if stays is not None and self._is_of(stays) else Brought(self.table(), self.name)

    def beside(self, features: pa.Table, numbers: pa.ChunkedArray, form: str, read: Mapping[str, pa.ChunkedArray]) -> Any:
        """Return the rows with features beside them.

        Parameters
        ----------
        features
            Columns of the answer that are not these rows' own.
        numbers
            Number of the brought row that each row of the answer is of.
        form
            ``df``, ``polars`` or ``arrow``; of rows that :meth:`as_form` made.
        read
            Columns that were read as another type, such as text as numbers: they come as the engine has them.
        """
        if self._is_of("pandas"):
            return self._beside_pandas(features, numbers, read)
        if self._is_of("polars"):
            return self._beside_polars(features, numbers, read)
        own = self.rows
        for name, values in read.items():
            own = own.set_column(own.schema.get_field_index(name), name, values)
        own = own if _is_whole(numbers, own.num_rows) else own.take(numbers)
        for name in features.column_names:
            own = own.append_column(features.schema.field(name), features.column(name))
        # what a library noted of its own table is not true of this one
        return as_form(own.replace_schema_metadata(None), form)

    def _beside_pandas(self, features: pa.Table, numbers: pa.ChunkedArray, read: Mapping[str, pa.ChunkedArray]) -> Any:
        import pandas as pd

        own = self.rows.iloc[numbers.to_numpy()]
        index, own = own.index, own.reset_index(drop=True)
        for name in own.columns:
            if str(name) in read:
                own[name] = read[str(name)].take(numbers).to_pandas()
        answer = pd.concat([own, as_form(features, "df")], axis=1) if features.column_names else own
        answer.index = index
        return answer

    def _beside_polars(self, features: pa.Table, numbers: pa.ChunkedArray, read: Mapping[str, pa.ChunkedArray]) -> Any:
        import polars

        own = self.rows if _is_whole(numbers, self.rows.height) else self.rows[numbers.to_numpy()]
        own = own.with_columns(polars.Series(name, values.take(numbers)) for name, values in read.items())
        return own.hstack(as_form(features, "polars").get_columns()) if features.column_names else own

    @cached_property
    def _of_frame(self) -> dict[str, Any]:
        return pandas_columns(self.rows, self.name)

    def _is_of(self, library: str) -> bool:
        return _is_frame(self.rows, library)


def _whole(data: Any, name: str) -> Any:
    """Return a DataFrame of pandas or polars, what else there is as a table of Arrow."""
    if is_dask(data) or _is_frame(data, "polars", "LazyFrame"):
        data = data.compute() if is_dask(data) else data.collect()
    if _is_frame(data, "pandas", "Series") or _is_frame(data, "polars", "Series"):
        data = data.to_frame()
    return data if _is_frame(data, "pandas") or _is_frame(data, "polars") else table_of(data, name)


def _is_frame(data: Any, library: str, kind: str = "DataFrame") -> bool:
    """Whether data is of a type of a library, which is not imported for that."""
    module = sys.modules.get(library)
    return module is not None and isinstance(data, getattr(module, kind))


def _is_whole(numbers: pa.ChunkedArray, rows: int) -> bool:
    """Whether each row is there once, in its order."""
    import numpy as np

    return len(numbers) == rows and bool(np.array_equal(numbers.to_numpy(), np.arange(rows)))
