"""Roles in which a group is joined, each by a foreign key: a team at home and away, say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hops_magic.features.errors import RoleError
from hops_magic.features.model import ForeignKey, Group


@dataclass(frozen=True)
class Roles:
    """The roles that a request names: for each group, those in which it is joined, in the order of the request."""

    of_groups: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, names: Sequence[str], used: Sequence[Group], spine: Sequence[str] | None = None) -> Roles:
        """Find the groups that are joined in the roles of these names: ``home``, ``games.home`` or ``spine.home``.

        Raises
        ------
        RoleError
            If no foreign key of the groups has such a name, or it leads to no other of them.
        """
        known = [(group, key) for group in used for key in group.foreign_keys]
        found: dict[str, dict[str, None]] = {}
        for name in names:
            by_spine = [group for group in used if spine is not None and name == f"spine.{'_'.join(group.primary_key)}"]
            keys = [(group, key) for group, key in known if name in (role_of(key), f"{group.name}.{role_of(key)}")]
            if not keys and not by_spine:
                told = " or ".join(dict.fromkeys(role_of(key) for _, key in known))
                raise RoleError(
                    "on", "must name foreign keys of the groups that are asked for", name, told or "they have none"
                )
            leading = [key.group for group, key in keys if _leads(group, key, used)]
            if not leading and not by_spine:
                group, key = keys[0]
                raise RoleError(
                    "on",
                    "must name foreign keys that lead to other groups of the request",
                    name,
                    f"leave it out, or ask for a feature of the group that {key} of {group.full_name} refers to",
                )
            for other in [*leading, *(group.name for group in by_spine)]:
                found.setdefault(other, {})[name] = None
        return cls({group: tuple(roles) for group, roles in found.items()})

    def of_group(self, group: Group) -> tuple[str, ...]:
        """Return the roles in which a group is joined; none if the request leaves that open."""
        return self.of_groups.get(group.name, ())

    def bases(self, used: Sequence[Group]) -> list[Group]:
        """Return the groups whose rows can be answered: a group that is joined in a role is not one of them.

        Raises
        ------
        RoleError
            If there are none.
        """
        found = [group for group in used if not self.of_group(group)]
        if not found:
            names = ",".join(dict.fromkeys(role for roles in self.of_groups.values() for role in roles))
            raise RoleError(
                "on",
                "must leave a group whose rows are answered",
                names,
                f"each of {', '.join(group.full_name for group in used)} would be joined to another: name fewer",
            )
        return found


def role_of(key: ForeignKey) -> str:
    """Return the name of the role in which a foreign key joins a group: its columns."""
    return "_".join(key.columns)


def leading_to(group: Group, source: Group) -> list[ForeignKey]:
    """Return the foreign keys of a group that hold the whole key of another."""
    return [key for key in source.foreign_keys if key.group == group.name and set(key.references) >= set(group.primary_key)]


def _leads(group: Group, key: ForeignKey, used: Sequence[Group]) -> bool:
    return any(key in leading_to(other, group) for other in used if other.name != group.name)
