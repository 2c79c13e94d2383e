"""What the catalog knows of training datasets."""

from __future__ import annotations

import datetime
import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal, select

from hops_magic.features import catalog_tables as t
from hops_magic.features.errors import ConflictError
from hops_magic.features.model import Column
from hops_magic.features.training_dataset import Dataset, Recipe
from hops_magic.features.version_numbers import Numbered, next_number, note_deleted
from hops_magic.runs.inputs import FeatureInput, InputKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Row, Select


class DatasetCatalog:
    """Training datasets in the catalog's database.

    Parameters
    ----------
    begin, reading : callable
        Open a connection that writes, or reads.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        reading: Callable[[], AbstractContextManager[Connection]],
    ) -> None:
        self._begin = begin
        self._reading = reading

    def add(self, dataset: Dataset) -> None:
        """Enter a version.

        Raises
        ------
        ConflictError
            If it exists.
        """
        from sqlalchemy.exc import IntegrityError

        with self._begin() as db:
            try:
                db.execute(t.datasets.insert().values(**_row(dataset)))
            except IntegrityError as error:
                raise ConflictError(f"{dataset.full_name} was made by somebody else just now: create it again") from error

    def remove(self, dataset: Dataset) -> None:
        """Take a version out."""
        same = (t.datasets.c.name == dataset.name) & (t.datasets.c.version == dataset.version)
        with self._begin() as db:
            db.execute(t.datasets.delete().where(same))
            note_deleted(db, Numbered.DATASET, dataset.name, dataset.version)

    def next_version(self, name: str) -> int:
        """Return the number of a dataset's next version; no number is given twice."""
        with self._reading() as db:
            return next_number(db, Numbered.DATASET, name)

    def get(self, name: str, version: int | None = None) -> Dataset | None:
        """Return a version, the latest if none is said."""
        query = t.datasets.select().where(t.datasets.c.name == name).order_by(t.datasets.c.version.desc()).limit(1)
        found = self._all(query if version is None else query.where(t.datasets.c.version == version))
        return found[0] if found else None

    def versions(self, name: str) -> list[Dataset]:
        """Return the versions of a dataset, newest first."""
        return self._all(t.datasets.select().where(t.datasets.c.name == name).order_by(t.datasets.c.version.desc()))

    def all(self) -> list[Dataset]:
        """Return all versions of all datasets, by name, newest first."""
        return self._all(t.datasets.select().order_by(t.datasets.c.name, t.datasets.c.version.desc()))

    def outlines(self) -> list[Dataset]:
        """Return all versions, by name, newest first, without their statistics, which are most of what is kept of them."""
        light = [column for column in t.datasets.c if column is not t.datasets.c.statistics]
        return self._all(
            select(*light, literal("{}").label("statistics")).order_by(t.datasets.c.name, t.datasets.c.version.desc())
        )

    def _all(self, query: Select[Any]) -> list[Dataset]:
        with self._reading() as db:
            return [_dataset(row) for row in db.execute(query)]


def _row(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "version": dataset.version,
        "description": dataset.description,
        "location": dataset.location,
        "author": dataset.author,
        "created_at": dataset.created_at,
        "recipe": dataset.recipe.to_json(),
        "columns": json.dumps([asdict(column) for column in dataset.columns]),
        "rows": json.dumps(dataset.rows),
        "checksums": json.dumps(dataset.checksums),
        "sources": json.dumps([asdict(source) for source in dataset.sources]),
        "statistics": json.dumps(dataset.statistics),
    }


def _dataset(row: Row[Any]) -> Dataset:
    created = row.created_at
    sources = [
        FeatureInput(**{**each, "kind": InputKind(each["kind"]), "features": tuple(each["features"])})
        for each in json.loads(row.sources)
    ]
    return Dataset(
        name=row.name,
        version=row.version,
        description=row.description,
        location=row.location,
        author=row.author,
        # SQLite forgets the zone
        created_at=created if created.tzinfo else created.replace(tzinfo=datetime.UTC),
        recipe=Recipe.from_json(row.recipe),
        columns=tuple(Column(**each) for each in json.loads(row.columns)),
        rows=json.loads(row.rows),
        checksums=json.loads(row.checksums),
        sources=tuple(sources),
        statistics=json.loads(row.statistics),
    )
