"""Asking the rules of a group of the rows that are to be written: one scan, in the engine.

Rules are compiled to SQL in which every name is quoted and every value a constant; conditions of users are let in by
:mod:`hops_magic.features.conditions` alone, which sees to it that they read nothing but the row.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hops_magic.errors import counted
from hops_magic.features.conditions import check_condition, first_line
from hops_magic.features.engine import rows_of, value_of
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.model import Column
from hops_magic.features.names import nearest
from hops_magic.features.rules import Rule, RuleKind
from hops_magic.features.sql import listed, literal, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# column of rows that were put aside: the rules that they broke, with "; " between
FAILED_RULES = "_hops_failed_rules"
_SAMPLES = 5
_VALUE_CHARS = 60
_RULES_SHOWN = 5
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,8})?")
_FLOATS = ("float", "double", "halffloat")
_WITHOUT_ORDER = ("list", "struct", "map", "bool", "binary")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one rule.

    Attributes
    ----------
    failing : int
        Rows that break it; 0 for a rule about the write as a whole.
    samples : tuple of dict
        Some of these rows: their key, and the columns that the rule is about.
    found : str
        What a rule about the write as a whole found instead.
    """

    rule: Rule
    passed: bool
    failing: int = 0
    samples: tuple[dict[str, Any], ...] = ()
    found: str = ""

    def sentence(self) -> str:
        """Tell how the rule is broken."""
        if self.found:
            return f"{self.rule.name}: {self.found}"
        shown = "; ".join(", ".join(f"{key}={_shown(value)}" for key, value in row.items()) for row in self.samples[:3])
        return f"{self.rule.name}: {counted(self.failing, 'row')}, e.g. {shown}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of all rules of a write.

    Attributes
    ----------
    rows : int
        Rows of the write.
    failing_rows : int
        Rows that break at least one rule.
    conditions : dict
        Name of each rule that rows break -> condition of SQL that is true for these rows.
    """

    results: tuple[Result, ...]
    rows: int
    failing_rows: int = 0
    conditions: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether every rule is kept."""
        return all(result.passed for result in self.results)

    @property
    def broken(self) -> tuple[Result, ...]:
        """The rules that are not kept."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def can_split(self) -> bool:
        """Whether the write keeps every rule once the failing rows are left out."""
        return all(result.rule.kind.is_of_rows for result in self.broken)

    def sentence(self) -> str:
        """Tell which rules are broken, by how many rows, with some of them."""
        broken = self.broken
        if not broken:
            return f"all {len(self.results)} rules are kept" if len(self.results) != 1 else "its rule is kept"
        total = f"{len(broken)} of {len(self.results)} rules {'is' if len(broken) == 1 else 'are'} broken"
        rows = f" by {counted(self.failing_rows, 'row')} of {self.rows:,}" if self.failing_rows else ""
        more = f" | and {len(broken) - _RULES_SHOWN} more rules" if len(broken) > _RULES_SHOWN else ""
        return f"{total}{rows}: {' | '.join(result.sentence() for result in broken[:_RULES_SHOWN])}{more}"


def check_rules(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule], columns: Sequence[Column], event_time: str | None = None
) -> None:
    """Refuse rules that could not be asked of a group's rows, before there are any.

    Raises
    ------
    FeatureError
        Naming the rule and what is wrong with it.
    """
    import pyarrow as pa

    from hops_magic.features.types import arrow_type

    names = [rule.name for rule in rules]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise FeatureError(f"the rule {twice} is there twice: leave one out")
    shape = pa.schema([(column.name, arrow_type(column.type)) for column in columns]).empty_table()
    connection.register("_hops_shape", shape)
    try:
        now = datetime.datetime.now(datetime.UTC)
        validate(connection, "_hops_shape", rules, columns, stored=None, row_key=(), now=now, event_time=event_time)
    finally:
        connection.unregister("_hops_shape")


def validate(
    connection: duckdb.DuckDBPyConnection,
    batch: str,
    rules: Sequence[Rule],
    columns: Sequence[Column],
    *,
    stored: str | None,
    row_key: Sequence[str],
    now: datetime.datetime,
    event_time: str | None = None,
) -> Report:
    """Ask rules of the rows of a write.

    Parameters
    ----------
    batch
        View of these rows.
    columns
        The group's columns, which the batch has too.
    stored
        View of the group's other rows, which this write leaves as they are; None if there are none.
    row_key
        Columns that tell rows apart; in ``stored`` no row has one of the batch.
    now
        What freshness is measured from.
    event_time
        Column that freshness is about.

    Raises
    ------
    FeatureError
        If a rule cannot be asked of such rows.
    """
    asked = _Asked(connection, batch, {column.name: column for column in columns}, stored, tuple(row_key), now, event_time)
    conditions = {rule.name: asked.condition(rule) for rule in rules if rule.kind.is_of_rows}
    counts = (f"count(*) FILTER ({part}) AS r{at}" for at, part in enumerate(conditions.values()) if part)
    measures = ["count(*) AS n", *counts]
    fresh = next((rule for rule in rules if rule.kind is RuleKind.FRESH), None)
    if fresh:
        measures.append(f"max({quoted(asked.time_of(fresh))})::TIMESTAMPTZ AS newest")
    measured = asked.scan(f"SELECT {', '.join(measures)} FROM {quoted(batch)}", rules)
    failing = {name: measured.get(f"r{at}", 0) for at, name in enumerate(conditions)}
    for rule in rules:
        if rule.kind is RuleKind.UNIQUE:
            conditions[rule.name], failing[rule.name] = asked.uniqueness(rule)
    broken = {name: part for name, part in conditions.items() if failing[name]}
    return Report(
        results=tuple(asked.result(rule, measured, failing, conditions) for rule in rules),
        rows=measured["n"],
        failing_rows=asked.count(_any(broken)) if len(broken) > 1 else sum(failing.values()),
        conditions=broken,
    )


def split(connection: duckdb.DuckDBPyConnection, batch: str, report: Report) -> tuple[pa.Table, pa.Table]:
    """Return the rows of a write that break no rule, and the others with a column that names what they break."""
    failed = ", ".join(f"CASE WHEN {part} THEN {literal(name)} END" for name, part in report.conditions.items()) or "NULL"
    bad = _any(report.conditions)
    view = quoted(batch)
    return (
        connection.sql(f"SELECT * FROM {view} WHERE NOT ({bad})").to_arrow_table(),
        connection.sql(
            f"SELECT *, concat_ws('; ', {failed}) AS {quoted(FAILED_RULES)} FROM {view} WHERE {bad}"
        ).to_arrow_table(),
    )


@dataclass(frozen=True)
class _Asked:
    """The rows that rules are asked of."""

    connection: duckdb.DuckDBPyConnection
    batch: str
    columns: Mapping[str, Column]
    stored: str | None
    row_key: tuple[str, ...]
    now: datetime.datetime
    event_time: str | None

    def condition(self, rule: Rule) -> str:
        """Return SQL that is true for the rows that break a rule, and never null; empty if it takes a query of its own."""
        compiled = _COMPILED.get(rule.kind)
        return "" if compiled is None else compiled(self, rule)

    def column(self, rule: Rule, name: str) -> Column:
        """Return a column that a rule is about."""
        if name not in self.columns:
            raise UnknownNameError("column", name, nearest(name, self.columns), f"the group (rule {rule.name})")
        return self.columns[name]

    def constant(self, rule: Rule, column: Column, text: str) -> str:
        """Return a value of a rule as a constant of the column's type."""
        import duckdb

        # exact, and perhaps finer than the column: 1.5 for whole numbers
        if column.type.startswith(("int", "decimal")) and _NUMBER.fullmatch(text):
            return text
        kind = self.connection.sql(f"SELECT {quoted(column.name)} FROM {quoted(self.batch)} LIMIT 0").types[0]
        constant = f"CAST({literal(text)} AS {kind})"
        try:
            value_of(self.connection, f"SELECT CAST({constant} AS VARCHAR)")
        except duckdb.Error as error:
            raise _refused(rule, f"{text!r} cannot be read as {column.type}, the type of {column.name}") from error
        return constant

    def time_of(self, rule: Rule) -> str:
        """Return the column that freshness is about."""
        if self.event_time is None:
            raise _refused(rule, "the group has no event time")
        return self.event_time

    def scan(self, query: str, rules: Sequence[Rule]) -> dict[str, Any]:
        """Run the one scan; if it fails, name the condition that fails."""
        import duckdb

        try:
            return rows_of(self.connection, query)[0]
        except (duckdb.OutOfMemoryException, duckdb.IOException):
            raise
        except duckdb.Error as error:
            for rule in rules:
                if rule.kind is RuleKind.PREDICATE:
                    try:
                        self.count(self.condition(rule))
                    except duckdb.Error as own:
                        raise _refused(rule, first_line(own)) from own
            raise FeatureError(f"the rules cannot be asked of the rows: {first_line(error)}") from error

    def count(self, condition: str) -> int:
        """Count the rows for which a condition holds."""
        return int(value_of(self.connection, f"SELECT count(*) FROM {quoted(self.batch)} WHERE {condition}"))

    def uniqueness(self, rule: Rule) -> tuple[str, int]:
        """Return the condition for rows whose values are there again, and the number of these rows."""
        names = [self.column(rule, name).name for name in rule.columns]
        batch, known = quoted(self.batch), " AND ".join(f"{quoted(name)} IS NOT NULL" for name in names)
        twice = f"SELECT {listed(names)} FROM {batch} WHERE {known} GROUP BY ALL HAVING count(*) > 1"
        parts = [f"EXISTS (SELECT 1 FROM ({twice}) AS o WHERE {_same(names, 'o', batch)})"]
        sizes = f"SELECT count(*) AS n FROM {batch} WHERE {known} GROUP BY {listed(names)} HAVING n > 1"
        count = int(value_of(self.connection, f"SELECT coalesce(sum(n), 0) FROM ({sizes})"))
        if self._could_be_stored(names):
            other = quoted(self.stored or "")
            parts.append(f"EXISTS (SELECT 1 FROM {other} AS o WHERE {_same(names, 'o', batch)})")
            there = f"SELECT 1 FROM {batch} SEMI JOIN {other} AS o ON {_same(names, 'o', batch)} LIMIT 1"
            if rows_of(self.connection, there):
                return f"({' OR '.join(parts)})", self.count(f"({' OR '.join(parts)})")
        return parts[0], count

    def _could_be_stored(self, names: Sequence[str]) -> bool:
        if self.stored is None or (self.row_key and set(self.row_key) <= set(names)):
            return False
        # a column that this write brings has no values yet
        return set(names) <= set(self.connection.sql(f"SELECT * FROM {quoted(self.stored)} LIMIT 0").columns)

    def result(
        self, rule: Rule, measured: Mapping[str, Any], failing: Mapping[str, int], conditions: Mapping[str, str]
    ) -> Result:
        """Return what became of a rule."""
        if rule.kind is RuleKind.ROWS:
            low, high = int(rule.low or 0), int(rule.high or measured["n"])
            passed = low <= measured["n"] <= high
            return Result(rule=rule, passed=passed, found="" if passed else f"the data has {counted(measured['n'], 'row')}")
        if rule.kind is RuleKind.FRESH:
            newest = measured["newest"]
            passed = newest is not None and newest >= self.now - rule.within
            found = f"the newest {self.event_time} is {newest:%Y-%m-%d %H:%M:%S} UTC" if newest else "there is no event"
            return Result(rule=rule, passed=passed, found="" if passed else found)
        count = failing[rule.name]
        if not count:
            return Result(rule=rule, passed=True)
        return Result(rule=rule, passed=False, failing=count, samples=self.samples(rule, conditions[rule.name]))

    def samples(self, rule: Rule, condition: str) -> tuple[dict[str, Any], ...]:
        """Return some of the rows for which a condition holds, the same at each call."""
        about = rule.columns
        if rule.kind is RuleKind.PREDICATE:
            read = check_condition(self.connection, rule.argument, self.batch)
            about = tuple(name for name in self.columns if name in read)
        shown = list(dict.fromkeys([*self.row_key, *about])) or list(self.columns)
        query = (
            f"SELECT {listed(shown)} FROM {quoted(self.batch)} WHERE {condition} ORDER BY {listed(shown)} LIMIT {_SAMPLES}"
        )
        return tuple(rows_of(self.connection, query))


