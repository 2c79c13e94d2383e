"""From a plan to SQL.

Point-in-time joins use DuckDB's ``ASOF JOIN``. A group's rows are unique by key and event time, so no ties need breaking.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hops_magic.features.errors import FeatureError
from hops_magic.features.key_types import ENGINE_INTEGERS, engine_number
from hops_magic.features.model import COMMITTED_AT, Group
from hops_magic.features.names import folded
from hops_magic.features.planner import Join, Moment, Output, Plan
from hops_magic.features.sql import listed, literal, quoted
from hops_magic.features.ways import SPINE, Pair

# number of a spine's row, so that the answer has them in their order
ROW = "_hops_row"
_AVAILABLE = "_hops_available"
# with more features than that, their moments are joined first, and the features by these: an as-of join sorts all it carries
_WIDE = 8


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a request says besides names.

    Attributes
    ----------
    max_age : mapping
        Name of a group to the age at which its values count as unknown; ``"*"`` for all groups.
    exclude_late : bool
        Leave out rows that were written after the moment they are asked for.
    with_keys : bool
        Put the base's key before the features.
    limit : int, optional
        Rows to answer at most.
    is_ordered : bool
        Order the rows by the keys that tell them apart, so that the same question gives them in the same order.
    """

    max_age: Mapping[str, datetime.timedelta] = field(default_factory=dict)
    exclude_late: bool = False
    with_keys: bool = False
    limit: int | None = None
    is_ordered: bool = False

    def age_of(self, group: Group) -> datetime.timedelta | None:
        """Return the age at which a group's values expire."""
        return self.max_age.get(group.name, self.max_age.get("*"))

    def check(self, plan: Plan) -> None:
        """Refuse what the plan gives no meaning.

        Raises
        ------
        FeatureError
            If an age is given for a group that is not asked for or has no event time, there is no moment to compare with,
            or a limit is below one.
        """
        if self.limit is not None and self.limit < 1:
            raise FeatureError(f"--limit must be at least 1, got {self.limit}")
        if self.with_keys and plan.spine is not None:
            raise FeatureError("--with-keys adds the key of the base group, and a spine brings its own keys: leave it out")
        if self.with_keys and plan.base is not None:
            keys = set(map(folded, plan.base.row_key))
            for output in plan.outputs:
                if folded(output.name) in keys and (output.source, output.name) != ("g0", output.column.name):
                    raise FeatureError(
                        f"--with-keys adds {output.name} of {plan.base.full_name}, and the answer has another column of "
                        f"this name, of {output.group.full_name}: leave one of them out"
                    )
        groups = {group.name: group for group in plan.groups.values()}
        for name, age in self.max_age.items():
            if name != "*" and name not in groups:
                raise FeatureError(f"--max-age names group {name!r}, of which no feature is asked for")
            if name != "*" and groups[name].event_time is None:
                raise FeatureError(f"--max-age names group {name!r}, which has no event time: its values have no age")
            if age <= datetime.timedelta(0):
                raise FeatureError(f"--max-age of {name} must be longer than nothing, got {age}")
        if (self.max_age or self.exclude_late) and plan.event_time is None:
            raise FeatureError(
                "--max-age and --exclude-late compare with the event time of the rows that are asked for, and these "
                "have none: "
                "give a spine with --event-time"
            )


def statement(plan: Plan, terms: Terms | None = None, *, is_beside: bool = False) -> str:
    """Return the SQL that answers a plan, over views named like the plan's sources.

    Parameters
    ----------
    is_beside
        Instead of the spine's columns, answer the number of its row, in the last column.
    """
    terms = terms or Terms()
    sources = [f"{quoted(name)} AS (\n  {part}\n)" for join in plan.joins for name, part in _parts(join, plan, terms)]
    left = SPINE if plan.spine else "g0"
    lines = [f"WITH {', '.join(sources)}"] if sources else []
    lines.append("SELECT " + ",\n       ".join(_columns(plan, terms, is_beside=is_beside)))
    lines.append(f"FROM {quoted(left)}")
    lines += _joins(plan, terms)
    order = [f"{left}.{quoted(ROW)}"] if plan.spine else []
    if terms.is_ordered:
        order += [listed(plan.base.row_key, "g0.")] if plan.base is not None else []
        # of rows that a join gives several times, too
        order += [listed(join.group.row_key, f"{quoted(join.alias)}.") for join in plan.joins if not join.is_unique]
    if order:
        lines.append(f"ORDER BY {', '.join(order)}")
    if terms.limit is not None:
        lines.append(f"LIMIT {int(terms.limit)}")
    return "\n".join(lines)


