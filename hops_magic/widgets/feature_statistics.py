"""Statistics of a feature group and its drift, as pages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from hops_magic.errors import counted
from hops_magic.widgets import feature_pictures as pictures
from hops_magic.widgets import words
from hops_magic.widgets.feature_pictures import percent
from hops_magic.widgets.plain import one_line
from hops_magic.widgets.tables import FONT, MAX_CELL, Cell, Column, Page, Part, Table

if TYPE_CHECKING:
    from hops_magic.features import model
    from hops_magic.features.column_statistics import ColumnStatistics, Correlation, Statistics
    from hops_magic.features.distribution_drift import ColumnDrift, Drift, Verdict

MAX_COLUMNS = 100
MAX_HEATMAP = 30
_SHOWN_VALUES = 3
_PAIRS = 5
_MAX_TYPE, _MAX_NAME = 28, 36
_FIGURES = ("Nulls", "Distinct", "Median", "Mean", "Std")


@dataclass(frozen=True)
class Drawn(Cell):
    """A cell with a picture, which in text says what the picture shows.

    Attributes
    ----------
    picture : str
        SVG.
    below : str
        A small line under it.
    is_beside : bool
        Whether the text stands beside the picture.
    """

    picture: str = ""
    below: str = ""
    is_beside: bool = False

    def html(self, limit: int) -> str:
        text = super().html(limit) if self.is_beside or not self.picture else ""
        # figures stay aligned at the right
        parts = "&nbsp; ".join(filter(None, (self.picture, text)))
        small = (
            f'<div style="opacity:.7;font-size:11px">{escape(one_line(self.below, MAX_CELL))}</div>' if self.below else ""
        )
        return parts + small


@dataclass(frozen=True, kw_only=True)
class Views:
    """The same facts as a table of pictures, and as one of text, where what stands under a picture has a column."""

    drawn: Table
    written: Table

    def html(self) -> str:
        """Return the table of pictures."""
        return self.drawn.html()

    def text(self) -> str:
        """Return the table of text."""
        return self.written.text()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture under a title, and what it says in words."""

    title: str
    svg: str
    said: str
    note: str = ""

    def html(self) -> str:
        """Return title, picture and note."""
        note = f'<div style="opacity:.7">{escape(one_line(self.note, 300))}</div>' if self.note else ""
        return (
            f'<div style="{FONT};overflow-x:auto;max-width:100%"><div style="font-weight:600;margin:4px 0">'
            f"{escape(one_line(self.title))}</div>{self.svg or escape(self.said)}{note}</div>"
        )

    def text(self) -> str:
        """Return title and words."""
        return "\n".join(filter(None, (one_line(self.title), self.said, one_line(self.note, 300))))


def statistics_page(group_title: str, statistics: Statistics, columns: Sequence[model.Column]) -> Page:
    """Show the columns of a group with their distributions, and how numbers go together.

    Parameters
    ----------
    columns
        For their descriptions.
    """
    described = {column.name: column.description for column in columns}
    shown = statistics.columns[:MAX_COLUMNS]
    of_rows = statistics.sample_rows if statistics.is_sampled else statistics.rows
    facts = [
        counted(statistics.rows, "row"),
        counted(len(statistics.columns), "column"),
    ]
    notes = []
    if statistics.is_sampled:
        notes.append(
            f"Pictures, medians and correlation are of {statistics.sample_rows:,} rows drawn at random; the rest is of all."
        )
    if len(shown) < len(statistics.columns):
        notes.append(f"{len(statistics.columns) - len(shown)} more columns are not shown.")
    title, note = " · ".join(filter(None, [one_line(group_title, 80), *facts])), " ".join(notes)
    empty = f"{one_line(group_title, 80)} has no columns to tell of"
    drawn = Table(
        columns=[Column(title="Column"), Column(title="Distribution"), *(_number(title) for title in _FIGURES)],
        rows=[_drawn_row(column, described.get(column.name, ""), statistics.rows, of_rows) for column in shown],
        limit=_MAX_NAME,
        title=title,
        note=note,
        empty=empty,
    )
    written = Table(
        columns=[Column(title="Column"), Column(title="Type"), Column(title="Distribution")]
        + [_number(title) for title in (*_FIGURES, "Min", "Max")],
        rows=[_written_row(column, statistics.rows, of_rows) for column in shown],
        title=title,
        note=note,
        empty=empty,
    )
    parts: list[Part] = [Views(drawn=drawn, written=written)]
    if statistics.correlation is not None and len(statistics.correlation.names) > 1:
        parts.append(_correlation(statistics.correlation))
    return Page(parts)


