"""Texts as values of a type: what each type takes, and what it makes of it."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.features.csv_options import CsvOptions

if TYPE_CHECKING:
    import pyarrow as pa

# as it is written when nothing is lost by taking it for a number: a postcode 00123 is none, nor a phone number +49123
PLAIN_WHOLE = r"^-?(0|[1-9][0-9]*)$"
CODED_WHOLE = r"^([+-]?0[0-9]+|\+[0-9]+)$"
_WHOLE = r"^[+-]?[0-9]+$"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ENDLESS = r"^[+-]?([iI][nN][fF]|[iI][nN][fF][iI][nN][iI][tT][yY])$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
NAIVE = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({_CLOCK})?$"
ZONED = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{_CLOCK}{_ZONE}$"
_TOO_FINE = r"(\.[0-9]{6})[0-9]+"
LOST_DIGITS = r"\.[0-9]{6}[0-9]*[1-9]"
LOOKS_LIKE_VALUES = "|".join((NUMBER, NAIVE, ZONED, "^([tT]rue|TRUE|[fF]alse|FALSE)$"))
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_SAID_TRUE, _SAID_FALSE = (
    (*TRUE, "1", "t", "T", "yes", "Yes", "YES", "y", "Y"),
    (*FALSE, "0", "f", "F", "no", "No", "NO", "n", "N"),
)
# whole numbers up to here are exact as floats, whatever they are
_EXACT_DIGITS = 15
_MOST_PARSED = 100_000
_PROBE = 16


@dataclass(frozen=True)
class Taker:
    """Makes values of a type of texts.

    Attributes
    ----------
    type : DataType
        The type.
    words : str
        What a value of it is called.
    take : callable
        Texts without spaces around them -> values, null where a text is none.
    """

    type: pa.DataType
    words: str
    take: Callable[[pa.Array], pa.Array]


def taker_of(type_: pa.DataType, options: CsvOptions, *, exact: bool = False) -> Taker:
    """Return what takes texts for a type; with ``exact``, narrow floats must be those that the texts mean.

    Raises
    ------
    ValueError
        If no text can be of that type.
    """
    import pyarrow as pa

    part, types = functools.partial, pa.types
    if types.is_string(type_):
        return Taker(type_, "text", lambda texts: texts)
    if types.is_boolean(type_):
        return Taker(type_, "truth value (true or false)", part(_truths, true=_SAID_TRUE, false=_SAID_FALSE))
    if types.is_date(type_):
        return Taker(type_, _dated("date", "2024-03-04", options), part(_dates, options=options))
    if types.is_timestamp(type_):
        return Taker(type_, _dated("time", "2024-03-04 12:00:00", options), part(_moments, options=options))
    if types.is_integer(type_):
        return Taker(type_, f"whole number ({type_})", part(_exact_numbers, pattern=_WHOLE, type_=type_, options=options))
    if types.is_decimal(type_):
        take = part(_exact_numbers, pattern=NUMBER, type_=type_, options=options)
        return Taker(type_, f"number that fits into decimal({type_.precision},{type_.scale})", take)
    if types.is_float32(type_) or types.is_float64(type_):
        return Taker(type_, "number", part(_floats, type_=type_, options=options, exact=exact))
    raise ValueError(f"no text is of type {type_}")


def _dated(noun: str, example: str, options: CsvOptions) -> str:
    return f"{noun} as in {example}" + (f" or of the form {options.date_format}" if options.date_format else "")


def numerals(texts: pa.Array, options: CsvOptions) -> pa.Array:
    """Return numbers as everyone writes them, with a point and without groups; what is none stays what it is."""
    import pyarrow.compute as pc

    point, group = options.decimal, options.thousands
    if point == "." and group is None:
        return texts
    before = rf"([0-9]+|[0-9]{{1,3}}({_escaped(group)}[0-9]{{3}})+)" if group else "[0-9]+"
    pattern = rf"^[+-]?({before}({_escaped(point)}[0-9]*)?|{_escaped(point)}[0-9]+)([eE][+-]?[0-9]+)?$"
    plain = pc.replace_substring(texts, group, "") if group else texts
    if point != ".":
        plain = pc.replace_substring(plain, point, ".")
        # with a comma for a point, a point is none
        texts = pc.if_else(pc.match_substring_regex(texts, NUMBER), pc.replace_substring(texts, ".", "\0"), texts)
    return pc.if_else(pc.match_substring_regex(texts, pattern), plain, texts)


def _escaped(letter: str) -> str:
    return letter if letter == " " or not letter.isascii() else f"\\{letter}"


def cast_or_none(texts: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """Return texts as another type; None if one of them is none."""
    import pyarrow as pa

    try:
        # Arrow makes a message for each text that is none, which is slow where most are none
        texts.slice(0, _PROBE).cast(type_)
        return texts.cast(type_)
    except pa.ArrowInvalid:
        return None


def _each(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return texts as another type, null where it does not take one."""
    import pyarrow as pa

    whole = cast_or_none(texts, type_)
    if whole is not None:
        return whole
    if len(texts) == 1:
        return pa.nulls(1, type_)
    half = len(texts) // 2
    return pa.concat_arrays([_each(texts.slice(0, half), type_), _each(texts.slice(half), type_)])


