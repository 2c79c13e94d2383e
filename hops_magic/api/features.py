"""Feature groups and training datasets."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from hops_magic.api.context import Context
from hops_magic.api.plain import Number, Table, cell, seconds, shortened, table_of
from hops_magic.api.problems import refused
from hops_magic.api.routing import Limit, Name, Offset, Payload, Wanted, table
from hops_magic.features.dataset import Dataset
from hops_magic.features.model import Column, Commit, Group
from hops_magic.runs.inputs import FeatureInput
from hops_magic.settings import redacted

_MOST_BARS = 20
_MOST_IN_LISTS = 300

Commits = Annotated[int | None, Field(ge=0, le=2**31 - 1, description="Number of a commit; the newest by default.")]
FewRows = Annotated[int, Field(ge=0, le=500, description="Most rows of each kind.")]


class GroupRow(Payload):
    """A version of a feature group, as lists show it; times are seconds since the epoch."""

    name: str
    version: int
    full_name: str
    description: str
    tags: list[str]
    rows: int
    columns: int
    primary_key: list[str]
    event_time: str | None
    commit: int
    author: str
    created_at: float | None
    updated_at: float | None


class GroupPage(Payload):
    """Groups by name."""

    items: list[GroupRow]
    total: int


class Sketch(Payload):
    """A small distribution: the bars of a histogram, or the most frequent values."""

    labels: list[str]
    counts: list[int]


class Feature(Payload):
    """A column; ``null_share`` and ``sketch`` are those of the last commit that has statistics."""

    name: str
    type: str
    description: str
    is_key: bool
    is_event_time: bool
    null_share: Number
    sketch: Sketch | None


class GroupDetail(GroupRow):
    """All that the catalog knows of a version of a group."""

    features: list[Feature]
    versions: list[int]
    foreign_keys: list[str]
    partition_by: list[str]
    location: str
    rules: list[str]
    on_fail: str
    has_statistics: bool


class CommitRow(Payload):
    """One atomic change of a group's rows."""

    number: int
    at: float
    author: str
    operation: str
    rows_added: int
    rows_changed: int
    rows_removed: int
    rows: int
    source: str
    run_id: str


class CommitPage(Payload):
    """Commits, newest first."""

    items: list[CommitRow]
    total: int


class Hit(Payload):
    """A group (``column`` is empty) or a feature that a search found; ``text[start:end]`` is what matched."""

    full_name: str
    group: str
    version: int
    column: str
    type: str
    description: str
    where: str
    text: str
    start: int
    end: int


class HitPage(Payload):
    """What a search found, best first."""

    items: list[Hit]
    total: int


class StatisticsDocument(Payload):
    """Statistics of a group or split: ``rows``, ``columns`` with figures and histograms, ``correlation``."""

    statistics: dict[str, Any] | None


class DiffDocument(Payload):
    """What changed between two commits; tables hold the first rows, ``counts`` counts all."""

    before: int
    after: int
    counts: dict[str, int]
    added: Table
    changed: Table
    removed: Table


class DriftDocument(Payload):
    """How distributions changed between two commits: ``columns`` with PSI, KS and a verdict."""

    rows_before: int
    rows_after: int
    verdict: str
    columns: list[dict[str, Any]]


class RuleResult(Payload):
    """Whether a rule holds for the rows that a group has now."""

    rule: str
    passed: bool
    failing: int
    found: str
    samples: list[dict[str, float | int | bool | str | None]]


class ValidationDocument(Payload):
    """The rules of a group; ``quarantined`` rows were put aside by earlier writes."""

    on_fail: str
    rows: int
    quarantined: int
    results: list[RuleResult]


class GroupChange(Wanted):
    """What shall be said of a group; what is left out stays."""

    description: str | None = Field(default=None, max_length=20_000)
    tags: list[str] | None = Field(default=None, max_length=100)
    column_descriptions: dict[str, str] | None = None


class DatasetRow(Payload):
    """A version of a training dataset; ``rows`` of each split."""

    name: str
    version: int
    full_name: str
    description: str
    rows: dict[str, int]
    columns: int
    label: str | None
    file_format: str
    author: str
    created_at: float | None


class DatasetPage(Payload):
    """Training datasets by name, newest version first."""

    items: list[DatasetRow]
    total: int


class Source(Payload):
    """A version of a group at a commit, or a dataset, and the features that were read of it."""

    kind: str
    name: str
    version: int
    full_name: str
    commit: int | None
    features: list[str]


