"""Whether a table's columns still look as they did, from all rows.

A verdict needs an effect and evidence for it: the population stability index says how much, the Kolmogorov-Smirnov and
chi-squared tests whether chance alone makes such a difference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hops_magic.features.correlation import one_blas_thread
from hops_magic.features.drift_evidence import AT_ONCE, Bin, chi_squared, kolmogorov_smirnov, psi
from hops_magic.features.engine import rows_of
from hops_magic.features.figures import Value, moments, shown
from hops_magic.features.model import Column
from hops_magic.features.sql import quoted
from hops_magic.features.values import Field, Kind, Sorted, fields_of, nulls_in, over_sorted, rows_in

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt

MODERATE_PSI, DRIFTED_PSI = 0.1, 0.25
# one false alarm in a hundred weeks of hourly comparisons of a feature
MOST_CHANCE = 0.01 / (7 * 24)
# of fewer, half a standard deviation is missed once in fifty comparisons or more
FEWEST_ROWS = 200
BINS = 10
MOST_CATEGORIES = 20
_MOST_CHARS = 200


class Verdict(StrEnum):
    """What to think of a column.

    By its population stability index: below 0.1 nothing to speak of, below 0.25 some change, else another population
    (N. Siddiqi, Credit Risk Scorecards, 2006, section 10; the index is the symmetric divergence of Kullback and Leibler).
    Only where a test finds that chance alone would hardly make such a difference (p < 0.01 / 168), and of at least 200
    rows on either side: two draws of 30 rows differ by more than 0.25 as a rule.
    """

    STABLE = "stable"
    MODERATE = "moderate"
    DRIFTED = "drifted"
    NEW = "new"
    MISSING = "missing"
    TYPE_CHANGED = "type changed"
    TOO_FEW_ROWS = "too few rows"
    UNKNOWN = "unknown"

    @property
    def severity(self) -> int:
        """0 for no reason to look, 2 for a model that should not be trusted with the column."""
        return {Verdict.NEW: 1, Verdict.MODERATE: 1, Verdict.DRIFTED: 2, Verdict.MISSING: 2, Verdict.TYPE_CHANGED: 2}.get(
            self, 0
        )


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """One column, before and after.

    Attributes
    ----------
    type_before, type_after : str
        The engine's types; empty where there is no such column.
    psi : float, optional
        Over tenths of the values before (strings: the 20 most frequent and all others), with nulls as a bin of their own.
    ks, p_value : float, optional
        Largest distance of the two cumulative distributions, and how likely one that large is without a change
        (asymptotic). Of numbers and times; NaN counts as null.
    chance : float, optional
        How likely differences as clear as these are without a change: the p-value of a chi-squared test of the bins, those
        with few rows taken together; of numbers and times the smaller of it and the Kolmogorov-Smirnov test's, doubled
        for the two looks. A change is told below 0.01 / 168.
    nulls_before, nulls_after : float
        Shares of the rows.
    mean_before, mean_after : optional
        Of the finite values; times as ISO text.
    mean_shift : float, optional
        From before to after, in standard deviations of before.
    bins : tuple of Bin
        What the index is the sum over.
    """

    name: str
    verdict: Verdict
    kind: Kind = Kind.OTHER
    type_before: str = ""
    type_after: str = ""
    psi: float | None = None
    ks: float | None = None
    p_value: float | None = None
    chance: float | None = None
    nulls_before: float | None = None
    nulls_after: float | None = None
    mean_before: Value = None
    mean_after: Value = None
    mean_shift: float | None = None
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Drift:
    """All columns, in their order."""

    rows_before: int
    rows_after: int
    columns: tuple[ColumnDrift, ...]

    @property
    def verdict(self) -> Verdict:
        """That of the column that changed most."""
        return max(
            (column.verdict for column in self.columns), key=lambda verdict: verdict.severity, default=Verdict.UNKNOWN
        )

    def column(self, name: str) -> ColumnDrift | None:
        """Return a column by its exact name."""
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without NaN."""
        return {**asdict(self), "verdict": str(self.verdict)}


def drift(connection: duckdb.DuckDBPyConnection, before: str, after: str, columns: Sequence[Column]) -> Drift:
    """Compare the columns of two tables or views. Exact; 16 bytes a row of the column at hand are in memory."""
    old = {field.name: field for field in fields_of(connection, before, columns)}
    new = {field.name: field for field in fields_of(connection, after, columns)}
    tables = _Tables(connection=connection, before=before, after=after, old=old, new=new)
    same = [name for name in old if name in new and old[name].kind is new[name].kind]
    with one_blas_thread():
        found = dict(_ordered(tables, [name for name in same if old[name].kind.is_ordered]))
    found.update({name: _unordered(tables, name) for name in same if not old[name].kind.is_ordered})
    found.update({name: tables.told(name, Verdict.TYPE_CHANGED) for name in old if name in new and name not in same})
    found.update({name: tables.told(name, Verdict.MISSING) for name in old if name not in new})
    found.update({name: tables.told(name, Verdict.NEW) for name in new if name not in old})
    return Drift(
        rows_before=tables.rows_before,
        rows_after=tables.rows_after,
        columns=tuple(found[column.name] for column in columns if column.name in found),
    )