def _only(texts: pa.Array, pattern: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, pa.scalar(None, pa.string()))


def _exact_numbers(texts: pa.Array, *, pattern: str, type_: pa.DataType, options: CsvOptions) -> pa.Array:
    import pyarrow.compute as pc

    return _each(pc.replace_substring_regex(_only(numerals(texts, options), pattern), r"^\+", ""), type_)


def _floats(texts: pa.Array, *, type_: pa.DataType, options: CsvOptions, exact: bool) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = floats(numerals(texts, options))
    narrow = values.cast(type_, safe=False)
    if not exact or type_ == pa.float64():
        return narrow
    # the shortest text of a narrow float stands for that float
    same = pc.equal(narrow.cast(pa.string()).cast(pa.float64()), values)
    return pc.if_else(same, narrow, pa.scalar(None, type_))


def floats(texts: pa.Array) -> pa.Array:
    """Return numbers as floats; none of a whole number that a float would round, or that is too large for one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = cast_or_none(texts, pa.float64())
    if values is not None and are_exact(texts, values):
        return values
    endless = pc.match_substring_regex(texts, _ENDLESS)
    plain = pc.if_else(endless, texts, _only(texts, NUMBER))
    values = plain.cast(pa.float64())
    lost = pc.or_(pc.and_(pc.is_inf(values), pc.invert(endless)), pc.is_in(plain, rounded_whole(plain)))
    return pc.if_else(lost, pa.scalar(None, pa.float64()), values)


def are_whole(floats: pa.Array) -> pa.Array:
    """Tell which floats have no fraction."""
    import pyarrow.compute as pc

    return pc.equal(pc.floor(floats), floats)


def are_exact(texts: pa.Array, floats: pa.Array) -> bool:
    """Whether floats are what texts say: none is too large, NaN, or a whole number that was rounded."""
    import pyarrow.compute as pc

    doubtful = texts.filter(pc.fill_null(pc.invert(pc.less(pc.abs(floats), 10.0**_EXACT_DIGITS)), False))
    endless = pc.match_substring_regex(doubtful, _ENDLESS)
    finite = doubtful.filter(pc.invert(endless))
    return not (pc.any(pc.invert(pc.is_finite(finite.cast(floats.type)))).as_py() or len(rounded_whole(finite)))


def begins_with_zero(texts: pa.Array) -> pa.Array:
    """Tell which texts have a zero before other letters, if it was not for a minus."""
    import pyarrow.compute as pc

    is_zero = pc.and_(pc.starts_with(texts, "0"), pc.greater(pc.binary_length(texts), 1))
    return pc.or_(is_zero, pc.starts_with(texts, "-0"))


def rounded_whole(texts: pa.Array) -> pa.Array:
    """Return those of whole numbers that a float would round."""
    import pyarrow as pa
    import pyarrow.compute as pc

    long = pc.unique(
        texts.filter(pc.fill_null(pc.match_substring_regex(texts, rf"^[+-]?[0-9]{{{_EXACT_DIGITS + 1},}}$"), False))
    )
    return pa.array([text for text in long.to_pylist() if len(text) > 300 or int(float(text)) != int(text)], pa.string())


def _truths(texts: pa.Array, *, true: tuple[str, ...], false: tuple[str, ...]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_true = pc.is_in(texts, pa.array(true))
    return pc.if_else(pc.or_(is_true, pc.is_in(texts, pa.array(false))), is_true, pa.scalar(None, pa.bool_()))


def plain_truths(texts: pa.Array) -> pa.Array:
    """Return what pandas takes for truth values."""
    return _truths(texts, true=TRUE, false=FALSE)


def iso_dates(texts: pa.Array) -> pa.Array:
    """Return dates in ISO 8601."""
    import pyarrow as pa

    return _each(_only(texts, _DATE), pa.date32())


def naive_or_zoned(texts: pa.Array) -> pa.Array:
    """Tell which texts look like dates and times in ISO 8601."""
    import pyarrow.compute as pc

    return pc.or_(pc.match_substring_regex(texts, NAIVE), pc.match_substring_regex(texts, ZONED))


def _dates(texts: pa.Array, *, options: CsvOptions) -> pa.Array:
    import pyarrow.compute as pc

    values = iso_dates(texts)
    if options.date_format:
        values = pc.coalesce(values, formatted(texts, options.date_format, of_days=True))
    return values


def naive_moments(texts: pa.Array) -> pa.Array:
    """Return dates and times in ISO 8601 without a zone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = cast_or_none(texts, pa.timestamp("us"))
    if plain is not None:
        return plain
    return _each(pc.replace_substring_regex(_only(texts, NAIVE), _TOO_FINE, r"\1"), pa.timestamp("us"))


