"""Feature groups."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from hops_magic.api.columns import Feature, features_of
from hops_magic.api.context import Context
from hops_magic.api.plain import Table, cell, seconds, shortened, table_of
from hops_magic.api.routing import Limit, Name, Offset, Payload, Wanted, table
from hops_magic.features.model import Commit, Group
from hops_magic.settings import redacted

MOST_IN_LISTS = 300
"""Characters of a description in a list."""

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
            description=shortened(hit.description, MOST_IN_LISTS),
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
    on: Annotated[
        list[str], Field(max_length=100, description="Foreign keys by which groups are joined that have several ways.")
    ] = [],  # noqa: B006 (never changed; the table of endpoints shows it)
    allow_fanout: bool = False,
) -> Explained:
    """Tell how features would be joined."""
    from hops_magic.features.store import request_of

    told = context.features.explain(request_of(*names, on=on, allow_fanout=allow_fanout))
    return Explained(
        columns=[output.name for output in told.plan.outputs],
        groups=sorted({group.full_name for group in told.plan.groups.values()}),
        rows_before=told.rows_before,
        rows_after=told.rows_after,
        sql=told.sql,
    )


def group_row(group: Group, *, whole: bool = False) -> GroupRow:
    """Return a group as lists show it."""
    return GroupRow(
        name=group.name,
        version=group.version,
        full_name=group.full_name,
        description=group.description if whole else shortened(group.description, MOST_IN_LISTS),
        tags=[shortened(tag, MOST_IN_LISTS) for tag in group.tags],
        rows=group.rows,
        columns=len(group.columns),
        primary_key=list(group.primary_key),
        event_time=group.event_time,
        commit=group.commit,
        author=group.author,
        created_at=seconds(group.created_at),
        updated_at=seconds(group.updated_at),
    )


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
