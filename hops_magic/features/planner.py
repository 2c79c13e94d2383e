"""From names to a plan: which groups, which is the base, how the others are joined to it. Pure.

The rule of keys is that of Hopsworks' ``Query.join``: all primary keys that two groups share, left joins; foreign keys
that a group declares come on top, and joins that would multiply rows are refused unless asked for. ``docs/features.md``
tells the rules to users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from hops_magic.features.errors import (
    AmbiguousJoinError,
    AmbiguousNameError,
    FanoutError,
    FeatureError,
    NoJoinPathError,
    UnknownNameError,
)
from hops_magic.features.key_types import family_of
from hops_magic.features.model import Column, Group
from hops_magic.features.names import FeatureName, folded, nearest, parse_feature
from hops_magic.features.naming import named

SPINE = "spine"


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


class Moment(StrEnum):
    """Which of a key's rows is joined, where a group has an event time."""

    # the group has none: one row per key
    ONLY = "only"
    # the last one known at the left row's event time
    AS_OF = "as of"
    # the last one of all
    LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One equality of a join: a column of a source to the left, and the joined group's column."""

    source: str
    left: str
    right: str


@dataclass(frozen=True, kw_only=True)
class Join:
    """A group joined to what is left of it.

    Attributes
    ----------
    alias : str
        Name of the group in the query.
    on : tuple of Pair
        Equalities.
    moment : Moment
        Which of a key's rows.
    is_unique : bool
        Whether a left row gets at most one row.
    """

    alias: str
    group: Group
    on: tuple[Pair, ...]
    moment: Moment
    is_unique: bool = True


@dataclass(frozen=True, kw_only=True)
class Output:
    """A column of the answer."""

    source: str
    column: Column
    name: str
    group: Group


@dataclass(frozen=True, kw_only=True)
class Spine:
    """Rows that features are asked for: their columns and their event time, if they have one.

    Attributes
    ----------
    types : mapping
        Text of the type of each column.
    """

    columns: tuple[str, ...]
    event_time: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a request is answered.

    Attributes
    ----------
    base : Group or None
        Group whose rows are answered; None if a spine's are.
    joins : tuple of Join
        In this order; a join may use columns of earlier ones.
    """

    base: Group | None
    spine: Spine | None
    joins: tuple[Join, ...]
    outputs: tuple[Output, ...]
    keys: tuple[str, ...] = ()

    @property
    def groups(self) -> dict[str, Group]:
        """Groups by their name in the query."""
        own = {"g0": self.base} if self.base is not None else {}
        return own | {join.alias: join.group for join in self.joins}

    def type_of(self, source: str, column: str) -> str:
        """Return the text of the type of a source's column; empty if it is not known."""
        if source == SPINE:
            return self.spine.types.get(column, "") if self.spine else ""
        found = self.groups[source].column(column)
        return found.type if found else ""

    @property
    def event_time(self) -> str | None:
        """Event time of the left rows."""
        return self.spine.event_time if self.spine else self.base.event_time if self.base else None


def plan(names: Sequence[str], groups: Groups, *, spine: Spine | None = None, allow_fanout: bool = False) -> Plan:
    """Plan the answer to a request for features.

    Parameters
    ----------
    names
        As users write them, in the order of the answer's columns.
    groups
        The catalog.
    spine
        Rows to find features for.
    allow_fanout
        Accept joins that give a left row several times.

    Raises
    ------
    FeatureError
        If a name is unknown or ambiguous, or the groups cannot be joined.
    """
    if not names:
        raise FeatureError("no feature was named: %features get NAME ..., and %features search TEXT finds names")
    found, used = _resolve([parse_feature(name) for name in names], groups)
    joined = _from_spine(spine, used, allow_fanout) if spine else _from_base(used, allow_fanout)
    by_group = {group.full_name: alias for alias, group in joined.groups.items()}
    wanted = dict.fromkeys(_key_column(each, joined) if isinstance(each, str) else each for each in found)
    outputs = named(
        [Output(source=by_group[group.full_name], column=column, name=column.name, group=group) for group, column in wanted],
        spine,
    )
    return replace(joined, outputs=outputs)


def _resolve(requests: Sequence[FeatureName], groups: Groups) -> tuple[list[tuple[Group, Column] | str], list[Group]]:
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


def _key_column(name: str, joined: Plan) -> tuple[Group, Column]:
    """The column of a shared key: the base's, since every row has it there."""
    group = next(group for group in joined.groups.values() if name in group.row_key)
    column = group.column(name)
    assert column is not None
    return group, column


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


def _from_base(used: Sequence[Group], allow_fanout: bool) -> Plan:
    """Take as base the first asked group to which all others can be joined without multiplying rows."""
    attempts = []
    for base in used:
        keys = {folded(key): ("g0", key) for key in base.primary_key}
        joins, left = _attach([("g0", base)], keys, base.event_time, [g for g in used if g is not base], False)
        if not left:
            return Plan(base=base, spine=None, joins=tuple(joins), outputs=(), keys=base.row_key)
        attempts.append((base, left))
    base, left = min(attempts, key=lambda attempt: len(attempt[1]))
    keys = {folded(key): ("g0", key) for key in base.primary_key}
    joins, apart = _attach([("g0", base)], keys, base.event_time, [g for g in used if g is not base], True)
    if apart:
        raise NoJoinPathError(_no_path(base, apart[0]))
    if not allow_fanout:
        raise FanoutError(_fanout(next(join for join in joins if not join.is_unique), base))
    return Plan(base=base, spine=None, joins=tuple(joins), outputs=(), keys=base.row_key)


