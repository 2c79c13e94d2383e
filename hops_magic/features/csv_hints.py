"""What is told of columns of CSV files that may be meant as something else than they are kept as."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from hops_magic.features import csv_values as v
from hops_magic.features.csv_options import CsvOptions
from hops_magic.features.csv_types import ColumnTypes, Kind

_DAY = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([ T].*)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}([., '\u00a0\u202f])\d{3}(\1\d{3})*([.,]\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_POINT = re.compile(r"[+-]?\d+\.\d+")
_PARTS = {"year": "%Y", "month": "%m", "day": "%d"}
_SHOWN = 40
_MOST_MARKERS = 5
_MOST_NAMES = 8


def hints(columns: Sequence[ColumnTypes], options: CsvOptions) -> Iterator[str]:
    """Yield sentences on columns that became text, lost something, or have no values."""
    for told in why_text(columns, options):
        yield f"column {told}"
    empty = [column.name for column in columns if not (column.has_values or column.has_quoted or column.wanted)]
    if empty:
        are = f"column {empty[0][:_SHOWN]} is" if len(empty) == 1 else f"columns {_named(empty)} are"
        yield f"{are} empty, and kept as text: {options.say(types={empty[0]: 'float'})} makes numbers of it"
    for column in columns:
        name = column.name[:_SHOWN]
        # what is in quotes is kept if that is said
        markers = [] if options.quoted_text else sorted(column.markers)
        if markers and (column.is_text or (column.wanted is not None and str(column.type) == "string")):
            shown = ", ".join(map(repr, markers[:_MOST_MARKERS]))
            yield (
                f"column {name}: {shown} {'was' if len(markers) == 1 else 'were'} taken for missing values: say "
                f"{options.say(no_default_nulls=True)} if {'it is a value' if len(markers) == 1 else 'they are values'}"
            )
        if column.is_cut:
            yield f"column {name}: times are kept in microseconds, nanoseconds are cut off"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(name[:_SHOWN] for name in names[:_MOST_NAMES])
    return shown + (f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else "")


def remedy(misfit: str, column: ColumnTypes, options: CsvOptions) -> str:
    """Return what to do about a value that is not of the type that its column must have."""
    import pyarrow as pa

    kind, value = column.type, misfit.strip()
    if pa.types.is_temporal(kind) and not options.date_format and _DAY.fullmatch(value):
        return _day_form(value, options)
    is_numeric = not (pa.types.is_temporal(kind) or pa.types.is_boolean(kind) or re.match(v.NUMBER, value))
    numerals = _numerals([value], options) if is_numeric else ""
    if numerals:
        return numerals
    can_be_said = len(misfit) <= _SHOWN and misfit.isprintable() and "," not in misfit
    null = f" or say {options.say(nulls=(value,))} if it means that a value is missing," if can_be_said else ""
    if not column.is_said:
        return f"mend it,{null} since the group's column is of type {kind}"
    return f"mend it,{null} or say another type, e.g. {options.say(types={column.name: 'text'})}"


def why_text(columns: Iterable[ColumnTypes], options: CsvOptions) -> Iterator[str]:
    """Yield names of columns that stayed text, with what speaks against it."""
    for column in columns:
        reason = _why_text(column, options) if column.is_text else ""
        if reason:
            yield f"{column.name[:_SHOWN]} is kept as text: {reason}"


def _why_text(column: ColumnTypes, options: CsvOptions) -> str:
    """Return why values that look like something else stayed text; nothing if they look like text."""
    values = column.evidence
    as_text = options.say(types={column.name: "text"})
    coded = next((value for value in values if re.match(v.CODED_WHOLE, value)), None)
    if coded is not None and _most(values, v.NUMBER):
        number = options.say(types={column.name: "int"})
        return (
            f"as a number, {coded[:_SHOWN]!r} would be {int(coded)}; say {number} if it is one, or {as_text} if it is none"
        )
    form = options.date_format
    unformed = [value for value in values if form and not v.parsed(value, form)]
    if unformed and len(unformed) * 2 <= len(values):
        return f"{unformed[0][:_SHOWN]!r} is not of the form {form}, of which its other values are; say {as_text}"
    if _most(values, _DAY.pattern) and not _most(values, v.NAIVE):
        return _day_form(next(value for value in values if _DAY.fullmatch(value)), options)
    grouped = _numerals(values, options)
    if grouped:
        return grouped
    misfit = next((value for value in values if not _looks_like(value, column.was)), None)
    if misfit is None and column.was is not None:
        misfit = values[0]
    if misfit is not None and (column.was is not None or _most_fit(values)):
        what = (column.was or _kind(values)).value
        null = options.say(nulls=(misfit[:_SHOWN],))
        return (
            f"{misfit[:_SHOWN]!r} is none of the {what} that its other values are; say {null} if it means that a value is "
            f"missing, or {as_text}"
        )
    if misfit is None and _most(values, v.NUMBER):
        decimal = options.say(types={column.name: "decimal(38,9)"})
        return (
            f"some of its numbers are larger, or have more digits, than others leave room for; say {as_text}, or {decimal}"
        )
    never = next(
        (value for value in values if misfit is None and _looks_like(value, Kind.DATE) and not v.is_moment(value)), None
    )
    if never is not None:
        null = options.say(nulls=(never[:_SHOWN],))
        return f"there is no {never[:_SHOWN]!r}; mend it, say {null} if it means that a value is missing, or {as_text}"
    if misfit is None and _most_fit(values):
        time = options.say(types={column.name: "time"})
        return f"some of its times have a zone and some have none; say {time} if those are in UTC"
    return ""


def _day_form(value: str, options: CsvOptions) -> str:
    parts = re.split(r"[./-]", re.split(r"[ T]", value, maxsplit=1)[0])
    mark = re.sub(r"\d", "", value)[0]
    orders = [("year", "month", "day")] if len(parts[0]) == 4 else [("day", "month", "year"), ("month", "day", "year")]
    year = "%Y" if any(len(part) == 4 for part in parts) else "%y"
    forms = [mark.join(year if part == "year" else _PARTS[part] for part in order) for order in orders]
    shown = " or ".join(options.say(date_format=form) for form in forms)
    return f"how {value[:_SHOWN]!r} is meant is not guessed: say {shown}" + (
        ", with the time behind it" if " " in value or "T" in value else ""
    )


def _numerals(values: Sequence[str], options: CsvOptions) -> str:
    found = next((match for match in map(_GROUPED.fullmatch, values) if match), None)
    plain = [value for value in values if not _GROUPED.fullmatch(value)]
    if found is not None and len(plain) * 2 <= len(values) and _most(plain or ["0"], v.NUMBER + "|" + _COMMA.pattern):
        mark = found[1]
        decimal = {"decimal": ","} if mark == "." else {}
        remedy = options.say(thousands=mark, **decimal)
        return f"{found[0][:_SHOWN]!r} is no number as they are written by default: say {remedy}"
    comma = next((value for value in values if _COMMA.fullmatch(value)), None)
    if comma is not None and options.decimal == "." and _most(values, rf"{_COMMA.pattern}|[+-]?\d+"):
        return f"{comma[:_SHOWN]!r} is no number as they are written by default: say {options.say(decimal=',')}"
    point = next((value for value in values if _POINT.fullmatch(value)), None)
    if point is not None and options.decimal == "," and _most(values, rf"{_POINT.pattern}|[+-]?\d+"):
        return f"{point[:_SHOWN]!r} is no number with {options.say(decimal=',')}"
    return ""


def _most(values: Sequence[str], pattern: str) -> bool:
    return sum(re.fullmatch(pattern, value) is not None for value in values) * 2 >= len(values) > 0


def _looks_like(value: str, kind: Kind | None) -> bool:
    if kind in (Kind.DATE, Kind.NAIVE, Kind.ZONED):
        return bool(re.fullmatch(v.NAIVE, value) or re.fullmatch(v.ZONED, value))
    if kind is Kind.TRUTH:
        return value in (*v.TRUE, *v.FALSE)
    if kind is None:
        return bool(re.fullmatch(v.NUMBER, value)) or _looks_like(value, Kind.DATE) or _looks_like(value, Kind.TRUTH)
    return bool(re.fullmatch(v.NUMBER, value))


def _most_fit(values: Sequence[str]) -> bool:
    return sum(_looks_like(value, None) for value in values) * 2 > len(values)


def _kind(values: Sequence[str]) -> Kind:
    return max((Kind.FLOAT, Kind.DATE, Kind.TRUTH), key=lambda kind: sum(_looks_like(value, kind) for value in values))
