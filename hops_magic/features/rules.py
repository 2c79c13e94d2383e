"""Rules that the rows of a group must keep, as users write them and as the catalog stores them.

======================= ==========================================================================
``not_null COLUMN``     no null; NaN, which pandas shows for null, counts as null in every rule
``unique A,B``          no two rows of the group have the same values; rows with a null are left out
``range COLUMN 0 150``  from 0 to 150, both included; ``-`` leaves an end open
``one_of COLUMN A,B``   one of these values
``matches COLUMN X``    the whole text matches the regular expression X (RE2 syntax)
``predicate "A <= B"``  a condition of SQL over the columns of one row
``fresh 2d``            the newest event time of a write is at most that old (w, d, h, m, s)
``rows 10 -``           a write brings so many rows
======================= ==========================================================================

A null passes every rule but ``not_null``, as it does in SQL. Names with commas or spaces are written in double quotes.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hops_magic.errors import OptionError
from hops_magic.features.moments import age_of, told_age
from hops_magic.features.names import nearest
from hops_magic.features.rule_text import (
    as_end,
    as_item,
    as_rest,
    as_word,
    end,
    first_word,
    in_quotes,
    items,
    text_of,
    unquoted,
    words,
)

_DURATION = re.compile(r"(\d{1,6})([wdhms])")
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LONGEST_TEXT = 10_000
_LONGEST_AGE = datetime.timedelta(days=36_500)


class RuleKind(StrEnum):
    """What a rule asks."""

    NOT_NULL = "not_null"
    UNIQUE = "unique"
    RANGE = "range"
    ONE_OF = "one_of"
    MATCHES = "matches"
    PREDICATE = "predicate"
    FRESH = "fresh"
    ROWS = "rows"

    @property
    def is_of_rows(self) -> bool:
        """Whether single rows break it, which can be put aside; else the write as a whole does."""
        return self not in (RuleKind.FRESH, RuleKind.ROWS)


_FORMS = {
    RuleKind.NOT_NULL: "not_null COLUMN",
    RuleKind.UNIQUE: "unique COLUMN,COLUMN",
    RuleKind.RANGE: "range COLUMN LOW HIGH, with - for an open end",
    RuleKind.ONE_OF: "one_of COLUMN VALUE,VALUE",
    RuleKind.MATCHES: "matches COLUMN REGEX",
    RuleKind.PREDICATE: 'predicate "CONDITION"',
    RuleKind.FRESH: "fresh 2d",
    RuleKind.ROWS: "rows AT_LEAST AT_MOST, with - for an open end",
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; made by :meth:`from_text` or by the constructor of its kind, e.g. ``Rule.range("age", 0, 150)``.

    Attributes
    ----------
    low, high : str or None
        Ends of a range, both included, or of a number of rows; None leaves an end open.
    values : tuple of str
        What ``one_of`` allows. These and the ends are text: they are read as the column's type.
    argument : str
        Regular expression, condition or duration.

    Raises
    ------
    OptionError
        If it makes no sense.
    """

    kind: RuleKind
    columns: tuple[str, ...] = ()
    low: str | None = None
    high: str | None = None
    values: tuple[str, ...] = ()
    argument: str = ""

    def __post_init__(self) -> None:
        for text in (*self.columns, *self.values, self.low or "", self.high or "", self.argument):
            if not isinstance(text, str):
                raise _refused(self.kind, "must be made of texts, one for a column", repr(text)[:200])
            if len(text) > _LONGEST_TEXT or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
                raise _refused(self.kind, "must be one line of text, without control characters", text[:200])
        _CHECKS[self.kind](self)

    @classmethod
    def not_null(cls, column: str) -> Rule:
        """Ask for a value in every row."""
        return cls(kind=RuleKind.NOT_NULL, columns=(column,))

    @classmethod
    def unique(cls, *columns: str | Sequence[str]) -> Rule:
        """Ask that no two rows of the group have the same values; columns come one by one or as a list."""
        names = [name for each in columns for name in ([each] if isinstance(each, str) else each)]
        return cls(kind=RuleKind.UNIQUE, columns=tuple(names))

    @classmethod
    def range(cls, column: str, low: Any = None, high: Any = None) -> Rule:
        """Ask for values from ``low`` to ``high``, both included."""
        return cls(kind=RuleKind.RANGE, columns=(column,), low=text_of(low), high=text_of(high))

    @classmethod
    def one_of(cls, column: str, values: Sequence[Any]) -> Rule:
        """Ask for one of some values."""
        if isinstance(values, str):
            raise _refused(RuleKind.ONE_OF, "must have a list of values", values)
        # nulls break not_null alone, so that they are allowed anyway
        return cls(kind=RuleKind.ONE_OF, columns=(column,), values=tuple(text_of(v) or "" for v in values if v is not None))

    @classmethod
    def matches(cls, column: str, regex: str) -> Rule:
        """Ask that the whole text matches a regular expression."""
        return cls(kind=RuleKind.MATCHES, columns=(column,), argument=regex)

    @classmethod
    def predicate(cls, condition: str) -> Rule:
        """Ask for a condition of SQL over the columns of one row."""
        return cls(kind=RuleKind.PREDICATE, argument=condition)

    @classmethod
    def fresh(cls, within: str | datetime.timedelta) -> Rule:
        """Ask that the newest event time of a write is at most that old, e.g. ``"2d"``."""
        return cls(kind=RuleKind.FRESH, argument=within if isinstance(within, str) else told_age(age_of(within)))

    @classmethod
    def rows(cls, at_least: int | None = None, at_most: int | None = None) -> Rule:
        """Ask for a number of rows in a write."""
        return cls(kind=RuleKind.ROWS, low=text_of(at_least), high=text_of(at_most))

    @classmethod
    def from_text(cls, text: str) -> Rule:
        """Read a rule as users write it.

        Raises
        ------
        OptionError
            If it is none.
        """
        parts = text.strip().split(maxsplit=1)
        word, rest = (parts[0] if parts else ""), (parts[1].strip() if len(parts) > 1 else "")
        try:
            kind = RuleKind(word)
        except ValueError as error:
            close = nearest(word.replace("-", "_"), RuleKind)
            remedy = f"did you mean {' or '.join(close)}?" if close else ""
            raise OptionError(
                "a rule", f"must begin with one of {', '.join(RuleKind)}", word[:200] or "nothing", remedy
            ) from error
        return _READERS[kind](rest)

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Rule:
        """Read a rule as the catalog keeps it."""
        return cls(
            kind=RuleKind(payload["kind"]),
            columns=tuple(payload.get("columns", ())),
            low=payload.get("low"),
            high=payload.get("high"),
            values=tuple(payload.get("values", ())),
            argument=payload.get("argument", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what the catalog keeps."""
        parts = {
            "columns": list(self.columns),
            "low": self.low,
            "high": self.high,
            "values": list(self.values),
            "argument": self.argument,
        }
        return {"kind": self.kind.value, **{name: value for name, value in parts.items() if value or value == ""}}

    @property
    def name(self) -> str:
        """The rule as text, which :meth:`from_text` reads; one text for one rule."""
        ends = f"{as_end(self.low)} {as_end(self.high)}"
        column = as_word(self.columns[0]) if self.columns else ""
        match self.kind:
            case RuleKind.NOT_NULL | RuleKind.UNIQUE:
                tail = ",".join(map(as_item, self.columns))
            case RuleKind.RANGE:
                tail = f"{column} {ends}"
            case RuleKind.ONE_OF:
                tail = f"{column} {','.join(map(as_item, self.values))}"
            case RuleKind.MATCHES:
                tail = f"{column} {as_rest(self.argument)}"
            case RuleKind.PREDICATE:
                tail = in_quotes(self.argument)
            case RuleKind.FRESH:
                tail = self.argument
            case RuleKind.ROWS:
                tail = ends
        return f"{self.kind} {tail}"

    def __str__(self) -> str:
        return self.name

    @property
    def within(self) -> datetime.timedelta:
        """How old the newest event may be."""
        number, unit = _DURATION.fullmatch(self.argument).groups()  # type: ignore[union-attr]
        return datetime.timedelta(**{_UNITS[unit]: int(number)})

    def describe(self) -> str:
        """Tell the rule in words."""
        column = self.columns[0] if self.columns else ""
        match self.kind:
            case RuleKind.NOT_NULL:
                return f"{column} is never null"
            case RuleKind.UNIQUE:
                together = f"{' and '.join(self.columns)} together are" if len(self.columns) > 1 else f"{column} is"
                return f"{together} different in every row of the group"
            case RuleKind.RANGE:
                return f"{column} is {_between(self.low, self.high)}"
            case RuleKind.ONE_OF:
                return f"{column} is one of {', '.join(self.values)}"
            case RuleKind.MATCHES:
                return f"the whole of {column} matches {self.argument}"
            case RuleKind.PREDICATE:
                return f"{self.argument} holds in every row"
            case RuleKind.FRESH:
                number, unit = int(self.argument[:-1]), _UNITS[self.argument[-1]]
                old = f"{number} {unit if number != 1 else unit[:-1]}"
                return f"the newest event of each write is at most {old} old"
            case RuleKind.ROWS:
                return f"each write brings {_so_many(self.low, self.high)}"


def _between(low: str | None, high: str | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"from {low} to {high}"


def _so_many(low: str | None, high: str | None) -> str:
    if low is None:
        return f"at most {high} rows"
    return f"at least {low} rows" if high is None else f"{low} to {high} rows"


# what must hold of each kind


def _refused(kind: RuleKind, rule: str, value: object, remedy: str = "") -> OptionError:
    return OptionError(f"the rule {kind}", rule, value, remedy or f"write {_FORMS[kind]}")


def _check_one_column(rule: Rule) -> None:
    if len(rule.columns) != 1 or not rule.columns[0]:
        raise _refused(rule.kind, "must name one column", ",".join(rule.columns) or "none")


def _check_unique(rule: Rule) -> None:
    if not rule.columns or not all(rule.columns) or len(set(rule.columns)) < len(rule.columns):
        raise _refused(rule.kind, "must name columns, each once", ",".join(rule.columns) or "none")


def _check_range(rule: Rule) -> None:
    _check_one_column(rule)
    _check_ends(rule)


def _check_ends(rule: Rule) -> None:
    if rule.low is None and rule.high is None:
        raise _refused(rule.kind, "must have a low or a high end", "- -")
    low, high = _number(rule.low), _number(rule.high)
    if low != low or high != high:  # noqa: PLR0124 (NaN)
        raise _refused(rule.kind, "must have ends that are numbers", f"{rule.low} {rule.high}")
    if low is not None and high is not None and low > high:
        raise _refused(rule.kind, "must have a low end that is not above the high end", f"{rule.low} {rule.high}")


def _check_one_of(rule: Rule) -> None:
    _check_one_column(rule)
    if not rule.values:
        raise _refused(rule.kind, "must name the values that are allowed", "none")


def _check_matches(rule: Rule) -> None:
    _check_one_column(rule)
    if not rule.argument:
        raise _refused(rule.kind, "must have a regular expression", "none")


def _check_predicate(rule: Rule) -> None:
    if not rule.argument.strip():
        raise _refused(rule.kind, "must have a condition over the columns", "none")


def _check_fresh(rule: Rule) -> None:
    found = _DURATION.fullmatch(rule.argument)
    if found is None or not datetime.timedelta(0) < rule.within < _LONGEST_AGE:
        raise _refused(rule.kind, "must have a duration such as 2d, 36h or 90m", rule.argument or "none")


def _check_rows(rule: Rule) -> None:
    for number in (rule.low, rule.high):
        if number is not None and not re.fullmatch(r"[0-9]{1,18}", number):
            raise _refused(rule.kind, "must have whole numbers", number)
    _check_ends(rule)


_CHECKS: dict[RuleKind, Callable[[Rule], None]] = {
    RuleKind.NOT_NULL: _check_one_column,
    RuleKind.UNIQUE: _check_unique,
    RuleKind.RANGE: _check_range,
    RuleKind.ONE_OF: _check_one_of,
    RuleKind.MATCHES: _check_matches,
    RuleKind.PREDICATE: _check_predicate,
    RuleKind.FRESH: _check_fresh,
    RuleKind.ROWS: _check_rows,
}


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None  # a date, or a text


# reading of text


def _listed(kind: RuleKind, text: str) -> tuple[str, ...]:
    try:
        return items(text)
    except ValueError as error:
        raise _refused(kind, str(error), text[:200] or "nothing") from error


def _read_range(rest: str) -> Rule:
    parts = words(rest)
    if len(parts) != 3:
        raise _refused(RuleKind.RANGE, "must have a column and two ends", rest[:200] or "nothing")
    return Rule.range(unquoted(parts[0]), end(parts[1]), end(parts[2]))


def _read_one_of(rest: str) -> Rule:
    column, values = first_word(rest)
    return Rule.one_of(column, _listed(RuleKind.ONE_OF, values))


def _read_matches(rest: str) -> Rule:
    column, regex = first_word(rest)
    return Rule.matches(column, unquoted(regex))


def _read_rows(rest: str) -> Rule:
    parts = words(rest)
    if len(parts) not in (1, 2):
        raise _refused(RuleKind.ROWS, "must have two ends", rest[:200] or "nothing")
    return Rule(kind=RuleKind.ROWS, low=end(parts[0]), high=end(parts[1]) if len(parts) == 2 else None)


_READERS: dict[RuleKind, Callable[[str], Rule]] = {
    RuleKind.NOT_NULL: lambda rest: Rule(kind=RuleKind.NOT_NULL, columns=_listed(RuleKind.NOT_NULL, rest)),
    RuleKind.UNIQUE: lambda rest: Rule.unique(*_listed(RuleKind.UNIQUE, rest)),
    RuleKind.RANGE: _read_range,
    RuleKind.ONE_OF: _read_one_of,
    RuleKind.MATCHES: _read_matches,
    RuleKind.PREDICATE: lambda rest: Rule.predicate(unquoted(rest)),
    RuleKind.FRESH: Rule.fresh,
    RuleKind.ROWS: _read_rows,
}