# SQL that is true for the rows that break a rule


def _not_null(asked: _Asked, rule: Rule) -> str:
    column = asked.column(rule, rule.columns[0])
    name = quoted(column.name)
    return f"({name} IS NULL OR isnan({name}))" if column.type in _FLOATS else f"{name} IS NULL"


def _range(asked: _Asked, rule: Rule) -> str:
    column = asked.column(rule, rule.columns[0])
    if column.type.startswith(_WITHOUT_ORDER):
        raise _refused(rule, f"{column.name} is of type {column.type}, and a range needs numbers, times or texts")
    name = quoted(column.name)
    ends = [f"{name} < {asked.constant(rule, column, rule.low)}"] if rule.low is not None else []
    ends += [f"{name} > {asked.constant(rule, column, rule.high)}"] if rule.high is not None else []
    return f"coalesce(({' OR '.join(ends)}){_known(column)}, FALSE)"


def _one_of(asked: _Asked, rule: Rule) -> str:
    column = asked.column(rule, rule.columns[0])
    if column.type.startswith(("list", "struct", "map")):
        raise _refused(rule, f"{column.name} is of type {column.type}, and one_of needs single values")
    values = ", ".join(asked.constant(rule, column, value) for value in rule.values)
    return f"coalesce({quoted(column.name)} NOT IN ({values}){_known(column)}, FALSE)"