def _from_spine(spine: Spine, used: Sequence[Group], allow_fanout: bool) -> Plan:
    keys = {folded(column): (SPINE, column) for column in spine.columns}
    joins, left = _attach([], keys, spine.event_time, list(used), allow_fanout)
    if left:
        group = left[0]
        missing = [key for key in group.primary_key if folded(key) not in keys]
        if len(missing) < len(group.primary_key):
            raise FanoutError(
                f"the spine has no {_and(missing)}, a key of {group.full_name}: its rows would be multiplied; "
                "add the column to the spine, or say --allow-fanout"
            )
        raise NoJoinPathError(
            f"the spine has no {_and(missing)}, the key of {group.full_name}; its columns are {_and(spine.columns[:20])}: "
            "rename one of them, or declare a foreign key of a group that joins it"
        )
    return Plan(base=None, spine=spine, joins=tuple(joins), outputs=())


def _attach(
    sources: list[tuple[str, Group]],
    keys: dict[str, tuple[str, str]],
    event_time: str | None,
    pending: list[Group],
    allow_fanout: bool,
) -> tuple[list[Join], list[Group]]:
    """Join what can be joined, again and again, since a joined group may lead to another; return what is left over."""
    joins: list[Join] = []
    first = len(sources)
    sources, keys, pending = list(sources), dict(keys), list(pending)
    while pending:
        options = [(group, on) for group in pending if (on := _pairs(group, sources, keys))]
        unique = [(group, on) for group, on in options if _covers(group, on)]
        if unique:
            group, on = unique[0]
        elif options and allow_fanout:
            group, on = options[0]
        else:
            return joins, pending
        alias = f"g{first + len(joins)}"
        moment = Moment.ONLY if not group.event_time else Moment.AS_OF if event_time else Moment.LATEST
        if moment is Moment.AS_OF and not _covers(group, on):
            raise FanoutError(
                f"{group.full_name} has an event time, so all of its key {_and(group.primary_key)} is needed to find "
                "the row "
                f"of a moment, and only {_and([pair.right for pair in on])} is known"
            )
        joins.append(Join(alias=alias, group=group, on=on, moment=moment, is_unique=_covers(group, on)))
        pending.remove(group)
        sources.append((alias, group))
        for key in group.primary_key:
            keys.setdefault(folded(key), (alias, key))
    return joins, []


def _pairs(group: Group, sources: Sequence[tuple[str, Group]], keys: dict[str, tuple[str, str]]) -> tuple[Pair, ...]:
    """Return how a group can be joined: by a foreign key of a source, else by the primary keys that both sides have."""
    known = dict(sources)
    for alias, source in sources:
        ways = [
            tuple(
                Pair(source=alias, left=left, right=right)
                for left, right in zip(foreign.columns, foreign.references, strict=True)
            )
            for foreign in source.foreign_keys
            if foreign.group == group.name and set(foreign.references) >= set(group.primary_key)
        ]
        ways = [on for on in ways if _clash(group, on, known) is None]
        if len(ways) > 1:
            raise AmbiguousJoinError(_ambiguous(source, group, ways))
        if ways:
            return ways[0]
    shared = [(keys[folded(key)], key) for key in group.primary_key if folded(key) in keys]
    on = tuple(Pair(source=source, left=left, right=key) for (source, left), key in shared)
    return on if _clash(group, on, known) is None else ()


def _ambiguous(source: Group, group: Group, ways: Sequence[tuple[Pair, ...]]) -> str:
    roles = " or by ".join(_and([pair.left for pair in on]) for on in ways)
    left, right = _and([pair.left for pair in ways[0]]), _and([pair.right for pair in ways[0]])
    return (
        f"{source.full_name} joins {group.full_name} by {roles}, and which one is meant cannot be told: get the rows of "
        f"{source.full_name}, rename {left} (or the other) to {right}, and give them as a spine"
    )


def _clash(group: Group, on: Sequence[Pair], sources: Mapping[str, Group]) -> Pair | None:
    """Return the first pair whose values can never be equal; the types of a spine are seen when it is read."""
    return next((pair for pair in on if pair.source in sources and not _is_comparable(pair, group, sources)), None)


def _is_comparable(pair: Pair, group: Group, sources: Mapping[str, Group]) -> bool:
    left, right = sources[pair.source].column(pair.left), group.column(pair.right)
    # a foreign key may name what is no column; the query tells
    return left is None or right is None or family_of(left.type) is family_of(right.type)


def _covers(group: Group, on: Sequence[Pair]) -> bool:
    return {pair.right for pair in on} >= set(group.primary_key)


def _no_path(base: Group, other: Group) -> str:
    for left, right in _said_keys(base, other):
        if family_of(left.type) is not family_of(right.type):
            return (
                f"{left.name} is {left.type} in {base.full_name} and {right.name} is {right.type} in {other.full_name}, "
                "whose values are never equal: write one of them anew with the other's type, as the next version "
                "(%features save VARIABLE --mode version)"
            )
    return (
        f"{base.full_name} (key {_and(base.primary_key)}) and {other.full_name} (key {_and(other.primary_key)}) "
        "share no key: "
        f"declare one, e.g. %features edit {base.name} --foreign-key COLUMN={other.name}.{','.join(other.primary_key)}"
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


def _fanout(join: Join, base: Group) -> str:
    shared = _and([pair.right for pair in join.on])
    return (
        f"{join.group.full_name} has several rows for one {shared} (its key is {_and(join.group.primary_key)}), "
        f"so each row of {base.full_name} would come several times: say --allow-fanout if that is meant"
    )


def _and(names: Sequence[str]) -> str:
    return ", ".join(names)
