"""Numbers of versions: none is given twice, so that what refers to a deleted version never means another one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from hops_magic.features import catalog_tables as t

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Numbered(StrEnum):
    """What has versions."""

    GROUP = "group"
    DATASET = "dataset"


def next_number(db: Connection, kind: Numbered, name: str) -> int:
    """Return the number of the next version of a group or dataset: above all that it has or had."""
    from sqlalchemy import func, select

    table = t.versions if kind is Numbered.GROUP else t.datasets
    present = db.execute(select(func.max(table.c.version)).where(table.c.name == name)).scalar_one()
    return max(present or 0, _last_deleted(db, kind, name)) + 1


def note_deleted(db: Connection, kind: Numbered, name: str, version: int) -> None:
    """Remember that a version was there."""
    last = _last_deleted(db, kind, name)
    if version > last:
        same = (t.numbers.c.kind == kind.value) & (t.numbers.c.name == name)
        db.execute(t.numbers.delete().where(same))
        db.execute(t.numbers.insert().values(kind=kind.value, name=name, version=version))


def _last_deleted(db: Connection, kind: Numbered, name: str) -> int:
    same = (t.numbers.c.kind == kind.value) & (t.numbers.c.name == name)
    found = db.execute(t.numbers.select().where(same)).one_or_none()
    return 0 if found is None else int(found.version)
