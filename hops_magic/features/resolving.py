"""From names, as users write them, to groups and their columns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hops_magic.features.errors import AmbiguousNameError, UnknownNameError
from hops_magic.features.model import Column, Group
from hops_magic.features.names import FeatureName, nearest


class Groups(Protocol):
    """Where a planner finds groups."""

    def group(self, name: str, version: int | None = None) -> Group | None:
        """Return a version of a group, the latest if none is said."""
        ...

    def groups_with(self, feature: str) -> list[Group]:
        """Return the groups whose latest version has a column of this name."""
        ...

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of all groups and of all columns."""
        ...


def resolve(requests: Sequence[FeatureName], groups: Groups) -> tuple[list[tuple[Group, Column] | str], list[Group]]:
    """Find the column of each name; a key that the other names' groups share stays a name, until the base is known."""
    found: list[list[tuple[Group, Column]] | None] = []
    choices: dict[int, list[Group]] = {}
    for at, request in enumerate(requests):
        candidates = [_group_of(request, groups)] if request.group else groups.groups_with(request.feature)
        if not candidates:
            raise UnknownNameError("feature", request.feature, nearest(request.feature, groups.names()[1]))
        if len(candidates) > 1:
            choices[at] = candidates
        found.append(_columns(request, candidates[0]) if len(candidates) == 1 else None)
    used = {group.full_name: group for pairs in found for group, _ in pairs or ()}
    for at, candidates in choices.items():
        name = requests[at].feature
        if not any(group.full_name in used and name in group.row_key for group in candidates):
            raise AmbiguousNameError(name, [f"{group.name}.{name}" for group in candidates])
    wanted: dict[tuple[Group, Column] | str, None] = {}
    for at, pairs in enumerate(found):
        wanted.update(dict.fromkeys(pairs) if pairs is not None else {requests[at].feature: None})
    return list(wanted), list(used.values())


def _group_of(request: FeatureName, groups: Groups) -> Group:
    assert request.group is not None
    group = groups.group(request.group.name, request.group.version)
    if group is None:
        known = groups.group(request.group.name)
        if known is not None:
            raise UnknownNameError("version", str(request.group), (f"{known.name}@{known.version}",))
        raise UnknownNameError("group", request.group.name, nearest(request.group.name, groups.names()[0]))
    return group


def _columns(request: FeatureName, group: Group) -> list[tuple[Group, Column]]:
    if request.is_all:
        return [(group, column) for column in group.columns]
    column = group.column(request.feature)
    if column is None:
        raise UnknownNameError(
            "feature", request.feature, nearest(request.feature, group.column_names), f"group {group.full_name}"
        )
    return [(group, column)]
