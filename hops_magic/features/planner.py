"""From names to a plan: which groups, which is the base, how the others are joined to it. Pure.

The rule of keys is that of Hopsworks' ``Query.join``: all primary keys that two groups share, left joins; foreign keys
that a group declares come on top, and joins that would multiply rows are refused unless asked for. ``docs/features.md``
tells the rules to users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hops_magic.features.errors import FanoutError, FeatureError
from hops_magic.features.model import Column, Group
from hops_magic.features.names import folded, parse_feature
from hops_magic.features.naming import named
from hops_magic.features.refusals import apart_from, beyond_spine, multiplied
from hops_magic.features.resolving import Groups, resolve
from hops_magic.features.roles import Roles, leading_to
from hops_magic.features.ways import SPINE, Pair, Way, by_names, check_other_ways, chosen


class Moment(StrEnum):
    """Which of a key's rows is joined, where a group has an event time."""

    # the group has none: one row per key
    ONLY = "only"
    # the last one known at the left row's event time
    AS_OF = "as of"
    # the last one of all
    LATEST = "latest"


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
    role : str
        Which of the group's joins it is, if there are several: by ``home`` or by ``away``.
    """

    alias: str
    group: Group
    on: tuple[Pair, ...]
    moment: Moment
    is_unique: bool = True
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A column of the answer.

    Attributes
    ----------
    role : str
        That of the join that it comes from; its name begins with it.
    is_brought : bool
        Whether it equals a key of the spine.
    """

    source: str
    column: Column
    name: str
    group: Group
    role: str = ""
    is_brought: bool = False


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
    names : tuple of str
        What was asked for, each with its group's version, also what the spine brings itself.
    """

    base: Group | None
    spine: Spine | None
    joins: tuple[Join, ...]
    outputs: tuple[Output, ...]
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def groups(self) -> dict[str, Group]:
        """Groups by their name in the query."""
        own = {"g0": self.base} if self.base is not None else {}
        return own | {join.alias: join.group for join in self.joins}

    def is_by_name(self, join: Join) -> bool:
        """Whether two groups are joined since their keys have one name, and no foreign key says so."""
        own = {pair.source for pair in join.on}
        left = {folded(pair.left) for pair in join.on}
        said = [key for source in own - {SPINE} for key in leading_to(join.group, self.groups[source])]
        return SPINE not in own and all(left != set(map(folded, key.columns)) for key in said)

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


def plan(
    names: Sequence[str],
    groups: Groups,
    *,
    spine: Spine | None = None,
    on: Sequence[str] = (),
    allow_fanout: bool = False,
) -> Plan:
    """Plan the answer to a request for features.

    Parameters
    ----------
    names
        As users write them, in the order of the answer's columns.
    groups
        The catalog.
    spine
        Rows to find features for.
    on
        Roles in which groups are joined: the columns of foreign keys, joined with ``_``.
    allow_fanout
        Accept joins that give a left row several times.

    Raises
    ------
    FeatureError
        If a name is unknown or ambiguous, or the groups cannot be joined.
    """
    if not names:
        raise FeatureError("no feature was named: %features get NAME ..., and %features search TEXT finds names")
    found, used = resolve([parse_feature(name) for name in names], groups)
    roles = Roles.of(on, used, spine.columns if spine else None)
    joined = _from_spine(spine, used, roles, allow_fanout) if spine else _from_base(used, roles, allow_fanout)
    wanted = dict.fromkeys(_key_column(each, joined) if isinstance(each, str) else each for each in found)
    aliases: dict[str, dict[str, str]] = {joined.base.full_name: {"": "g0"}} if joined.base is not None else {}
    for join in joined.joins:
        aliases.setdefault(join.group.full_name, {})[join.role] = join.alias
    brought = {(join.alias, pair.right) for join in joined.joins for pair in join.on if pair.source == SPINE}
    outputs = [
        Output(
            source=alias,
            column=column,
            name=f"{role}_{column.name}" if role else column.name,
            group=group,
            role=role,
            is_brought=(alias, column.name) in brought,
        )
        for group, column in wanted
        for role, alias in aliases[group.full_name].items()
    ]
    asked = tuple(f"{group.full_name}.{column.name}" for group, column in wanted)
    return replace(joined, outputs=named(outputs, spine), names=asked)


def _key_column(name: str, joined: Plan) -> tuple[Group, Column]:
    """The column of a shared key: the base's, since every row has it there."""
    group = next(group for group in joined.groups.values() if name in group.row_key)
    column = group.column(name)
    assert column is not None
    return group, column


def _from_base(used: Sequence[Group], roles: Roles, allow_fanout: bool) -> Plan:
    """Take as base the first asked group to which all others can be joined without multiplying rows."""
    attempts = []
    for base in roles.bases(used):
        keys = {folded(key): ("g0", key) for key in base.primary_key}
        joins, left = _attach([("g0", base)], keys, base.event_time, [g for g in used if g is not base], roles, False)
        if not left:
            return Plan(base=base, spine=None, joins=tuple(joins), outputs=(), keys=base.row_key)
        attempts.append((base, left))
    base, left = min(attempts, key=lambda attempt: len(attempt[1]))
    keys = {folded(key): ("g0", key) for key in base.primary_key}
    joins, apart = _attach([("g0", base)], keys, base.event_time, [g for g in used if g is not base], roles, True)
    if apart:
        raise apart_from(base, apart[0])
    if not allow_fanout:
        raise multiplied(next(join for join in joins if not join.is_unique), base)
    return Plan(base=base, spine=None, joins=tuple(joins), outputs=(), keys=base.row_key)