def _matches(asked: _Asked, rule: Rule) -> str:
    import duckdb

    column = asked.column(rule, rule.columns[0])
    if column.type != "string":
        raise _refused(rule, f"{column.name} is of type {column.type}, and a regular expression needs texts")
    try:
        value_of(asked.connection, f"SELECT regexp_full_match('', {literal(rule.argument)})")
    except duckdb.Error as error:
        raise _refused(rule, f"the regular expression is not well formed (RE2 syntax): {first_line(error)}") from error
    return f"coalesce(NOT regexp_full_match({quoted(column.name)}, {literal(rule.argument)}), FALSE)"


def _predicate(asked: _Asked, rule: Rule) -> str:
    check_condition(asked.connection, rule.argument, asked.batch)
    # a comment may end the condition
    return f"coalesce(NOT ({rule.argument}\n), FALSE)"


_COMPILED: dict[RuleKind, Callable[[_Asked, Rule], str]] = {
    RuleKind.NOT_NULL: _not_null,
    RuleKind.RANGE: _range,
    RuleKind.ONE_OF: _one_of,
    RuleKind.MATCHES: _matches,
    RuleKind.PREDICATE: _predicate,
}


def _known(column: Column) -> str:
    return f" AND NOT isnan({quoted(column.name)})" if column.type in _FLOATS else ""


def _same(names: Sequence[str], other: str, batch: str) -> str:
    return " AND ".join(f"{other}.{quoted(name)} = {batch}.{quoted(name)}" for name in names)


def _any(conditions: Mapping[str, str]) -> str:
    return " OR ".join(conditions.values()) or "FALSE"


def _refused(rule: Rule, reason: str) -> FeatureError:
    return FeatureError(f"the rule {rule.name} cannot be used: {reason}")


def _shown(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    return "null" if value is None else str(value)[:_VALUE_CHARS]
