"""From names to a plan: which groups, which is the base, how the others are joined to it. Pure.

The rule of keys is that of Hopsworks' ``Query.join``: all primary keys that two groups share, left joins; foreign keys
that a group declares come on top, and joins that would multiply rows are refused unless asked for. ``docs/features.md``
tells the rules to users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hops_magic.features.errors import FanoutError, FeatureError
from hops_magic.features.key_types import family_of
from hops_magic.features.model import Column, ForeignKey, Group
from hops_magic.features.names import folded, parse_feature
from hops_magic.features.naming import named
from hops_magic.features.refusals import apart_from, beyond_spine, multiplied
from hops_magic.features.resolving import Groups, resolve
from hops_magic.features.roles import Roles, ambiguous, leading_to, role_of

SPINE = "spine"


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
    roles = Roles.of(on, used)
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
    # of a group in several roles, the name of the first join leads on; all of them by role
    several: dict[str, dict[str, str]] = {}
    while pending:
        options = [(group, ways) for group in pending if (ways := _ways(group, sources, keys, roles))]
        unique = [(group, ways) for group, ways in options if _is_unique(group, ways)]
        if unique:
            group, ways = unique[0]
        elif options and allow_fanout:
            group, ways = options[0]
        else:
            return joins, pending
        ways = _in_each_role(group, ways, several)
        made = _joins(group, ways, first + len(joins), event_time)
        alias = made[0].alias
        if len(made) > 1:
            several[alias] = {join.role: join.alias for join in made}
        joins += made
        pending.remove(group)
        sources.append((alias, group))
        for key in group.primary_key:
            keys.setdefault(folded(key), (alias, key))
    return joins, []


def _joins(group: Group, ways: Mapping[str, tuple[Pair, ...]], first: int, event_time: str | None) -> list[Join]:
    """Join a group once for each of its roles."""
    moment = Moment.ONLY if not group.event_time else Moment.AS_OF if event_time else Moment.LATEST
    is_unique = _is_unique(group, ways)
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


def _ways(
    group: Group, sources: Sequence[tuple[str, Group]], keys: dict[str, tuple[str, str]], roles: Roles
) -> dict[str, tuple[Pair, ...]]:
    """Return how a group can be joined, by role: by foreign keys of a source, else by the primary keys of both sides."""
    known, wanted = dict(sources), roles.of_group(group)
    found: dict[str, tuple[Pair, ...]] = {}
    for alias, source in sources:
        ways = [(key, on) for key in leading_to(group, source) if _clash(group, on := _pairs(alias, key), known) is None]
        if wanted:
            ways = [(key, on) for key, on in ways if role_of(key) in wanted]
            if len({role_of(key) for key, _ in ways}) < len(ways):
                raise ambiguous(source, group, [key for key, _ in ways])
            found = {role_of(key): on for key, on in ways} | found
        elif len(ways) > 1:
            raise ambiguous(source, group, [key for key, _ in ways])
        elif ways:
            return {"": ways[0][1]}
    if wanted:
        ready = {role: found[role] for role in wanted if role in found}
        return {} if len(ready) < len(wanted) else ready if len(wanted) > 1 else {"": ready[wanted[0]]}
    shared = [(keys[folded(key)], key) for key in group.primary_key if folded(key) in keys]
    on = tuple(Pair(source=source, left=left, right=key) for (source, left), key in shared)
    return {"": on} if on and _clash(group, on, known) is None else {}


def _pairs(alias: str, key: ForeignKey) -> tuple[Pair, ...]:
    return tuple(Pair(source=alias, left=left, right=right) for left, right in zip(key.columns, key.references, strict=True))


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


def _clash(group: Group, on: Sequence[Pair], sources: Mapping[str, Group]) -> Pair | None:
    """Return the first pair whose values can never be equal; the types of a spine are seen when it is read."""
    return next((pair for pair in on if pair.source in sources and not _is_comparable(pair, group, sources)), None)


def _is_comparable(pair: Pair, group: Group, sources: Mapping[str, Group]) -> bool:
    left, right = sources[pair.source].column(pair.left), group.column(pair.right)
    # a foreign key may name what is no column; the query tells
    return left is None or right is None or family_of(left.type) is family_of(right.type)


def _is_unique(group: Group, ways: Mapping[str, Sequence[Pair]]) -> bool:
    return all({pair.right for pair in on} >= set(group.primary_key) for on in ways.values())