class DatasetDetail(DatasetRow):
    """All that is known of a version of a training dataset."""

    features: list[Feature]
    versions: list[int]
    sources: list[Source]
    names: list[str]
    location: str
    splits: dict[str, str]
    seed: int
    event_time: str | None


class Explained(Payload):
    """How features are joined: the columns that come back, and the statement that is run."""

    columns: list[str]
    groups: list[str]
    rows_before: int
    rows_after: int
    sql: str


@table.route("GET", "/groups", tag="features")
def list_groups(
    context: Context, *, text: Annotated[str, Field(max_length=500)] = "", limit: Limit = 50, offset: Offset = 0
) -> GroupPage:
    """List the latest versions of feature groups.

    With ``text`` only those whose name contains it.
    """
    catalog = context.features.catalog
    names = sorted(catalog.group_names(), key=str.casefold)
    if text:
        wanted = [name for name in names if text.casefold() in name.casefold()]
        found = [catalog.group(name) for name in wanted[offset : offset + limit]]
        return GroupPage(items=[group_row(group) for group in found if group is not None], total=len(wanted))
    groups = context.features.groups(limit=limit, offset=offset)
    return GroupPage(items=[group_row(group) for group in groups], total=len(names))


@table.route("GET", "/search", tag="features")
def search(
    context: Context,
    *,
    text: Annotated[str, Field(max_length=500, description="Words that a name, tag or description contains.")],
    limit: Limit = 50,
    offset: Offset = 0,
) -> HitPage:
    """Search groups and features."""
    shown, total = context.features.search_page(text, limit=limit, offset=offset)
    items = [
        Hit(
            full_name=hit.full_name,
            group=hit.group,
            version=hit.version,
            column=hit.column,
            type=hit.type,
            description=shortened(hit.description, _MOST_IN_LISTS),
            where=hit.where,
            text=hit.text[max(0, hit.start - 60) : hit.end + 120],
            start=min(hit.start, 60),
            end=min(hit.start, 60) + hit.end - hit.start,
        )
        for hit in shown
    ]
    return HitPage(items=items, total=total)


@table.route("GET", "/groups/{group}", tag="features")
def show_group(context: Context, group: Name) -> GroupDetail:
    """Show a feature group: ``name`` for its latest version, or ``name@version``."""
    store = context.features
    found = store.group(group)
    kept = store.catalog.statistics(found, found.commit)
    return GroupDetail(
        **group_row(found, whole=True).model_dump(),
        features=features_of(found.columns, kept, found),
        versions=[each.version for each in store.versions(found.name)],
        foreign_keys=[str(key) for key in found.foreign_keys],
        partition_by=list(found.partition_by),
        location=redacted(found.location),
        rules=[_rule_text(rule) for rule in found.rules],
        on_fail=found.on_fail,
        has_statistics=kept is not None,
    )


@table.route("PATCH", "/groups/{group}", tag="features")
def change_group(context: Context, group: Name, *, body: GroupChange) -> GroupRow:
    """Change what is said of a feature group; its rows stay."""
    changed = context.features.edit(
        group, description=body.description, tags=body.tags, column_descriptions=body.column_descriptions
    )
    context.changes.say(["features"])
    return group_row(changed)


@table.route("GET", "/groups/{group}/commits", tag="features", is_slow=True)
def list_commits(context: Context, group: Name, *, limit: Limit = 50, offset: Offset = 0) -> CommitPage:
    """List the commits of a feature group, newest first."""
    commits = context.features.history(group)
    return CommitPage(items=[_commit_row(commit) for commit in commits[offset : offset + limit]], total=len(commits))


@table.route("GET", "/groups/{group}/statistics", tag="features", is_slow=True)
def group_statistics(context: Context, group: Name, *, commit: Commits = None) -> StatisticsDocument:
    """Return the statistics of a feature group at a commit; computed now if that write left them out."""
    return StatisticsDocument(statistics=context.features.statistics(group, commit).to_json())


@table.route("GET", "/groups/{group}/preview", tag="features", is_slow=True)
def preview_group(
    context: Context,
    group: Name,
    *,
    columns: list[str] = [],  # noqa: B006 (never changed; the table of endpoints shows it)
    sort: Annotated[str, Field(max_length=500, description="A column; - before it for descending.")] = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 50,
    offset: Offset = 0,
) -> Table:
    """Return rows of a feature group, by its key or by a column."""
    from hops_magic.features.inspecting import page

    found, opened = context.features.opened(context.features.group(group))
    rows = page(found, opened, columns, limit=limit, offset=offset, sort=sort)
    return table_of(rows.table, rows.total)


