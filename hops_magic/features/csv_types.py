"""Types of the columns of CSV files, found by looking at every value."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hops_magic.features import csv_values as v
from hops_magic.features.csv_options import PANDAS_NULLS, CsvOptions

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_WHOLE = 38
_EXACT = 2**53
# of the values that made a column text, for whoever tells why
_EVIDENCE = 100
_SAMPLE = 1_000
# taken for missing values though nobody said so
_UNTOLD = set(PANDAS_NULLS) - {""}


class Kind(enum.Enum):
    """What all values of a column may be; where several are left, the first is taken."""

    WHOLE = "whole numbers"
    LONG = "whole numbers of more than 18 digits"
    FLOAT = "numbers"
    TRUTH = "truth values"
    DATE = "dates"
    NAIVE = "times"
    ZONED = "times with a zone"
    FORMATTED = "dates of the form that was said"


@dataclass
class ColumnTypes:
    """What is known of a column while its values pass.

    Parameters
    ----------
    name : str
        The column.
    options : CsvOptions
        How values are written.
    wanted : Taker, optional
        Of the type that was said, or that the group has.
    is_said : bool
        Whether that type was said: then every value must fit.

    Attributes
    ----------
    kinds : list of Kind
        What the column still may be.
    evidence : list of str
        Values that left nothing but text.
    was : Kind or None
        What all values before those were.
    markers : set of str
        Texts, not empty, that are taken for missing values though nobody said so.
    is_cut : bool
        Whether a time has digits beyond microseconds.
    has_values : bool
        Whether there was any.
    has_quoted : bool
        Whether a text in quotes, which is none, may be a value.
    has_missing, is_padded : bool
        Whether there were texts for missing values, and texts with spaces around them.
    """

    name: str
    options: CsvOptions
    wanted: v.Taker | None = None
    is_said: bool = False
    kinds: list[Kind] = field(default_factory=lambda: list(Kind))
    evidence: list[str] = field(default_factory=list)
    was: Kind | None = None
    markers: set[str] = field(default_factory=set)
    is_cut: bool = False
    has_values: bool = False
    has_quoted: bool = False
    has_missing: bool = False
    is_padded: bool = False

    def look(self, column: pa.Array) -> str | None:
        """Take notice of a part of the column; return a value that is not of the type that it must have."""
        import pyarrow.compute as pc

        given = _fewer(column.drop_null())
        texts = v.trimmed(given)
        self.is_padded = self.is_padded or not texts.equals(given)
        missing = v.is_missing(texts, self.options.null_markers)
        self.has_quoted = self.has_quoted or (self.options.quoted_text and bool(len(given)))
        if pc.any(missing).as_py():
            self.has_missing = True
            found = set(pc.unique(given.filter(missing)).to_pylist())
            self.markers |= found & _UNTOLD - set(self.options.nulls)
            given, texts = given.filter(pc.invert(missing)), texts.filter(pc.invert(missing))
        return self._narrow(given, texts) if len(texts) else None

    def _narrow(self, given: pa.Array, texts: pa.Array) -> str | None:
        import pyarrow as pa
        import pyarrow.compute as pc

        is_first, self.has_values = not self.has_values, True
        if not self.is_said and self.kinds:
            before = self.kinds
            self.kinds = _possible(texts, before, self.options)
            if not self.kinds:
                self.was = None if is_first else before[0]
                self.evidence = _evidence(pc.unique(texts))
        fits = None if self.wanted is None else self.wanted.take(texts).is_valid()
        if fits is not None and not pc.all(fits).as_py():
            # where a group has whole numbers, others may be brought to it; texts may not
            if self.is_said or not self.kinds:
                misfit: str = given.filter(pc.invert(fits))[0].as_py()
                return misfit
            self.wanted = None
        if pa.types.is_timestamp(self.type):
            self.is_cut = self.is_cut or bool(pc.any(pc.match_substring_regex(texts, v.LOST_DIGITS)).as_py())
        return None

    @property
    def is_text(self) -> bool:
        """Whether the column is kept as text, though that was not said."""
        return self.wanted is None and self.has_values and not self.kinds

    @property
    def has_form(self) -> bool:
        """Whether the form of dates that was said may be that of its values."""
        import pyarrow as pa

        return pa.types.is_temporal(self.type) and (self.wanted is not None or self.kinds[0] is Kind.FORMATTED)

    @property
    def type(self) -> pa.DataType:
        """The type that the column has, as far as it was seen."""
        import pyarrow as pa

        if self.wanted is not None:
            return self.wanted.type
        if not self.has_values or not self.kinds:
            return pa.string()
        return _result(self.kinds[0], self.options)[0]

    def values(self, column: pa.Array) -> pa.Array:
        """Return texts of the column as values of its type."""
        import pyarrow as pa
        import pyarrow.compute as pc

        none, markers = pa.scalar(None, pa.string()), self.options.null_markers
        if pa.types.is_string(self.type):
            # what means that a value is missing is null already, if it matters whether it is in quotes
            if self.options.quoted_text or not self.has_missing:
                return column
            return pc.if_else(v.is_missing(column, markers), none, column)
        texts = v.trimmed(column) if self.is_padded else column
        if self.has_missing:
            texts = pc.if_else(v.is_missing(texts, markers), none, texts)
        if self.wanted is not None:
            return self.wanted.take(texts)
        return _result(self.kinds[0], self.options)[1](texts)


def _evidence(texts: pa.Array) -> list[str]:
    """Return some texts: of those that look like values of another type, and of those that do not."""
    import pyarrow.compute as pc

    looks = pc.match_substring_regex(texts, v.LOOKS_LIKE_VALUES)
    others = texts.filter(pc.invert(looks)).slice(0, _EVIDENCE).to_pylist()
    return [*texts.filter(looks).slice(0, _EVIDENCE).to_pylist(), *others]


def _fewer(texts: pa.Array) -> pa.Array:
    """Return each text once, if that makes them fewer."""
    import pyarrow.compute as pc

    begin = texts.slice(0, _SAMPLE)
    return pc.unique(texts) if len(pc.unique(begin)) * 2 <= len(begin) else texts


def _possible(texts: pa.Array, kinds: list[Kind], options: CsvOptions) -> list[Kind]:
    """Return those kinds that all texts are of."""
    found: set[Kind] = set()
    wanted = set(kinds)
    if wanted & {Kind.WHOLE, Kind.LONG, Kind.FLOAT}:
        found |= _of_numbers(v.numerals(texts, options), may_be_whole=Kind.LONG in wanted)
    if not found and Kind.TRUTH in wanted and texts[0].as_py() in (*v.TRUE, *v.FALSE) and _all_valid(v.plain_truths(texts)):
        found.add(Kind.TRUTH)
    if not found and wanted & {Kind.DATE, Kind.NAIVE, Kind.ZONED}:
        found |= _of_times(texts)
    # numbers stay numbers, even those that could be read as a date
    form = options.date_format
    if form and not found & wanted and Kind.FORMATTED in wanted and _all_valid(v.formatted(texts, form)):
        found.add(Kind.FORMATTED)
    return [kind for kind in kinds if kind in found]


def _all_valid(values: pa.Array) -> bool:
    return int(values.null_count) == 0


def _of_numbers(texts: pa.Array, *, may_be_whole: bool) -> set[Kind]:
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = v.cast_or_none(texts, pa.int64()) if may_be_whole else None
    # Arrow reads 007 and 0x7 too, and +7 not as a whole number
    if whole is not None and not pc.any(v.begins_with_zero(texts)).as_py():
        is_exact = max(-pc.min(whole).as_py(), pc.max(whole).as_py()) <= _EXACT
        return {Kind.WHOLE, Kind.LONG} | ({Kind.FLOAT} if is_exact else set())
    floats = v.cast_or_none(texts, pa.float64())
    if floats is None or pc.any(pc.match_substring_regex(texts.filter(v.are_whole(floats)), v.CODED_WHOLE)).as_py():
        return set()
    if whole is not None or pc.all(pc.match_substring_regex(texts, v.PLAIN_WHOLE)).as_py():
        digits = pc.max(pc.binary_length(pc.utf8_ltrim(texts, "-"))).as_py()
        found = {Kind.LONG} if digits <= _LONGEST_WHOLE else set()
        found |= {Kind.WHOLE} if whole is not None else set()
        return found | (set() if len(v.rounded_whole(texts)) else {Kind.FLOAT})
    return {Kind.FLOAT} if v.are_exact(texts, floats) else set()


def _of_times(texts: pa.Array) -> set[Kind]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not v.naive_or_zoned(texts.slice(0, 1))[0].as_py():
        return set()
    if v.cast_or_none(texts, pa.date32()) is not None:
        return {Kind.DATE, Kind.NAIVE}
    is_zoned = pc.match_substring_regex(texts.slice(0, 1), v.ZONED)[0].as_py()
    moments = v.zoned_moments(texts) if is_zoned else v.naive_moments(texts)
    return {Kind.ZONED if is_zoned else Kind.NAIVE} if _all_valid(moments) else set()


def _result(kind: Kind, options: CsvOptions) -> tuple[pa.DataType, Any]:
    """Return the type of a kind, and what makes its values of texts."""
    import pyarrow as pa

    if kind is Kind.TRUTH:
        return pa.bool_(), v.plain_truths
    if kind is Kind.NAIVE:
        return pa.timestamp("us"), v.naive_moments
    if kind is Kind.ZONED:
        return pa.timestamp("us", "UTC"), v.zoned_moments
    if kind is Kind.FORMATTED:
        form = options.date_format or ""
        of_days = not v.has_clock(form)
        type_ = pa.date32() if of_days else pa.timestamp("us", "UTC" if "%z" in form else None)
        return type_, lambda texts: v.formatted(texts, form, of_days=of_days)
    type_ = {
        Kind.WHOLE: pa.int64(),
        Kind.LONG: pa.decimal128(_LONGEST_WHOLE, 0),
        Kind.FLOAT: pa.float64(),
        Kind.DATE: pa.date32(),
    }[kind]
    return type_, lambda texts: v.numerals(texts, options).cast(type_)