def judge(bins: Sequence[Bin], rows_before: int, rows_after: int, chance: float) -> Verdict:
    """Return what a column's bins say, given how likely its differences are without a change."""
    if min(rows_before, rows_after) < FEWEST_ROWS:
        return Verdict.TOO_FEW_ROWS if rows_before and rows_after else Verdict.UNKNOWN
    if chance >= MOST_CHANCE:
        return Verdict.STABLE
    index = psi(bins)
    return Verdict.STABLE if index < MODERATE_PSI else Verdict.MODERATE if index < DRIFTED_PSI else Verdict.DRIFTED


class _Tables:
    """The two tables, and what is counted of both once."""

    def __init__(
        self,
        *,
        connection: duckdb.DuckDBPyConnection,
        before: str,
        after: str,
        old: Mapping[str, Field],
        new: Mapping[str, Field],
    ) -> None:
        self.connection, self.before, self.after, self.old, self.new = connection, before, after, old, new
        self.rows_before, self.rows_after = rows_in(connection, before), rows_in(connection, after)
        self._nulls_before = nulls_in(connection, before, list(old.values()))
        self._nulls_after = nulls_in(connection, after, list(new.values()))

    def nulls(self, name: str) -> tuple[int, int]:
        """Rows without a value before and after."""
        return self._nulls_before.get(name, 0), self._nulls_after.get(name, 0)

    def told(
        self,
        name: str,
        verdict: Verdict | None,
        bins: Sequence[Bin] = (),
        *,
        tested: Sequence[Bin] = (),
        **more: Any,
    ) -> ColumnDrift:
        """Put together what is known of a column; without a verdict the bins and the tests decide.

        The chi-squared test is of other bins than the index where they are given.
        """
        old, new = self.old.get(name), self.new.get(name)
        nulls, rows = self.nulls(name), (self.rows_before, self.rows_after)
        is_comparable = bool(bins and all(rows))
        chance = chi_squared(tested or bins, *rows) if is_comparable else None
        if chance is not None and more.get("p_value") is not None:
            chance = min(1.0, 2 * min(chance, more["p_value"]))
        shares = {
            "nulls_before": nulls[0] / self.rows_before if old and self.rows_before else None,
            "nulls_after": nulls[1] / self.rows_after if new and self.rows_after else None,
        }
        return ColumnDrift(
            name=name,
            verdict=verdict or judge(bins, *rows, 1.0 if chance is None else chance),
            kind=new.kind if new else old.kind if old else Kind.OTHER,
            type_before=old.stored if old else "",
            type_after=new.stored if new else "",
            psi=psi(bins) if is_comparable else None,
            chance=chance,
            bins=tuple(bins),
            **{**shares, **more},
        )

    def bin(self, label: str, before: int, after: int) -> Bin:
        """Return counts as shares of the rows."""
        return Bin(label=label, before=before / max(1, self.rows_before), after=after / max(1, self.rows_after))


def _ordered(tables: _Tables, names: Sequence[str]) -> Iterator[tuple[str, ColumnDrift]]:
    def values(_: Field, column: Sorted) -> Sorted:
        return column

    old, new = [tables.old[name] for name in names], [tables.new[name] for name in names]
    pairs = zip(
        old,
        new,
        over_sorted(tables.connection, tables.before, old, tables.rows_before, values),
        over_sorted(tables.connection, tables.after, new, tables.rows_after, values),
        strict=True,
    )
    for field, later, was, now in pairs:
        yield field.name, _ordered_column(tables, field, later, was, now)


def _ordered_column(tables: _Tables, field: Field, later: Field, was: Sorted, now: Sorted) -> ColumnDrift:
    ks, p_value = kolmogorov_smirnov(was, now)
    mean_before, std = moments(was.values)
    mean_after, _ = moments(now.values)
    shift = (mean_after - mean_before) / std if mean_before is not None and mean_after is not None and std else None
    return tables.told(
        field.name,
        None,
        _bins(tables, field, was, now, of=was.values),
        tested=_bins(tables, field, was, now, of=_pooled(was, now)),
        ks=ks,
        p_value=p_value,
        nulls_before=(was.nulls + was.nan) / was.rows if was.rows else None,
        nulls_after=(now.nulls + now.nan) / now.rows if now.rows else None,
        mean_before=shown(mean_before, field),
        mean_after=shown(mean_after, later),
        mean_shift=shift,
    )


