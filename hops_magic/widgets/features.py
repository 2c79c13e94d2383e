"""The feature store in tables and pages."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from hops_magic.errors import counted
from hops_magic.widgets.plain import one_line
from hops_magic.widgets.records import inputs_table, when
from hops_magic.widgets.tables import Cell, Code, Column, Page, Part, Table

if TYPE_CHECKING:
    import pyarrow as pa

    from hops_magic.features.comparing import Difference
    from hops_magic.features.finding import Match
    from hops_magic.features.model import Commit, Group
    from hops_magic.features.planner import Join, Plan
    from hops_magic.features.reading import Explanation
    from hops_magic.features.rules import Rule
    from hops_magic.features.training_dataset import Dataset
    from hops_magic.lineage import Use

SHOWN_ROWS = 100
_SHOWN_COLUMNS = 60


def _columns(*titles: str, numbers: Sequence[str] = ()) -> list[Column]:
    return [Column(title=title, is_number=title in numbers) for title in titles]


def groups_table(groups: Sequence[Group], note: str = "") -> Table:
    """Feature groups, by name."""
    rows = [
        [
            Cell(group.full_name, is_strong=True),
            Cell(f"{group.rows:,}"),
            Cell(str(len(group.columns))),
            Cell(", ".join(group.primary_key) + (f" at {group.event_time}" if group.event_time else "")),
            Cell(_when(group.updated_at)),
            Cell(", ".join(group.tags)),
            Cell(group.description),
        ]
        for group in groups
    ]
    columns = _columns("Group", "Rows", "Columns", "Key", "Written", "Tags", "Description", numbers=("Rows", "Columns"))
    empty = "no feature groups yet: %features save VARIABLE --group NAME --key COLUMN makes one"
    return Table(columns=columns, rows=rows, note=note, empty=empty)


@dataclass(frozen=True)
class Marked(Cell):
    """A cell of which a part is marked."""

    start: int = 0
    end: int = 0

    def html(self, limit: int) -> str:
        before, marked, after = self.text[: self.start], self.text[self.start : self.end], self.text[self.end :]
        pieces = [
            escape(one_line(piece, limit)) if piece.strip() else escape(piece[:1]) for piece in (before, marked, after)
        ]
        return f"{pieces[0]}<mark style='background:#fde68a;color:#111'>{pieces[1]}</mark>{pieces[2]}"


def matches_table(matches: Sequence[Match]) -> Table:
    """What a search found, the part that matched marked."""
    rows = [
        [
            Cell(match.full_name, is_strong=True),
            Cell(match.type if match.column else "group"),
            Cell(match.where),
            Marked(match.text, start=match.start, end=match.end),
            Cell(match.description),
        ]
        for match in matches
    ]
    return Table(columns=_columns("Name", "Type", "Found in", "Match", "Description"), rows=rows, empty="nothing matches")


def group_page(group: Group, versions: Sequence[Group]) -> Page:
    """What is known of a group."""
    facts = {
        "description": group.description,
        "key": ", ".join(group.primary_key),
        "event time": group.event_time or "",
        "foreign keys": ", ".join(map(str, group.foreign_keys)),
        "partitioned by": ", ".join(group.partition_by),
        "rows": f"{group.rows:,}",
        "last commit": f"{group.commit}, {_when(group.updated_at)}",
        "made": f"{_when(group.created_at)} by {group.author}",
        "tags": ", ".join(group.tags),
        "versions": ", ".join(each.full_name for each in versions),
        "place": group.location,
    }
    rows = [[Cell(name), Cell(fact)] for name, fact in facts.items() if fact]
    parts: list[Part] = [Table(columns=_columns("", ""), rows=rows, title=group.full_name)]
    columns = [
        [Cell(column.name, is_strong=True), Cell(column.type), Cell(_role(column.name, group)), Cell(column.description)]
        for column in group.columns
    ]
    parts.append(Table(columns=_columns("Column", "Type", "Role", "Description"), rows=columns))
    if group.rules:
        from hops_magic.features.rules import Rule

        parts.append(rules_table([Rule.from_json(rule) for rule in group.rules], group))
    return Page(parts)


def _role(name: str, group: Group) -> str:
    foreign = [f"key of {key.group}" for key in group.foreign_keys if name in key.columns]
    own = ["key"] if name in group.primary_key else ["event time"] if name == group.event_time else []
    return ", ".join(own + foreign)


def rules_table(rules: Sequence[Rule], group: Group) -> Table:
    """Rules of a group."""
    rows = [[Cell(rule.name, is_strong=True), Cell(rule.describe())] for rule in rules]
    does = {
        "reject": "is refused",
        "quarantine": "is written without these rows, which are put aside",
        "warn": "is written all the same",
    }
    note = f"a write whose rows break a rule {does[group.on_fail]}"
    empty = f"{group.full_name} has no rules: %features rule {group.name} add not_null {group.columns[0].name}"
    return Table(columns=_columns("Rule", "Meaning"), rows=rows, title=f"Rules of {group.full_name}", note=note, empty=empty)


def history_table(commits: Sequence[Commit]) -> Table:
    """Commits, newest first."""
    rows = [
        [
            Cell(str(commit.number), is_strong=True),
            Cell(commit.operation.value),
            Cell(_when(commit.at)),
            Cell(commit.author),
            *[
                Cell(f"{count:,}" if count else "")
                for count in (commit.rows_added, commit.rows_changed, commit.rows_removed)
            ],
            Cell(f"{commit.rows:,}"),
            Cell(commit.run_id or commit.source),
        ]
        for commit in commits
    ]
    numbers = ("Added", "Changed", "Removed", "Rows")
    return Table(columns=_columns("Commit", "Operation", "When", "By", *numbers, "From", numbers=numbers), rows=rows)


def explanation_page(told: Explanation) -> Page:
    """How a request is answered."""
    plan = told.plan
    rows = []
    if plan.base is not None:
        rows.append([Cell(plan.base.full_name, is_strong=True), Cell("base"), *_read(told, "g0")])
    elif plan.spine is not None:
        rows.append([Cell("spine", is_strong=True), Cell("base"), Cell(""), Cell(f"{told.rows_before:,}")])
    rows += [
        [Cell(join.group.full_name, is_strong=True), Cell(_how(join, plan)), *_read(told, join.alias)] for join in plan.joins
    ]
    note = f"{counted(told.rows_before, 'row')} before the joins, {counted(told.rows_after, 'row')} after"
    table = Table(columns=_columns("Source", "Joined", "Commit", "Rows", numbers=("Rows",)), rows=rows, note=note, limit=200)
    outputs = [
        [Cell(output.name, is_strong=True), Cell(f"{output.group.full_name}.{output.column.name}"), Cell(output.column.type)]
        for output in plan.outputs
    ]
    return Page([table, Table(columns=_columns("Column", "From", "Type"), rows=outputs), Code(title="SQL", code=told.sql)])


def _read(told: Explanation, alias: str) -> list[Cell]:
    return [Cell(str(told.commits[alias])), Cell(f"{told.rows[alias]:,}")]


def _how(join: Join, plan: Plan) -> str:
    left = ", ".join(pair.right if pair.left == pair.right else f"{pair.right} = {pair.left}" for pair in join.on)
    moment = {"as of": f", the last one known at {plan.event_time}", "latest": ", the latest one", "only": ""}[
        join.moment.value
    ]
    shared = " (shared name)" if plan.is_by_name(join) else ""
    return f"left, on {left}{shared}{moment}{'' if join.is_unique else ', several rows each'}"


def difference_page(difference: Difference) -> Page:
    """What changed between two commits."""
    counts = ", ".join(f"{count:,} {what}" for what, count in difference.counts.items())
    head = f"{difference.group.full_name}, commit {difference.before} to {difference.after}: {counts}"
    parts: list[Part] = [Table(columns=[], rows=[], empty=head)]
    for what in ("added", "changed", "removed"):
        table: pa.Table = getattr(difference, what)
        if table.num_rows:
            parts.append(rows_table(table, title=f"{what}, {table.num_rows:,} of {difference.counts[what]:,}"))
    return Page(parts)


def uses_table(uses: Sequence[Use]) -> Table:
    """What comes from a group, feature or dataset."""
    rows = [
        [
            Cell(use.name, is_strong=True),
            Cell(use.kind.value),
            Cell(use.through),
            Cell(", ".join(use.features)),
            Cell(when(use.at)),
        ]
        for use in uses
    ]
    empty = "nothing was made from it, as far as was recorded"
    return Table(columns=_columns("Name", "Kind", "From", "Features", "When"), rows=rows, empty=empty)


def datasets_table(datasets: Sequence[Dataset]) -> Table:
    """Training datasets, by name, newest version first."""
    rows = [
        [
            Cell(dataset.full_name, is_strong=True),
            Cell(", ".join(f"{split} {count:,}" for split, count in dataset.rows.items())),
            Cell(str(len(dataset.columns))),
            Cell(", ".join(source.full_name for source in dataset.sources)),
            Cell(dataset.recipe.file_format),
            Cell(_when(dataset.created_at)),
            Cell(dataset.description),
        ]
        for dataset in datasets
    ]
    columns = _columns("Dataset", "Rows", "Columns", "From", "Format", "Made", "Description", numbers=("Columns",))
    empty = "no training datasets yet: %features dataset create NAME FEATURE ... makes one"
    return Table(columns=columns, rows=rows, empty=empty)


def dataset_page(dataset: Dataset) -> Page:
    """What is known of a training dataset."""
    recipe = dataset.recipe
    facts = {
        "description": dataset.description,
        "rows": ", ".join(f"{split} {count:,}" for split, count in dataset.rows.items()),
        "label": recipe.label or "",
        "split": ", ".join(f"{name}={share:g}" for name, share in recipe.shares.items())
        or ", ".join(f"{name} until {end or 'the end'}" for name, end in recipe.ends.items()),
        "seed": str(recipe.seed) if len(recipe.shares) > 1 else "",
        "joined by": ", ".join(recipe.on),
        "rows of": "a spine, kept with the dataset" if recipe.has_spine else "",
        "made": f"{_when(dataset.created_at)} by {dataset.author}",
        "files": f"{counted(len(dataset.checksums), 'file')} of {recipe.file_format} in {dataset.location}",
    }
    rows = [[Cell(name), Cell(fact)] for name, fact in facts.items() if fact]
    table = Table(columns=_columns("", ""), rows=rows, title=dataset.full_name, limit=160)
    return Page([table, inputs_table(dataset.sources)])


def rows_table(table: pa.Table, title: str = "", limit: int = SHOWN_ROWS, total: int | None = None) -> Table:
    """The first rows of a table, with the types of its columns; of ``total`` rows, if these are not all."""
    import pyarrow as pa

    total = table.num_rows if total is None else total
    shown = table.slice(0, limit).select(table.column_names[:_SHOWN_COLUMNS])
    columns = [
        Column(
            title=f"{item.name} ({item.type})", is_number=pa.types.is_integer(item.type) or pa.types.is_floating(item.type)
        )
        for item in shown.schema
    ]
    values = [column.to_pylist() for column in shown.columns]
    rows = [[_cell(value) for value in row] for row in zip(*values, strict=True)]
    more = []
    if total > shown.num_rows:
        more.append(f"{total - shown.num_rows:,} more rows")
    if table.num_columns > shown.num_columns:
        more.append(f"{table.num_columns - shown.num_columns:,} more columns")
    return Table(columns=columns, rows=rows, title=title, note=", ".join(more), empty="no rows")


def shape_of(value: Any, kind: str) -> str:
    """``30 rows of 2 columns, pandas DataFrame``; without rows where they are not known yet."""
    if hasattr(value, "npartitions"):
        return f"{counted(len(value.columns), 'column')} in {counted(value.npartitions, 'partition')}, {kind}"
    if hasattr(value, "num_rows"):
        return f"{counted(value.num_rows, 'row')} of {counted(value.num_columns, 'column')}, {kind}"
    rows, columns = value.shape
    return f"{counted(rows, 'row')} of {counted(columns, 'column')}, {kind}"


@dataclass(frozen=True)
class Null(Cell):
    """A cell without a value, told from one that holds an empty text."""

    def html(self, limit: int) -> str:
        return f"<span style='opacity:.5'>{escape(one_line(self.text, limit))}</span>"


def _cell(value: Any) -> Cell:
    return Null("null") if value is None else Cell(_value(value))


def _value(value: Any) -> str:
    if isinstance(value, float):
        # a year or a number of something is read digit by digit
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")
    return str(value)


def _when(at: datetime.datetime | None) -> str:
    return "" if at is None else when(at.timestamp())
