"""Pearson's correlation of every pair of columns, over the rows where both are known."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.features.sql import quoted
from hops_magic.features.values import Field

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float64]

# numbers in memory at once, 8 bytes each; three such blocks
_CELLS = 1_000_000
# a variance that small, of values that were scaled to about one, is an error of rounding
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A column of numbers, and what brings its values near to one.

    Attributes
    ----------
    has_gaps : bool
        Whether some values are null, NaN or infinite.
    """

    field: Field
    mean: float
    std: float
    has_gaps: bool


def correlate(connection: duckdb.DuckDBPyConnection, view: str, columns: Sequence[Scaled]) -> Matrix:
    """Return the matrix in one pass over the rows, in bounded memory; NaN where a column does not vary."""
    import numpy as np

    gaps = [i for i, column in enumerate(columns) if column.has_gaps]
    sums = [np.zeros((len(columns), len(columns))), *(np.zeros((len(columns), len(gaps) + 1)) for _ in range(2))]
    pairs = np.zeros((len(gaps) + 1, len(gaps) + 1))
    wanted = ", ".join(f"CAST({column.field.expression} AS DOUBLE) AS c{i}" for i, column in enumerate(columns))
    reader = connection.sql(f"SELECT {wanted} FROM {quoted(view)}").to_arrow_reader(max(2_048, _CELLS // len(columns)))
    with one_blas_thread(), np.errstate(all="ignore"):
        for batch in reader:
            values = _scaled(batch, columns)
            known = np.ones((len(gaps) + 1, batch.num_rows))
            if gaps:
                finite = np.isfinite(values[gaps])
                known[:-1] = finite
                values[gaps] = np.where(finite, values[gaps], 0.0)
            sums[0] += values @ values.T
            sums[1] += values @ known.T
            sums[2] += (values * values) @ known.T
            pairs += known @ known.T
        # a column without gaps is known wherever the other one is: the last row of ``known`` stands for all of them
        row = np.full(len(columns), len(gaps))
        row[gaps] = np.arange(len(gaps))
        return _pearson(pairs[np.ix_(row, row)], sums[0], sums[1][:, row], sums[2][:, row])


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's threads from spinning beside the engine's, where that can be said to them."""
    if importlib.util.find_spec("threadpoolctl") is None:
        yield
        return
    import threadpoolctl  # type: ignore[import-untyped]

    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def _scaled(batch: Any, columns: Sequence[Scaled]) -> Matrix:
    import numpy as np

    values = np.empty((len(columns), batch.num_rows))
    for i, column in enumerate(columns):
        # shifted, the sums below lose no digits; scaled, their squares neither overflow nor vanish
        np.subtract(batch.column(i).to_numpy(zero_copy_only=False), column.mean, out=values[i])
        values[i] /= column.std
    return values


def _pearson(n: Matrix, products: Matrix, sums: Matrix, squares: Matrix) -> Matrix:
    import numpy as np

    variances = n * squares - sums**2
    variances[variances <= _NO_VARIANCE * n * squares] = np.nan
    matrix = np.clip((n * products - sums * sums.T) / np.sqrt(variances * variances.T), -1.0, 1.0)
    diagonal = np.diagonal(matrix)
    np.fill_diagonal(matrix, np.where(np.isnan(diagonal), np.nan, 1.0))
    return matrix
