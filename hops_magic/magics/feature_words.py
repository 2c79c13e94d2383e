"""What stands on the lines of ``%features``: variables, times, ages, keys. Read as literals, never evaluated."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.features.names import nearest

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def variable(namespace: Mapping[str, Any], name: str, flag: str) -> Any:
    """Return the value of a name of the notebook.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name in namespace:
        return namespace[name]
    known = [each for each in namespace if not each.startswith("_")]
    close = nearest(name, known)
    hint = f": did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"{flag} {name[:80]!r}: there is no such name in the notebook{hint}")


def moment(text: str) -> datetime.datetime | int:
    """Read ``3`` as a commit, ``2024-05-01`` or ``2024-05-01T12:30`` as a time (UTC where no zone is given).

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text.isdecimal() and len(text) < 10:
        return int(text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"a time is written 2024-05-01 or 2024-05-01T12:30, and a commit as its number, got {text[:80]!r}"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def age(text: str) -> datetime.timedelta:
    """Read ``7d``, ``36h``, ``90m``.

    Raises
    ------
    UsageError
        If it is none of them.
    """
    found = _AGE.fullmatch(text)
    if found is None:
        raise UsageError(f"an age is written 90s, 30m, 12h, 7d or 2w, got {text[:80]!r}")
    return datetime.timedelta(seconds=float(found[1]) * _UNITS_S[found[2]])


def ages(words: Sequence[str]) -> dict[str, datetime.timedelta]:
    """Read ``7d``, meant for all groups, and ``teams=7d``."""
    found = {}
    for word in words:
        name, equals, text = word.rpartition("=")
        found[name if equals else "*"] = age(text)
    return found


def keys(namespace: Mapping[str, Any], words: Sequence[str]) -> Any:
    """Read ``team_id=1,2 season=2024,2024`` as columns, or one word as a variable of the notebook."""
    if len(words) == 1 and "=" not in words[0]:
        return variable(namespace, words[0], "--keys")
    columns: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals or not name or not values:
            raise UsageError(f"--keys takes a variable, or KEY=VALUE,VALUE for each column of the key, got {word[:80]!r}")
        columns[name] = [_value(value) for value in values.split(",")]
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        told = ", ".join(f"{len(values)} of {name}" for name, values in columns.items())
        raise UsageError(f"--keys needs as many values of each column, got {told}")
    return columns


def described(words: Sequence[str]) -> dict[str, str]:
    """Read ``column=what it is``."""
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"a column is described with COLUMN=TEXT, got {word[:80]!r}")
        found[name] = text
    return found


def _value(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
