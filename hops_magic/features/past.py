"""The store as it was at a time: groups, their versions and their commits."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hops_magic.features.catalog import Catalog
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import COMMITTED_AT, Column, Group
from hops_magic.features.moments import moment_of
from hops_magic.features.types import type_name


@dataclass(frozen=True, kw_only=True)
class Source:
    """A group's table at the commit that a request reads.

    Attributes
    ----------
    group : Group
        With the columns of that commit.
    """

    group: Group
    table: LakeTable


class Past:
    """The catalog as it was at a time: what a planner sees of it.

    Parameters
    ----------
    opened : callable
        Returns a group's table, after the catalog has taken in commits that it missed.
    as_of : datetime, int or mapping, optional
        The time, or the commit; None for now.
    """

    def __init__(
        self,
        catalog: Catalog,
        opened: Callable[[Group], tuple[Group, LakeTable]],
        as_of: datetime.datetime | int | Mapping[str, int] | None,
    ) -> None:
        self._catalog = catalog
        self._opened = opened
        self._as_of = as_of
        self._sources: dict[str, Source] = {}
        self._groups: dict[tuple[str, int | None], Group | None] = {}

    def group(self, name: str, version: int | None = None) -> Group | None:
        """Return a version of a group, the latest of that time if none is said."""
        # a thousand features of one group ask for it a thousand times
        if (name, version) not in self._groups:
            found = self._catalog.group(name, version)
            if found is not None and version is None and isinstance(self._as_of, datetime.datetime):
                found = self._version_then(name, self._as_of)
            self._groups[name, version] = found if found is None else self._then(found)
        return self._groups[name, version]

    def groups_with(self, feature: str) -> list[Group]:
        """Return the groups whose latest version, of that time, has a column of this name."""
        if not isinstance(self._as_of, datetime.datetime):
            return [self._then(group) for group in self._catalog.groups_with(feature)]
        names = dict.fromkeys(group.name for group in self._catalog.groups_with(feature, of_any_version=True))
        then = [self.group(name) for name in names if self._existed(name, self._as_of) or len(names) == 1]
        found = [group for group in then if group is not None and group.column(feature)]
        if names and not found:
            raise UnknownNameError("feature", feature, (), f"the store as it was at {_told(self._as_of)}")
        return found

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of all groups and of all columns."""
        return self._catalog.names()

    def source(self, group: Group) -> Source:
        """Return the table of a group that was found before."""
        if group.full_name not in self._sources:
            current, table = self._opened(group)
            self._sources[group.full_name] = Source(group=current, table=table)
        return self._sources[group.full_name]

    def _version_then(self, name: str, moment: datetime.datetime) -> Group:
        """The newest version that existed; the first one if none did, for its commits to tell."""
        versions = self._catalog.versions(name)
        return next((each for each in versions if _began(self._catalog, each) <= moment), versions[-1])

    def _existed(self, name: str, moment: datetime.datetime) -> bool:
        return _began(self._catalog, self._catalog.versions(name)[-1]) <= moment

    def _then(self, group: Group) -> Group:
        if self._as_of is None:
            return group
        if group.full_name not in self._sources:
            current, _ = self._opened(group)
            as_of = self._as_of[group.full_name] if isinstance(self._as_of, Mapping) else self._as_of
            table = LakeTable(group.location, commit_at(self._catalog, current, as_of))
            self._sources[group.full_name] = Source(group=replace(current, columns=_columns_of(table, current)), table=table)
        return self._sources[group.full_name].group


def commit_at(catalog: Catalog, group: Group, moment: datetime.datetime | int) -> int:
    """Return the number of the commit that was the newest at a time, or check a number.

    Raises
    ------
    FeatureError
        If there was none.
    """
    commits, moment = catalog.commits(group), moment_of(moment)
    if isinstance(moment, int):
        if moment not in [commit.number for commit in commits]:
            known = ", ".join(str(commit.number) for commit in commits[-8:])
            raise FeatureError(f"{group.full_name} has no commit {moment}: the last ones are {known}")
        return moment
    earlier = [commit.number for commit in commits if commit.at <= moment]
    if not earlier:
        raise FeatureError(
            f"{group.full_name} did not exist at {_told(moment)}: its first commit is of {_told(commits[0].at)}"
        )
    return max(earlier)


def _told(moment: datetime.datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")


def _began(catalog: Catalog, group: Group) -> datetime.datetime:
    return catalog.commits(group)[0].at


def _columns_of(table: LakeTable, group: Group) -> tuple[Column, ...]:
    """Columns at an earlier commit, with what is known of them today."""
    return tuple(
        replace(group.column(item.name) or Column(name=item.name, type=""), type=type_name(item.type))
        for item in table.schema
        if item.name != COMMITTED_AT
    )