def needed(plan: Plan, terms: Terms | None = None) -> dict[str, list[str]]:
    """Return the columns that a plan reads, by source: nothing else needs to be fetched."""
    columns: dict[str, dict[str, None]] = {alias: {} for alias in plan.groups}
    for output in plan.outputs:
        columns[output.source][output.column.name] = None
    for join in plan.joins:
        for pair in join.on:
            columns[join.alias][pair.right] = None
            if pair.source != SPINE:
                columns[pair.source][pair.left] = None
        if join.group.event_time:
            columns[join.alias][join.group.event_time] = None
            columns[join.alias].update(dict.fromkeys(join.group.primary_key))
        if terms and terms.exclude_late:
            columns[join.alias][COMMITTED_AT] = None
        if terms and terms.is_ordered and not join.is_unique:
            columns[join.alias].update(dict.fromkeys(join.group.row_key))
    if plan.base is not None and any(join.moment is Moment.AS_OF for join in plan.joins):
        assert plan.base.event_time
        columns["g0"][plan.base.event_time] = None
    if plan.base is not None and terms and (terms.with_keys or terms.is_ordered):
        columns["g0"].update(dict.fromkeys(plan.base.row_key))
    return {alias: list(names) for alias, names in columns.items()}


def _parts(join: Join, plan: Plan, terms: Terms) -> list[tuple[str, str]]:
    """Rows of a group that can be joined, by name; of a wide one also their moments alone."""
    names = needed(plan, terms)[join.alias]
    if not _is_wide(join, plan):
        return [(join.alias, _part(join, names, terms))]
    hidden = [COMMITTED_AT] if terms.exclude_late else []
    led_by = [pair.left for other in plan.joins for pair in other.on if pair.source == join.alias]
    narrow = list(dict.fromkeys([*join.group.row_key, *(pair.right for pair in join.on), *led_by, *hidden]))
    features = f"SELECT {listed([name for name in names if name != COMMITTED_AT])} FROM {quoted(f'{join.alias}_rows')}"
    return [(f"{join.alias}_at", _part(join, narrow, terms)), (join.alias, features)]


def _part(join: Join, names: Sequence[str], terms: Terms) -> str:
    columns = listed(list(names))
    view = quoted(f"{join.alias}_rows")
    if join.moment is Moment.LATEST:
        return f"SELECT {columns} FROM {view}\n  QUALIFY row_number() OVER ({_by_key(join)} ORDER BY {_time(join)} DESC) = 1"
    if join.moment is Moment.AS_OF and terms.exclude_late:
        # A row can be known from the later of its event and its commit. Ordered by that, a row counts only if no row that
        # was known by then is of a later event: what is left can be joined by one inequality.
        known = f"greatest({_time(join)}, {quoted(COMMITTED_AT)})"
        return (
            f"SELECT * FROM (SELECT {columns}, {known} AS {_AVAILABLE} FROM {view})\n"
            f"  QUALIFY {_time(join)} = max({_time(join)}) OVER ({_by_key(join)} ORDER BY {_AVAILABLE})"
        )
    return f"SELECT {columns} FROM {view}"


def _joins(plan: Plan, terms: Terms) -> list[str]:
    """Joins in the order in which least is carried along: moments, then features; an as-of join sorts its left side too."""
    sources = {pair.source for join in plan.joins for pair in join.on}
    first: list[str] = []
    then: list[str] = []
    for join in plan.joins:
        place = first if join.moment is Moment.AS_OF or join.alias in sources else then
        place.append(_join(join, plan, terms))
        if _is_wide(join, plan):
            moment, features = quoted(f"{join.alias}_at"), quoted(join.alias)
            same = [f"{moment}.{quoted(name)} = {features}.{quoted(name)}" for name in join.group.row_key]
            then.append(f"LEFT JOIN {features} ON {' AND '.join(same)}")
    return first + then


