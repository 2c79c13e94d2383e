"""The ways in which a group can be joined to others: by foreign keys that they declare, else by names of keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hops_magic.features.errors import AmbiguousJoinError
from hops_magic.features.key_types import family_of
from hops_magic.features.model import ForeignKey, Group
from hops_magic.features.names import folded
from hops_magic.features.roles import Roles, leading_to, role_of

SPINE = "spine"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One equality of a join: a column of a source to the left, and the joined group's column."""

    source: str
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a group can be joined.

    Attributes
    ----------
    source : str
        Name of the group that is joined to; empty if the columns are those of several.
    told : str
        The same with its version.
    role : str
        The columns of it by which the group is joined.
    is_declared : bool
        Whether a foreign key says so, and not just the names of columns.
    """

    source: str
    told: str
    role: str
    on: tuple[Pair, ...]
    is_declared: bool = True

    @property
    def name(self) -> str:
        """The role with the group before it."""
        return f"{self.source}.{self.role}"

    def is_meant_by(self, wanted: str) -> bool:
        """Whether a request names this way."""
        return wanted == self.name or (self.is_declared and wanted == self.role)


def declared(group: Group, sources: Sequence[tuple[str, Group]]) -> list[Way]:
    """Return the ways by foreign keys of sources, from the nearest."""
    known = dict(sources)
    return [
        Way(source=source.name, told=source.full_name, role=role_of(key), on=on)
        for alias, source in sources
        for key in leading_to(group, source)
        if _are_comparable(on := _pairs(alias, key), group, known)
    ]


def by_names(group: Group, keys: Mapping[str, tuple[str, str]], sources: Sequence[tuple[str, Group]]) -> Way | None:
    """Return the way by the columns of its primary key that are keys to the left; perhaps not by all of them."""
    known = dict(sources)
    shared = [(keys[folded(key)], key) for key in group.primary_key if folded(key) in keys]
    on = tuple(Pair(source=source, left=left, right=key) for (source, left), key in shared)
    if not on or not _are_comparable(on, group, known) or any(_is_said_otherwise(on, group, each) for each in sources):
        return None
    sources_of = {pair.source for pair in on}
    only = known.get(next(iter(sources_of))) if len(sources_of) == 1 else None
    name, told = (only.name, only.full_name) if only else (SPINE, SPINE) if sources_of == {SPINE} else ("", "")
    return Way(source=name, told=told, role="_".join(pair.left for pair in on), on=on, is_declared=False)


def chosen(
    group: Group, sources: Sequence[tuple[str, Group]], keys: Mapping[str, tuple[str, str]], roles: Roles
) -> dict[str, Way]:
    """Return the ways in which a group is joined, by role; none if it cannot be joined yet."""
    ways, named = declared(group, sources), by_names(group, keys, sources)
    wanted = roles.of_group(group)
    if not wanted:
        nearest = [way for way in ways if way.told == ways[0].told]
        if len(nearest) > 1:
            raise _ambiguous(group, nearest)
        found = nearest[0] if nearest else named
        return {"": found} if found else {}
    meant = []
    for role in wanted:
        matching = [way for way in ([*ways, named] if named else ways) if way.is_meant_by(role)]
        same = [way for way in matching if way.told == matching[0].told]
        if len(same) > 1:
            raise _ambiguous(group, same)
        meant += same
    if len(meant) < len(wanted):
        return {}
    return {_label(way, meant): way for way in meant} if len(meant) > 1 else {"": meant[0]}


def check_other_ways(
    group: Group,
    taken: Iterable[Way],
    others: Sequence[tuple[str, Group]],
    equal: Mapping[tuple[str, str], tuple[str, str]],
    roles: Roles,
    spine: Way | None,
) -> None:
    """Refuse a group that could be joined in another way, too, which may lead to another row.

    Parameters
    ----------
    taken
        The ways in which it is joined.
    others
        What it could be joined to.
    equal
        Column of a source -> the column to the left that it is joined by, whose values are the same.
    spine
        The way by columns of the spine, if it has all of the key.

    Raises
    ------
    AmbiguousJoinError
        With the ways that there are.
    """
    there = [*taken, *([spine] if spine else []), *declared(group, others)]
    for role in roles.of_group(group) or ("",):
        ways = [way for way in there if not role or way.is_meant_by(role)]
        if len({_rows_of(way, equal) for way in ways}) > 1:
            raise _ambiguous(group, ways, got=role)


def _ambiguous(group: Group, ways: Sequence[Way], got: str = "") -> AmbiguousJoinError:
    sources, roles = {way.told for way in ways}, list(dict.fromkeys(way.role for way in ways))
    if len(sources) == 1 and len(roles) == 1:
        return AmbiguousJoinError(
            "on",
            f"must name one foreign key by which {ways[0].told} joins {group.full_name}",
            roles[0],
            "two of them have these columns: edit one of them",
        )
    if len(sources) == 1:
        what, names = f"the foreign keys by which {ways[0].told} joins {group.full_name}", roles
    else:
        what, names = f"the way by which {group.full_name} is joined", list(dict.fromkeys(way.name for way in ways))
    return AmbiguousJoinError(
        "on", f"must name {what}", got or "none of them", f"say {' or '.join(names)}, or several as {','.join(names)}"
    )


def _rows_of(way: Way, equal: Mapping[tuple[str, str], tuple[str, str]]) -> frozenset[tuple[tuple[str, str], str]]:
    """Return what decides which rows a way leads to: the columns furthest to the left whose values it compares."""
    found = set()
    for pair in way.on:
        left = (pair.source, folded(pair.left))
        while left in equal:
            left = equal[left]
        found.add((left, folded(pair.right)))
    return frozenset(found)


def _label(way: Way, ways: Sequence[Way]) -> str:
    """Return what the columns of a group in several roles begin with."""
    return way.role if [other.role for other in ways].count(way.role) == 1 else f"{way.source}_{way.role}"


def _pairs(alias: str, key: ForeignKey) -> tuple[Pair, ...]:
    return tuple(Pair(source=alias, left=left, right=right) for left, right in zip(key.columns, key.references, strict=True))


def _is_said_otherwise(on: Sequence[Pair], group: Group, source: tuple[str, Group]) -> bool:
    """Whether a group is joined to one by names that it refers to by other columns: orders to clients, both with an id."""
    alias, other = source
    by_name = {(folded(pair.right), folded(pair.left)) for pair in on if pair.source == alias}
    said = [
        {(folded(column), folded(key)) for column, key in zip(each.columns, each.references, strict=True)}
        for each in leading_to(other, group)
    ]
    return bool(by_name) and bool(said) and not any(by_name & each for each in said)


def _are_comparable(on: Sequence[Pair], group: Group, sources: Mapping[str, Group]) -> bool:
    """Whether values can be equal in all pairs; the types of a spine are seen when it is read."""
    return all(_is_comparable(pair, group, sources) for pair in on if pair.source in sources)


def _is_comparable(pair: Pair, group: Group, sources: Mapping[str, Group]) -> bool:
    left, right = sources[pair.source].column(pair.left), group.column(pair.right)
    # a foreign key may name what is no column; the query tells
    return left is None or right is None or family_of(left.type) is family_of(right.type)