def _from_spine(spine: Spine, used: Sequence[Group], roles: Roles, allow_fanout: bool) -> Plan:
    keys = {folded(column): (SPINE, column) for column in spine.columns}
    joins, left = _attach([], keys, spine.event_time, list(used), roles, allow_fanout)
    if left:
        raise beyond_spine(spine, left, roles)
    return Plan(base=None, spine=spine, joins=tuple(joins), outputs=())


def _attach(
    sources: list[tuple[str, Group]],
    keys: dict[str, tuple[str, str]],
    event_time: str | None,
    pending: list[Group],
    roles: Roles,
    allow_fanout: bool,
) -> tuple[list[Join], list[Group]]:
    """Join what can be joined, again and again, since a joined group may lead to another; return what is left over."""
    joins: list[Join] = []
    first = len(sources)
    sources, keys, pending = list(sources), dict(keys), list(pending)
    of_spine = {name: place for name, place in keys.items() if place[0] == SPINE}
    # of a group in several roles, the name of the first join leads on; all of them by role
    several: dict[str, dict[str, str]] = {}
    taken: dict[str, list[Way]] = {}
    while pending:
        options = [(group, ways) for group in pending if (ways := chosen(group, sources, keys, roles))]
        unique = [(group, ways) for group, ways in options if _is_unique(group, ways.values())]
        if unique:
            # a key that is declared goes before a name, whatever the order in which groups are asked for
            group, ways = min(unique, key=lambda option: _is_by_names(option[1]) + _is_declared_later(option, pending))
        elif options and allow_fanout:
            group, ways = options[0]
        else:
            return joins, pending
        on = _in_each_role(group, {role: way.on for role, way in ways.items()}, several)
        made = _joins(group, on, first + len(joins), event_time)
        alias = made[0].alias
        if len(made) > 1:
            several[alias] = {join.role: join.alias for join in made}
        joins += made
        taken[alias] = list(ways.values())
        pending.remove(group)
        sources.append((alias, group))
        for key in group.primary_key:
            keys.setdefault(folded(key), (alias, key))
    _check_ways(joins, taken, sources, of_spine, roles)
    return joins, []


def _is_by_names(ways: Mapping[str, Way]) -> bool:
    return not all(way.is_declared for way in ways.values())


def _is_declared_later(option: tuple[Group, Mapping[str, Way]], pending: Sequence[Group]) -> bool:
    """Whether a group is joined by names although another that is still to be joined declares a key to it."""
    group, ways = option
    return _is_by_names(ways) and any(leading_to(group, other) for other in pending if other is not group)


def _check_ways(
    joins: Sequence[Join],
    taken: Mapping[str, Sequence[Way]],
    sources: Sequence[tuple[str, Group]],
    of_spine: Mapping[str, tuple[str, str]],
    roles: Roles,
) -> None:
    """Refuse a plan in which a group could be joined in another way as well, by which other rows might be found."""
    equal = {(join.alias, folded(pair.right)): (pair.source, folded(pair.left)) for join in joins for pair in join.on}
    for group_alias, ways in taken.items():
        group = dict(sources)[group_alias]
        # what is joined to the group is no way to it
        below = {group_alias}
        for join in joins:
            if any(pair.source in below for pair in join.on):
                below.add(join.alias)
        others = [(alias, other) for alias, other in sources if alias not in below and other.name != group.name]
        spine = by_names(group, of_spine, ())
        whole = spine if spine and _is_unique(group, [spine]) else None
        check_other_ways(group, ways, others, equal, roles, whole)


def _joins(group: Group, ways: Mapping[str, tuple[Pair, ...]], first: int, event_time: str | None) -> list[Join]:
    """Join a group once for each of its roles."""
    moment = Moment.ONLY if not group.event_time else Moment.AS_OF if event_time else Moment.LATEST
    is_unique = all({pair.right for pair in on} >= set(group.primary_key) for on in ways.values())
    if moment is Moment.AS_OF and not is_unique:
        known = next(iter(ways.values()))
        raise FanoutError(
            f"{group.full_name} has an event time, so all of its key {', '.join(group.primary_key)} is needed to find the "
            f"row of a moment, and only {', '.join(pair.right for pair in known)} is known"
        )
    return [
        Join(alias=f"g{number}", group=group, on=on, moment=moment, is_unique=is_unique, role=role)
        for number, (role, on) in enumerate(ways.items(), start=first)
    ]


def _in_each_role(
    group: Group, ways: Mapping[str, tuple[Pair, ...]], several: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[Pair, ...]]:
    """Join a group in the roles of what it is joined to, too: the league of the team at home, and of the one away."""
    found: dict[str, tuple[Pair, ...]] = {}
    for role, on in ways.items():
        led = [several[pair.source] for pair in on if pair.source in several]
        for outer in led[0] if led else [""]:
            name = f"{outer}_{role}" if outer and role else outer or role
            if name in found or any(each.keys() != led[0].keys() for each in led):
                raise FeatureError(
                    f"{group.full_name} would be joined to groups in several roles, and which ones belong together "
                    "cannot be told: ask for one role of them"
                )
            found[name] = tuple(
                replace(pair, source=several[pair.source][outer]) if pair.source in several else pair for pair in on
            )
    return found


def _is_unique(group: Group, ways: Iterable[Way]) -> bool:
    return all({pair.right for pair in way.on} >= set(group.primary_key) for way in ways)