def drift_page(drift: Drift) -> Page:
    """Show what changed between two tables, worst first."""
    from hops_magic.features.distribution_drift import FEWEST_ROWS, Verdict

    ordered = sorted(drift.columns, key=lambda column: (-column.verdict.severity, -(column.psi or 0.0)))
    shown = ordered[:MAX_COLUMNS]
    counts = {
        verdict: sum(column.verdict is verdict for column in drift.columns)
        for column in ordered
        for verdict in (column.verdict,)
    }
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no columns"
    note = (
        "In the pictures grey is before, colour is after. PSI below 0.1: stable, below 0.25: moderate, where chance makes "
        "differences as clear in fewer than 1 of 16,800 comparisons. KS: largest distance of the cumulative distributions."
    )
    if any(column.verdict is Verdict.TOO_FEW_ROWS for column in drift.columns):
        note = f"A verdict needs {FEWEST_ROWS} rows before and after. {note}"
    if len(shown) < len(ordered):
        note = f"{len(ordered) - len(shown)} more columns, which changed less, are not shown. {note}"
    table = Table(
        title=f"{told} · {drift.rows_before:,} rows before, {drift.rows_after:,} after",
        columns=[
            Column(title="Column"),
            Column(title="Verdict"),
            Column(title="PSI", is_number=True),
            Column(title="Before and after"),
            Column(title="KS", is_number=True),
            Column(title="Chance", is_number=True),
            Column(title="Nulls"),
            Column(title="Mean"),
            Column(title="Shift", is_number=True),
        ],
        rows=[_drift_row(column) for column in shown],
        limit=_MAX_NAME,
        note=note,
        empty="no columns to compare",
    )
    return Page([table])


def _drawn_row(column: ColumnStatistics, description: str, rows: int, of_rows: int) -> list[Cell]:
    nulls = column.nulls / rows if rows else 0.0
    below = " · ".join(filter(None, (one_line(column.type, _MAX_TYPE), description)))
    figures = _figures(column, rows)
    return [
        Drawn(column.name, is_strong=True, is_beside=True, below=below),
        _distribution(column, of_rows),
        Drawn(figures[0].text, picture=pictures.gauge(nulls) if nulls else "", is_beside=True),
        *figures[1:],
    ]


def _written_row(column: ColumnStatistics, rows: int, of_rows: int) -> list[Cell]:
    return [
        Cell(column.name),
        Cell(one_line(column.type, _MAX_TYPE)),
        _distribution(column, of_rows),
        *_figures(column, rows),
        Cell(value(column.min)),
        Cell(value(column.max)),
    ]


def _figures(column: ColumnStatistics, rows: int) -> list[Cell]:
    distinct = "" if column.distinct is None else f"{'≈ ' if column.is_distinct_estimate else ''}{column.distinct:,}"
    std = "" if column.std is None else duration(column.std) if isinstance(column.mean, str) else value(column.std)
    median = value(column.quantiles[3]) if column.quantiles else ""
    return [
        Cell(percent(column.nulls / rows if rows else 0.0)),
        Cell(distinct),
        Cell(median),
        Cell(_mean(column.mean)),
        Cell(std),
    ]


def _number(title: str) -> Column:
    return Column(title=title, is_number=True)


def _distribution(column: ColumnStatistics, of_rows: int) -> Cell:
    infinite = f"{column.infinite:,} infinite" if column.infinite else ""
    if column.histogram is not None:
        counts = column.histogram.counts
        total = sum(counts) or 1
        hints = [
            f"{value(low)} to {value(high)}: {count:,} ({percent(count / total)})"
            for (low, high), count in zip(itertools.pairwise(column.histogram.edges), counts, strict=True)
        ]
        ends = value(column.min) if column.min == column.max else f"{value(column.min)} to {value(column.max)}"
        return Drawn(
            pictures.blocks(counts),
            picture=pictures.histogram(counts, hints, f"histogram of {ends}"),
            below=" · ".join(filter(None, (ends, infinite))),
        )
    if column.top and of_rows:
        few = [(label(top.value), top.count / of_rows) for top in column.top[:_SHOWN_VALUES]]
        said = ", ".join(f"{name} {percent(share)}" for name, share in few)
        return Drawn(said, picture=pictures.shares(few, one_line(said)))
    return Cell(infinite)


