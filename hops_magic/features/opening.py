"""Opening a group's table: what the lake holds counts, and the catalog takes in what it was not told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hops_magic.features.catalog import Catalog
from hops_magic.features.errors import StoreError
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import Commit, Group


def open_table(catalog: Catalog, group: Group) -> tuple[Group, LakeTable]:
    """Return a group as it is now, and its table.

    A writer commits to the table first and then tells the catalog. If it died between the two, its commits and the columns
    that they brought are entered now.

    Raises
    ------
    StoreError
        If the table is older than the catalog says, or cannot be read.
    """
    table = LakeTable(group.location)
    if table.version == group.commit:
        return group, table
    known = catalog.group(group.name, group.version) or group
    if table.version > known.commit:
        catalog.record(known, _counted(table.commits(after=known.commit), known.rows, table.rows), table.columns)
        known = catalog.group(group.name, group.version) or group
    elif table.version < known.commit:
        raise StoreError(
            f"the table of {group.full_name} is older than the catalog says (commit {table.version} of {known.commit}): "
            "its files were restored from a copy; restore the catalog of the same time"
        )
    return known, table


def _counted(commits: Sequence[Commit], before: int, now: int) -> list[Commit]:
    """Fill in the rows after each commit; the table's log knows them for the newest."""
    counted, rows = [], before
    for commit in commits:
        rows += commit.rows_added - commit.rows_removed
        counted.append(replace(commit, rows=now if commit is commits[-1] else rows))
    return counted
