"""Training datasets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hops_magic.api.columns import Feature, Source, features_of, sources_of
from hops_magic.api.context import Context
from hops_magic.api.groups import MOST_IN_LISTS, StatisticsDocument
from hops_magic.api.plain import Table, seconds, shortened, table_of
from hops_magic.api.problems import refused
from hops_magic.api.routing import Limit, Name, Offset, Payload, table
from hops_magic.features.training_dataset import Dataset
from hops_magic.settings import redacted


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
    max_age_s: dict[str, float]
    """By group: seconds after which what it knew counts as unknown."""


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
        max_age_s=dict(found.recipe.max_age_s),
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


def dataset_row(dataset: Dataset) -> DatasetRow:
    """Return a training dataset as lists show it."""
    return DatasetRow(
        name=dataset.name,
        version=dataset.version,
        full_name=dataset.full_name,
        description=shortened(dataset.description, MOST_IN_LISTS),
        rows=dict(dataset.rows),
        columns=len(dataset.columns),
        label=dataset.recipe.label,
        file_format=dataset.recipe.file_format,
        author=dataset.author,
        created_at=seconds(dataset.created_at),
    )


def _split_of(dataset: Dataset, split: str) -> str:
    part = split or next(iter(dataset.rows))
    if part not in dataset.rows:
        raise refused("not-found", f"{dataset.full_name} has no split {part[:80]!r}: it has {', '.join(dataset.rows)}")
    return part
