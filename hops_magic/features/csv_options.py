"""How a CSV file is written: one declaration for ``%features import`` and :func:`~hops_magic.features.import_file`."""

from __future__ import annotations

import codecs
import datetime
import decimal
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hops_magic.errors import OptionError
from hops_magic.options import as_words, check, option

# those of pandas: what is nothing, or says that nothing is known
PANDAS_NULLS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
_TABS = ("\\t", "tab")
_DECIMAL = re.compile(r"(?:decimal|decimal128|numeric)\((\d+),\s*(-?\d+)\)")
_MOST_DIGITS = 38
# what types are called by us, by pandas, by Arrow and by SQL -> by Arrow
_TYPES = {
    "text": "string", "string": "string", "str": "string", "object": "string", "varchar": "string", "large_string": "string",
    "int": "int64", "integer": "int64", "int64": "int64", "bigint": "int64", "int32": "int32", "int16": "int16",
    "int8": "int8", "float": "double", "double": "double", "float64": "double", "number": "double", "float32": "float",
    "bool": "bool", "boolean": "bool", "date": "date32[day]", "date32[day]": "date32[day]",
    "time": "timestamp[us, tz=UTC]", "timestamp": "timestamp[us, tz=UTC]", "datetime": "timestamp[us, tz=UTC]",
    "timestamp[us, tz=utc]": "timestamp[us, tz=UTC]", "timestamp[us]": "timestamp[us, tz=UTC]",
    "datetime64[ns]": "timestamp[us, tz=UTC]", "datetime64[us]": "timestamp[us, tz=UTC]",
}  # fmt: skip
_PYTHON = {
    str: "text",
    int: "int",
    float: "float",
    bool: "bool",
    datetime.date: "date",
    datetime.datetime: "time",
}


@dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """How CSV files are written; by default they are read as pandas would, and nothing is guessed that could be wrong."""

    delimiter: str | None = option(
        None, "what is between values; by default , or ; or a tab or |, whichever cuts all rows alike", metavar="CHARACTER"
    )
    quote: str = option('"', "what is around values that hold delimiters or line ends; '' for nothing", metavar="CHARACTER")
    escape: str | None = option(None, "what stands before a character that is meant as it is", metavar="CHARACTER")
    encoding: str | None = option(
        None, "of the text, e.g. latin-1, cp1252, utf-16; by default as its first bytes say, else utf-8", metavar="NAME"
    )
    nulls: tuple[str, ...] = option(
        (), "texts that mean that a value is missing, besides those of pandas", metavar="TEXT,..."
    )
    no_default_nulls: bool = option(False, "only what is empty and the texts of --nulls are missing values, not NA or null")
    quoted_text: bool = option(False, "in columns of text, what is in quotes is no missing value, even if empty or NA")
    types: Mapping[str, str] = option(
        (), "types of columns: text, int, float, decimal(10,2), bool, date or time", metavar="COLUMN=TYPE,..."
    )
    decimal: str = option(".", "what is before the fraction of a number: a point or a comma", choices=(".", ","))
    thousands: str | None = option(None, "what groups the digits of numbers by three", metavar="CHARACTER")
    date_format: str | None = option(
        None, "how dates and times are written that are not in ISO 8601, e.g. %%d/%%m/%%Y", metavar="FORMAT"
    )
    names: tuple[str, ...] = option((), "names of the columns of files without a line of names", metavar="COLUMN,...")
    no_header: bool = option(False, "the files have no line of names: columns are column0, column1 and so on")
    skip_rows: int = option(0, "lines to leave out at the beginning of each file", at_least=0, metavar="N")
    path_columns: bool = option(False, "make columns of folders named key=value above the files")
    flags: bool = option(False, "name options in messages as a magic's line has them", hidden=True)

    def __post_init__(self) -> None:
        for name in ("nulls", "names"):
            given = getattr(self, name)
            texts = (given,) if isinstance(given, str) else tuple(given)
            if wrong := [text for text in texts if not isinstance(text, str)]:
                raise OptionError(name, "must be texts, as they are written in the file", wrong[0])
            object.__setattr__(self, name, texts)
        if self.types and not isinstance(self.types, Mapping):
            raise OptionError("types", "must be a mapping of columns to types, e.g. {'zip': 'text'}", self.types)
        types = {str(column): _type_name(kind) for column, kind in dict(self.types or {}).items()}
        object.__setattr__(self, "types", types)
        if self.delimiter in _TABS:
            object.__setattr__(self, "delimiter", "\t")
        check(self)
        self._check_characters()
        self._check_names()
        _check_encoding(self.encoding)
        _check_date_format(self.date_format)

    def _check_characters(self) -> None:
        taken: dict[str, str] = {}
        for name in ("delimiter", "quote", "escape"):
            value = getattr(self, name)
            if value is None or (name == "quote" and not value):
                continue
            if len(value) != 1 or not value.isascii() or value in "\r\n\0":
                raise OptionError(name, "must be one character of ASCII", value)
            if value in taken:
                raise OptionError(name, f"must be another character than {taken[value]}", value)
            taken[value] = name
        if self.thousands is not None and (
            len(self.thousands) != 1
            or self.thousands in "+-\r\n"
            or self.thousands.isalnum()
            or self.thousands == self.decimal
        ):
            raise OptionError("thousands", "must be one character that is no part of a number", self.thousands)

    def _check_names(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise OptionError("names", "must name each column once", twice[0])
        for column, kind in self.types.items():
            try:
                arrow_name(kind)
            except ValueError:
                rule = f"must be text, int, float, decimal(10,2), bool, date or time for column {column}"
                raise OptionError("types", rule, kind) from None

    @property
    def null_markers(self) -> tuple[str, ...]:
        """All texts that mean that a value is missing."""
        return tuple(dict.fromkeys((*(("",) if self.no_default_nulls else PANDAS_NULLS), *self.nulls)))

    @property
    def given(self) -> list[str]:
        """Names of the options that are not as by default."""
        plain = CsvOptions(flags=self.flags)
        return [name for name in vars(self) if getattr(self, name) != getattr(plain, name)]

    def say(self, **values: Any) -> str:
        """Return options as whoever reads a message writes them: ``--nulls abc``, or ``nulls=['abc']`` in Python."""
        if self.flags:
            return " ".join(as_words(CsvOptions, values))
        return ", ".join(f"{name}={list(value) if isinstance(value, tuple) else value!r}" for name, value in values.items())

    def name(self, field: str) -> str:
        """Return the name of an option as whoever reads a message writes it."""
        return "--" + field.replace("_", "-") if self.flags else field


def _type_name(kind: Any) -> str:
    if isinstance(kind, type) and kind in _PYTHON:
        return _PYTHON[kind]
    return "text" if kind is decimal.Decimal else str(kind)


def arrow_name(kind: str) -> str:
    """Return the name of a type as the catalog has it.

    Raises
    ------
    ValueError
        If there is no such type.
    """
    said = kind.strip().lower()
    found = _DECIMAL.fullmatch(said)
    if found:
        digits, scale = int(found[1]), int(found[2])
        if not (0 < digits <= _MOST_DIGITS and 0 <= scale <= digits):
            raise ValueError(kind)
        return f"decimal128({digits}, {scale})"
    if said not in _TYPES:
        raise ValueError(kind)
    return _TYPES[said]


def _check_encoding(encoding: str | None) -> None:
    if encoding is None:
        return
    try:
        known = codecs.lookup(encoding)
    # ValueError: a NUL in the name
    except (LookupError, ValueError):
        raise OptionError("encoding", "must be one that Python knows, e.g. utf-8, latin-1, cp1252", encoding) from None
    if known.incrementaldecoder is None or not getattr(known, "_is_text_encoding", True):
        raise OptionError("encoding", "must be one of texts, e.g. utf-8, latin-1, cp1252", encoding)


def _check_date_format(date_format: str | None) -> None:
    if date_format is None:
        return
    if re.search("%[zZ]", date_format):
        raise OptionError(
            "date_format", "must be without %z and %Z: times with a zone are read in ISO 8601 alone", date_format
        )
    moment = datetime.datetime(2024, 11, 30, 13, 45, 59)
    try:
        read = datetime.datetime.strptime(moment.strftime(date_format), date_format)
    except (ValueError, re.error):
        read = None
    if read is None or (read.year, read.month, read.day) != (2024, 11, 30):
        raise OptionError("date_format", "must have a day, a month and a year, e.g. %d/%m/%Y %H:%M", date_format)