@table.route("GET", "/groups/{group}/diff", tag="features", is_slow=True)
def diff_group(
    context: Context,
    group: Name,
    *,
    before: Annotated[int, Field(ge=0, le=2**31 - 1, description="Number of the earlier commit.")],
    after: Commits = None,
    limit: FewRows = 20,
) -> DiffDocument:
    """Compare the rows of a feature group at two commits."""
    found = context.features.diff(group, before, after, limit=limit)
    return DiffDocument(
        before=found.before,
        after=found.after,
        counts=dict(found.counts),
        added=table_of(found.added, found.counts["added"]),
        changed=table_of(found.changed, found.counts["changed"]),
        removed=table_of(found.removed, found.counts["removed"]),
    )


@table.route("GET", "/groups/{group}/drift", tag="features", is_slow=True)
def drift_of_group(
    context: Context,
    group: Name,
    *,
    before: Annotated[int, Field(ge=0, le=2**31 - 1, description="Number of the earlier commit.")],
    after: Commits = None,
) -> DriftDocument:
    """Compare the distributions of a group's features at two commits."""
    return DriftDocument(**context.features.drift(group, before, after).to_json())


@table.route("GET", "/groups/{group}/validation", tag="features", is_slow=True)
def validate_group(context: Context, group: Name) -> ValidationDocument:
    """Ask the rules of a feature group of the rows that it has now."""
    from hops_magic.features.inspecting import check_now
    from hops_magic.features.quarantine import rows_aside

    found, opened = context.features.opened(context.features.group(group))
    report = check_now(found, opened, datetime.datetime.now(datetime.UTC))
    aside = rows_aside(found)
    results = [
        RuleResult(
            rule=result.rule.name,
            passed=result.passed,
            failing=result.failing,
            found=result.found,
            samples=[{name: cell(value) for name, value in row.items()} for row in result.samples],
        )
        for result in (report.results if report else ())
    ]
    return ValidationDocument(on_fail=found.on_fail, rows=found.rows, quarantined=aside, results=results)


@table.route("GET", "/groups/{group}/quarantine", tag="features", is_slow=True)
def quarantined_rows(context: Context, group: Name, *, limit: FewRows = 50, offset: Offset = 0) -> Table:
    """Return rows of a feature group that broke a rule and were put aside."""
    rows = context.features.quarantined(group, "arrow")
    return table_of(rows.slice(offset, limit), rows.num_rows)


@table.route("GET", "/explain", tag="features", is_slow=True)
def explain(
    context: Context,
    *,
    names: Annotated[list[str], Field(min_length=1, max_length=2_000, description="Features, as for %features get.")],
    allow_fanout: bool = False,
) -> Explained:
    """Tell how features would be joined."""
    from hops_magic.features.store import request_of

    told = context.features.explain(request_of(*names, allow_fanout=allow_fanout))
    return Explained(
        columns=[output.name for output in told.plan.outputs],
        groups=sorted(group.full_name for group in told.plan.groups.values()),
        rows_before=told.rows_before,
        rows_after=told.rows_after,
        sql=told.sql,
    )


@table.route("GET", "/datasets", tag="features")
def list_datasets(
    context: Context, *, text: Annotated[str, Field(max_length=500)] = "", limit: Limit = 50, offset: Offset = 0
) -> DatasetPage:
    """List the training datasets."""
    found = [each for each in context.features.catalog.datasets.outlines() if text.casefold() in each.name.casefold()]
    return DatasetPage(items=[dataset_row(each) for each in found[offset : offset + limit]], total=len(found))


@table.route("GET", "/datasets/{dataset}", tag="features")
def show_dataset(context: Context, dataset: Name) -> DatasetDetail:
    """Show a training dataset: ``name`` for its latest version, or ``name@version``."""
    found = context.features.dataset(dataset)
    largest = max(found.rows, key=lambda split: found.rows[split], default="")
    return DatasetDetail(
        **dataset_row(found).model_dump(),
        features=features_of(found.columns, found.statistics.get(largest), None),
        versions=[each.version for each in context.features.catalog.datasets.outlines() if each.name == found.name],
        sources=sources_of(found.sources),
        names=list(found.recipe.names),
        location=redacted(found.location),
        splits={
            **{name: f"{share:g}" for name, share in found.recipe.shares.items()},
            **{name: f"until {end}" if end else "the rest" for name, end in found.recipe.ends.items()},
        },
        seed=found.recipe.seed,
        event_time=found.recipe.event_time,
    )