def _join(join: Join, plan: Plan, terms: Terms) -> str:
    wide = {other.alias for other in plan.joins if _is_wide(other, plan)}

    def name(alias: str) -> str:
        return quoted(f"{alias}_at" if alias in wide else alias)

    alias = name(join.alias)
    on = [f"{_left_key(pair, name(pair.source), join, plan)} = {alias}.{quoted(pair.right)}" for pair in join.on]
    left = SPINE if plan.spine else "g0"
    if join.moment is Moment.AS_OF:
        known = f"{alias}.{_AVAILABLE}" if terms.exclude_late else _time(join, alias)
        return f"ASOF LEFT JOIN {alias} ON {' AND '.join([*on, f'{_left_time(plan, left)} >= {known}'])}"
    if join.moment is Moment.ONLY and terms.exclude_late:
        on.append(f"{_left_time(plan, left)} >= {alias}.{quoted(COMMITTED_AT)}")
    return f"LEFT JOIN {alias} ON {' AND '.join(on)}"


def _left_key(pair: Pair, source: str, join: Join, plan: Plan) -> str:
    """Value that is looked for, as a number of the joined column's type; null if that type does not hold it.

    The engine would compare a whole number and a double as doubles, where neighbours above 2**53 are equal.
    """
    value = f"{source}.{quoted(pair.left)}"
    column = join.group.column(pair.right)
    own, wanted = engine_number(plan.type_of(pair.source, pair.left)), engine_number(column.type if column else "")
    if own is None or wanted is None or own == wanted or (own in ENGINE_INTEGERS and wanted in ENGINE_INTEGERS):
        return value
    cast = f"TRY_CAST({value} AS {wanted})"
    return f"CASE WHEN TRY_CAST({cast} AS {own}) = {value} THEN {cast} END"


def _is_wide(join: Join, plan: Plan) -> bool:
    return join.moment is Moment.AS_OF and sum(output.source == join.alias for output in plan.outputs) > _WIDE


def _by_key(join: Join) -> str:
    return f"PARTITION BY {listed(join.group.primary_key)}"


def _time(join: Join, alias: str = "") -> str:
    """Event time of a joined group, comparable with any other."""
    group = join.group
    assert group.event_time is not None
    return _moment(f"{alias}." if alias else "", group.event_time, group)


def _left_time(plan: Plan, left: str) -> str:
    assert plan.event_time is not None
    return _moment(f"{quoted(left)}.", plan.event_time, plan.base)


def _moment(prefix: str, name: str, group: Group | None) -> str:
    column = group.column(name) if group else None
    # a date stands for its first moment
    is_date = column is not None and column.type.startswith("date")
    return f"CAST({prefix}{quoted(name)} AS TIMESTAMPTZ)" if is_date else f"{prefix}{quoted(name)}"


def _columns(plan: Plan, terms: Terms, *, is_beside: bool) -> list[str]:
    columns = []
    if plan.spine and is_beside:
        return [*(_value(output, plan, terms) for output in plan.outputs), f"{quoted(SPINE)}.{quoted(ROW)}"]
    if plan.spine:
        columns += [f"{quoted(SPINE)}.{quoted(name)}" for name in plan.spine.columns]
    elif terms.with_keys and plan.base is not None:
        asked = {output.name for output in plan.outputs}
        columns += [f'"g0".{quoted(name)}' for name in plan.base.row_key if name not in asked]
    return columns + [_value(output, plan, terms) for output in plan.outputs]


def _value(output: Output, plan: Plan, terms: Terms) -> str:
    value = f"{quoted(output.source)}.{quoted(output.column.name)}"
    join = next((join for join in plan.joins if join.alias == output.source), None)
    age = terms.age_of(output.group)
    if join is not None and join.moment is Moment.AS_OF and age is not None:
        elapsed = f"{_left_time(plan, SPINE if plan.spine else 'g0')} - {_time(join, quoted(output.source))}"
        value = f"CASE WHEN {elapsed} <= INTERVAL {literal(f'{age.total_seconds():.6f} seconds')} THEN {value} END"
    return f"{value} AS {quoted(output.name)}"
