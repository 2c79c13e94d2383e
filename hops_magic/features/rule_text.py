"""Words and lists in the text of a rule; what has spaces, commas or quotes stands in double quotes, doubled inside."""

from __future__ import annotations

import datetime
import re
from typing import Any

OPEN_END = "-"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_WORD = re.compile(r'"(?:[^"]|"")*"|\S+')
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*?))\s*(,|$)')


def words(text: str) -> list[str]:
    """Split text at spaces; words keep their quotes."""
    return _WORD.findall(text)


def first_word(text: str) -> tuple[str, str]:
    """Split the first word off, without its quotes."""
    found = _WORD.match(text)
    return (unquoted(found[0]), text[found.end() :].strip()) if found else ("", "")


def items(text: str) -> tuple[str, ...]:
    """Split text at commas.

    Raises
    ------
    ValueError
        If quotes are not closed, or nothing stands between two commas.
    """
    found, at, more = [], 0, True
    while more:
        item = _ITEM.match(text, at)
        if item is None:
            raise ValueError("must have its double quotes closed")
        inside, bare, comma = item.groups()
        if not inside and bare == "":
            raise ValueError('must have something between its commas ("" is an empty text)')
        found.append(bare if inside is None else inside.replace('""', '"'))
        at, more = item.end(), comma == ","
    return tuple(found)


def end(word: str) -> str | None:
    """Read an end of a range; None for an open one."""
    return None if word == OPEN_END else unquoted(word)


def unquoted(text: str) -> str:
    """Take the quotes off a text that is in quotes as a whole."""
    whole = _QUOTED.fullmatch(text)
    return whole[1].replace('""', '"') if whole else text


def in_quotes(text: str) -> str:
    """Put a text in quotes."""
    return '"' + text.replace('"', '""') + '"'


def as_item(text: str) -> str:
    """Return what :func:`items` reads as this text."""
    return text if as_rest(text) == text and not set(text) & {",", '"'} else in_quotes(text)


def as_word(text: str) -> str:
    """Return what :func:`words` gives as this text."""
    return text if re.fullmatch(r'[^\s"]+', text) and text != OPEN_END else in_quotes(text)


def as_end(text: str | None) -> str:
    """Return what :func:`end` reads as this end."""
    return OPEN_END if text is None else as_word(text)


def as_rest(text: str) -> str:
    """Return what :func:`unquoted` reads as this text, at the end of a line."""
    return text if text and not text.startswith('"') and text == text.strip() else in_quotes(text)


def text_of(value: Any) -> str | None:
    """Return a value as text that the engine reads as the column's type."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)