def _correlation(correlation: Correlation) -> Picture:
    names, matrix = correlation.names, correlation.matrix
    pairs = sorted(
        ((row[j], i, j) for i, row in enumerate(matrix) for j in range(i) if row[j] is not None),
        key=lambda pair: -abs(pair[0] or 0.0),
    )
    said = "\n".join(
        f"{r:+.2f}  {one_line(names[j], 40)} and {one_line(names[i], 40)}" for r, i, j in pairs[:_PAIRS] if r is not None
    )
    chosen = [k for k in range(len(names)) if matrix[k][k] is not None]
    notes = []
    if len(chosen) > MAX_HEATMAP:
        strongest = list(dict.fromkeys(k for _, i, j in pairs for k in (i, j)))
        notes.append(f"The {MAX_HEATMAP} columns of {len(chosen)} with the strongest correlations.")
        chosen = sorted(strongest[:MAX_HEATMAP])
    if same := [one_line(name, 40) for k, name in enumerate(names) if matrix[k][k] is None]:
        notes.append(f"Not varying: {', '.join(same[:5])}{f' and {len(same) - 5} more' if len(same) > 5 else ''}.")
    if correlation.left_out:
        notes.append(f"{correlation.left_out} more columns of numbers were not compared.")
    svg = ""
    # one column alone goes together with nothing
    if len(chosen) > 1:
        svg = pictures.heatmap([names[k] for k in chosen], [[matrix[i][j] for j in chosen] for i in chosen])
    return Picture(title="Correlation", svg=svg, said=said or "no two columns vary together", note=" ".join(notes))


def _drift_row(column: ColumnDrift) -> list[Cell]:
    colour = _colour(column.verdict)
    kind = column.type_before
    if column.type_before != column.type_after:
        kind = " → ".join(filter(None, (column.type_before, column.type_after)))
    bins = [(each.label, each.before, each.after) for each in column.bins]
    picture = pictures.before_and_after(bins, colour, f"shares before and after of {len(bins)} bins") if bins else ""
    text = f"{pictures.blocks([bin[1] for bin in bins])} → {pictures.blocks([bin[2] for bin in bins])}" if bins else ""
    return [
        Drawn(column.name, is_strong=True, is_beside=True, below=kind.lower().replace('"', "")),
        Cell(str(column.verdict), colour=colour),
        Cell("" if column.psi is None else f"{column.psi:.3f}"),
        Drawn(text, picture=picture),
        Cell("" if column.ks is None else f"{column.ks:.3f}"),
        Cell("" if column.chance is None else "< 0.001" if column.chance < 0.001 else f"{column.chance:.3f}"),
        Cell(_change(*("" if share is None else percent(share) for share in (column.nulls_before, column.nulls_after)))),
        Cell(_change(_mean(column.mean_before), _mean(column.mean_after))),
        Cell("" if column.mean_shift is None else f"{column.mean_shift:+.2f} σ"),  # noqa: RUF001
    ]


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before or 'none'} → {after or 'none'}"


def _mean(data: bool | float | str | None) -> str:
    """Return a mean; seconds of a mean moment say nothing."""
    return value(data[:16] if isinstance(data, str) else data)


def _colour(verdict: Verdict) -> str:
    return (pictures.GREEN, pictures.AMBER, pictures.RED)[verdict.severity]


def value(data: bool | float | str | None) -> str:
    """Return a figure or a time as it is read: ``2013``, ``1,234,568``, ``0.0312``, ``2024-01-01 09:30``."""
    if data is None:
        return ""
    if isinstance(data, bool):
        return label(data)
    if isinstance(data, str):
        return moment(data)
    size = abs(data)
    if float(data).is_integer() and size < 1e12:
        # years and small numbers read better without commas
        return f"{data:.0f}" if size < 10_000 else f"{data:,.0f}"
    if 1e-3 <= size < 10_000:
        return f"{data:.4g}"
    return f"{data:,.0f}" if 1e6 <= size < 1e12 else words.figure(float(data))


def moment(text: str) -> str:
    """Return an ISO time without what is zero."""
    day, _, time = text.removesuffix("Z").partition("T")
    time = time.partition(".")[0].removesuffix(":00")
    return day if time in ("", "00:00") else f"{day} {time}"


def duration(seconds: float) -> str:
    """``93600`` -> ``1.08 d``."""
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:,.3g} {unit}"
    return f"{seconds:.3g} s"


def label(data: bool | float | str | None) -> str:
    """Return a frequent value as it is read."""
    if isinstance(data, bool):
        return "true" if data else "false"
    return data if isinstance(data, str) else value(data)