def _pooled(was: Sorted, now: Sorted) -> npt.NDArray[np.float64 | np.int64]:
    """Return values of both tables in order: tenths of one alone fit it too well for the test."""
    import numpy as np

    step = max(1, (len(was.values) + len(now.values)) // AT_ONCE)
    return np.sort(np.concatenate((was.values[::step], now.values[::step])))


def _bins(tables: _Tables, field: Field, was: Sorted, now: Sorted, *, of: npt.NDArray[np.float64 | np.int64]) -> list[Bin]:
    """Tenths of some values, fewer where values repeat; each bin has its right edge."""
    import numpy as np

    tenths = [math.ceil(len(of) * i / BINS) - 1 for i in range(1, BINS)]
    edges = np.unique(of[[place for place in tenths if place >= 0]])
    if not len(edges) and any(each.below or each.above for each in (was, now)):
        counts = [np.array([each.below, len(each.values), each.above]) for each in (was, now)]
        return _labelled(tables, ["-inf", "finite", "inf"], counts, was, now)
    counts = [
        np.diff(
            np.concatenate(
                ([-each.below], np.searchsorted(each.values, edges, side="right"), [len(each.values) + each.above])
            )
        )
        for each in (was, now)
    ]
    told = [_edge(edge, field) for edge in edges.tolist()]
    labels = [f"≤ {told[0]}", *(f"{a} to {b}" for a, b in itertools.pairwise(told)), f"> {told[-1]}"] if told else ["any"]
    return _labelled(tables, labels, counts, was, now)


def _labelled(
    tables: _Tables, labels: list[str], counts: list[npt.NDArray[np.int64]], was: Sorted, now: Sorted
) -> list[Bin]:
    bins = [tables.bin(label, int(a), int(b)) for label, a, b in zip(labels, *counts, strict=True)]
    return [*bins, tables.bin("null", was.nulls + was.nan, now.nulls + now.nan)]


def _edge(edge: float, field: Field) -> str:
    return str(shown(edge, field)) if field.kind is Kind.TIME or isinstance(edge, int) else f"{edge:.4g}"


def _unordered(tables: _Tables, name: str) -> ColumnDrift:
    nulls = tables.nulls(name)
    null_bin = tables.bin("null", *nulls)
    known = (tables.rows_before - nulls[0], tables.rows_after - nulls[1])
    if tables.old[name].kind is Kind.OTHER:
        of_nulls = tables.told(name, None, [tables.bin("any", *known), null_bin])
        # nothing is known of the values themselves
        return replace(of_nulls, verdict=Verdict.UNKNOWN) if of_nulls.verdict is Verdict.STABLE else of_nulls
    rows = _categories(tables, name)

    def cells(which: str) -> list[Bin]:
        chosen = [row for row in rows if row[which] <= MOST_CATEGORIES]
        others = (known[0] - sum(row["before"] for row in chosen), known[1] - sum(row["after"] for row in chosen))
        bins = [tables.bin(str(row["value"])[:_MOST_CHARS], row["before"], row["after"]) for row in chosen]
        return [*bins, tables.bin("other", *others), null_bin]

    return tables.told(name, None, cells("place_before"), tested=cells("place_in_both"))


def _categories(tables: _Tables, name: str) -> list[dict[str, Any]]:
    """Count the most frequent values, equally frequent ones in their order.

    The index is of those that were most frequent before; the test of those that are in both tables together: values that
    were chosen for being frequent in one draw are less so in the next.
    """
    old, new = tables.old[name].expression, tables.new[name].expression

    def counts(table: str, expression: str) -> str:
        return f"""
            SELECT CAST({expression} AS VARCHAR) AS value, count(*) AS n FROM {quoted(table)}
            WHERE {quoted(name)} IS NOT NULL GROUP BY 1"""

    return rows_of(
        tables.connection,
        f"""
        WITH counted AS (
            SELECT value, coalesce(earlier.n, 0) AS before, coalesce(later.n, 0) AS after
            FROM ({counts(tables.before, old)}) earlier FULL JOIN ({counts(tables.after, new)}) later USING (value)
        ), placed AS (
            SELECT *,
                   row_number() OVER (ORDER BY before DESC, value) + if(before = 0, {MOST_CATEGORIES}, 0) AS place_before,
                   row_number() OVER (ORDER BY before + after DESC, value) AS place_in_both
            FROM counted
        )
        SELECT * FROM placed WHERE least(place_before, place_in_both) <= {MOST_CATEGORIES} ORDER BY place_before
        """,
    )