@table.route("GET", "/datasets/{dataset}/statistics", tag="features")
def dataset_statistics(
    context: Context, dataset: Name, *, split: Annotated[str, Field(max_length=200)] = ""
) -> StatisticsDocument:
    """Return the statistics of a split of a training dataset; of its first if none is said."""
    found = context.features.dataset(dataset)
    return StatisticsDocument(statistics=found.statistics.get(_split_of(found, split)))


@table.route("GET", "/datasets/{dataset}/preview", tag="features", is_slow=True)
def preview_dataset(
    context: Context,
    dataset: Name,
    *,
    split: Annotated[str, Field(max_length=200)] = "",
    limit: Annotated[int, Field(ge=1, le=500)] = 50,
    offset: Offset = 0,
) -> Table:
    """Return rows of a split of a training dataset, in the order of its files."""
    from hops_magic.features.dataset_files import some_rows

    found = context.features.dataset(dataset)
    part = _split_of(found, split)
    return table_of(some_rows(found, part, limit, offset), found.rows[part])


def group_row(group: Group, *, whole: bool = False) -> GroupRow:
    """Return a group as lists show it."""
    return GroupRow(
        name=group.name,
        version=group.version,
        full_name=group.full_name,
        description=group.description if whole else shortened(group.description, _MOST_IN_LISTS),
        tags=[shortened(tag, _MOST_IN_LISTS) for tag in group.tags],
        rows=group.rows,
        columns=len(group.columns),
        primary_key=list(group.primary_key),
        event_time=group.event_time,
        commit=group.commit,
        author=group.author,
        created_at=seconds(group.created_at),
        updated_at=seconds(group.updated_at),
    )


def dataset_row(dataset: Dataset) -> DatasetRow:
    """Return a training dataset as lists show it."""
    return DatasetRow(
        name=dataset.name,
        version=dataset.version,
        full_name=dataset.full_name,
        description=shortened(dataset.description, _MOST_IN_LISTS),
        rows=dict(dataset.rows),
        columns=len(dataset.columns),
        label=dataset.recipe.label,
        file_format=dataset.recipe.file_format,
        author=dataset.author,
        created_at=seconds(dataset.created_at),
    )


def sources_of(inputs: Iterable[FeatureInput]) -> list[Source]:
    """Return what a dataset or a run was made from."""
    return [
        Source(
            kind=str(each.kind),
            name=each.name,
            version=each.version,
            full_name=each.full_name,
            commit=each.commit,
            features=list(each.features),
        )
        for each in inputs
    ]


def features_of(columns: Sequence[Column], statistics: Mapping[str, Any] | None, group: Group | None) -> list[Feature]:
    """Return columns with their small distributions."""
    known = {column["name"]: column for column in (statistics or {}).get("columns", ())}
    rows = (statistics or {}).get("rows") or 0
    return [
        Feature(
            name=column.name,
            type=column.type,
            description=shortened(column.description),
            is_key=group is not None and column.name in group.primary_key,
            is_event_time=group is not None and column.name == group.event_time,
            null_share=known[column.name]["nulls"] / rows if rows and column.name in known else None,
            sketch=sketch_of(known.get(column.name)),
        )
        for column in columns
    ]


def sketch_of(column: Mapping[str, Any] | None) -> Sketch | None:
    """Return the small distribution of a column's statistics, in their JSON form."""
    if column is None:
        return None
    if column["histogram"]:
        edges, counts = column["histogram"]["edges"], column["histogram"]["counts"]
        labels = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
        return Sketch(labels=_texts(labels), counts=list(counts)[:_MOST_BARS])
    top = column["top"]
    return Sketch(labels=_texts(value["value"] for value in top), counts=[value["count"] for value in top]) if top else None


def _texts(values: Iterable[Any]) -> list[str]:
    return [shortened(str(value), 100) for value in values][:_MOST_BARS]


def _rule_text(rule: Mapping[str, Any]) -> str:
    from hops_magic.features.rules import Rule

    return str(Rule.from_json(rule))


def _commit_row(commit: Commit) -> CommitRow:
    return CommitRow(
        number=commit.number,
        at=commit.at.timestamp(),
        author=commit.author,
        operation=commit.operation.value,
        rows_added=commit.rows_added,
        rows_changed=commit.rows_changed,
        rows_removed=commit.rows_removed,
        rows=commit.rows,
        source=commit.source,
        run_id=commit.run_id,
    )


def _split_of(dataset: Dataset, split: str) -> str:
    part = split or next(iter(dataset.rows))
    if part not in dataset.rows:
        raise refused("not-found", f"{dataset.full_name} has no split {part[:80]!r}: it has {', '.join(dataset.rows)}")
    return part
