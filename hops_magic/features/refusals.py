"""Why groups are not joined, each as one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hops_magic.features.errors import FanoutError, FeatureError, NoJoinPathError, RoleError
from hops_magic.features.key_types import family_of
from hops_magic.features.model import Column, Group
from hops_magic.features.names import folded
from hops_magic.features.roles import Roles

if TYPE_CHECKING:
    from hops_magic.features.planner import Join, Spine


def apart_from(base: Group, other: Group) -> NoJoinPathError:
    """Return the error for two groups without a key by which they could be joined."""
    for left, right in _said_keys(base, other):
        if family_of(left.type) is not family_of(right.type):
            return NoJoinPathError(
                f"{left.name} is {left.type} in {base.full_name} and {right.name} is {right.type} in {other.full_name}, "
                "whose values are never equal: write one of them anew with the other's type, as the next version "
                "(%features save VARIABLE --mode version)"
            )
    return NoJoinPathError(
        f"{base.full_name} (key {_and(base.primary_key)}) and {other.full_name} (key {_and(other.primary_key)}) "
        "share no key: "
        f"declare one, e.g. %features edit {base.name} --foreign-key COLUMN={other.name}.{','.join(other.primary_key)}"
    )


def beyond_spine(spine: Spine, left: Sequence[Group], roles: Roles) -> FeatureError:
    """Return the error for groups that cannot be joined to a spine."""
    known = {folded(column) for column in spine.columns}
    for group in left:
        missing = [key for key in group.primary_key if folded(key) not in known]
        if missing and len(missing) < len(group.primary_key):
            return FanoutError(
                f"the spine has no {_and(missing)}, a key of {group.full_name}: its rows would be multiplied; "
                "add the column to the spine, or say --allow-fanout"
            )
        if missing:
            return NoJoinPathError(
                f"the spine has no {_and(missing)}, the key of {group.full_name}; its columns are "
                f"{_and(spine.columns[:20])}: rename one of them, or declare a foreign key of a group that joins it"
            )
    return RoleError(
        "on",
        f"must name foreign keys by which {left[0].full_name} can be joined",
        ",".join(roles.of_group(left[0])),
        "their types are not those of its key, or the groups that have them are joined to it",
    )


def multiplied(join: Join, base: Group) -> FanoutError:
    """Return the error for a join that would give a row several times."""
    shared = _and([pair.right for pair in join.on])
    return FanoutError(
        f"{join.group.full_name} has several rows for one {shared} (its key is {_and(join.group.primary_key)}), "
        f"so each row of {base.full_name} would come several times: say --allow-fanout if that is meant"
    )


def _said_keys(base: Group, other: Group) -> list[tuple[Column, Column]]:
    """Columns by which two groups would be joined, were it not for their types."""
    foreign = [
        pair
        for key in base.foreign_keys
        if key.group == other.name
        for pair in zip(key.columns, key.references, strict=True)
    ]
    own = {folded(key): key for key in base.primary_key}
    shared = [(own[folded(key)], key) for key in other.primary_key if folded(key) in own]
    found = [(base.column(left), other.column(right)) for left, right in foreign or shared]
    return [(left, right) for left, right in found if left is not None and right is not None]


def _and(names: Sequence[str]) -> str:
    return ", ".join(names)