def zoned_moments(texts: pa.Array) -> pa.Array:
    """Return times in ISO 8601 with a zone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = cast_or_none(texts, pa.timestamp("us", "UTC"))
    if plain is not None:
        return plain
    return _each(pc.replace_substring_regex(_only(texts, ZONED), _TOO_FINE, r"\1"), pa.timestamp("us", "UTC"))


def _moments(texts: pa.Array, *, options: CsvOptions) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    utc = pa.timestamp("us", "UTC")
    values = pc.coalesce(zoned_moments(texts), naive_moments(texts).cast(utc))
    if options.date_format:
        values = pc.coalesce(values, formatted(texts, options.date_format).cast(utc))
    return values


def is_moment(text: str) -> bool:
    """Whether a text in ISO 8601 names a day or time that there is."""
    import pyarrow as pa

    texts = pa.array([text])
    return bool(zoned_moments(texts)[0].is_valid or naive_moments(texts)[0].is_valid)


def formatted(texts: pa.Array, date_format: str, *, of_days: bool = False) -> pa.Array:
    """Return dates and times that are written in a form of ``strptime``: in UTC, if it has zones."""
    import pyarrow as pa

    known = texts.dictionary_encode()
    values = [None if text is None else parsed(text, date_format) for text in known.dictionary.to_pylist()]
    if of_days:
        days = [value.date() if value and value.time() == datetime.time() else None for value in values]
        return pa.array(days, pa.date32()).take(known.indices)
    zone = "UTC" if "%z" in date_format else None
    return pa.array(values, pa.timestamp("us", zone)).take(known.indices)


@functools.lru_cache(_MOST_PARSED)
def parsed(text: str, date_format: str) -> datetime.datetime | None:
    """Return a date or time that is written in a form of ``strptime``, None if the text is none."""
    try:
        return datetime.datetime.strptime(text, date_format)
    except ValueError:
        return None


def has_clock(date_format: str) -> bool:
    """Whether a form of ``strptime`` tells more than the day."""
    return any(f"%{letter}" in date_format.replace("%%", "") for letter in "HIMSfpzZcXT")


def is_missing(texts: pa.Array, markers: tuple[str, ...]) -> pa.Array:
    """Tell which texts mean that there is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(texts, pa.array(markers, pa.string()))


def trimmed(texts: pa.Array) -> Any:
    """Return texts without spaces around them."""
    import pyarrow.compute as pc

    return pc.utf8_trim_whitespace(texts)
