"""Times, commits and ages as users give them: in Python as values of several libraries, everywhere as texts."""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Mapping
from typing import Any

from hops_magic.errors import UsageError

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def moment_of(value: Any) -> datetime.datetime | int:
    """Read a time, which is in UTC where no zone is given, or the number of a commit; as a text, ``2024-05-01`` or ``3``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if isinstance(value, str):
        return _read(value)
    if hasattr(value, "dtype") and value.dtype.kind == "M" and not value.ndim:
        # numpy's times have no zone
        value = value.astype("datetime64[us]").item()
    # pandas' missing time is a time, and equals nothing
    if isinstance(value, datetime.datetime) and value == value:  # noqa: PLR0124
        return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time(), datetime.UTC)
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        return operator.index(value)
    raise _no_moment(repr(value))


def age_of(value: Any) -> datetime.timedelta:
    """Read a span of time; as a text, ``7d``, ``36h`` or ``90m``.

    Raises
    ------
    UsageError
        If it is none.
    """
    if isinstance(value, str):
        found = _AGE.fullmatch(value)
        if found is not None:
            return datetime.timedelta(seconds=float(found[1]) * _UNITS_S[found[2]])
    if hasattr(value, "dtype") and value.dtype.kind == "m" and not value.ndim:
        value = value.astype("timedelta64[us]").item()
    if isinstance(value, datetime.timedelta) and value == value:  # noqa: PLR0124
        return value
    raise UsageError(f"an age is written 90s, 30m, 12h, 7d or 2w, or is a timedelta, got {repr(value)[:80]}")


def told_age(age: datetime.timedelta) -> str:
    """Return a span of time as :func:`age_of` reads it, in the largest unit that it is whole in."""
    seconds = age.total_seconds()
    unit = max((unit for unit in _UNITS_S if not seconds % _UNITS_S[unit]), key=_UNITS_S.__getitem__, default="s")
    return f"{seconds / _UNITS_S[unit]:.15g}{unit}"


def ages_of(value: Any) -> dict[str, datetime.timedelta]:
    """Read an age for all groups, or a mapping of them by name of the group."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(name): age_of(age) for name, age in value.items()}
    return {"*": age_of(value)}


def _read(text: str) -> datetime.datetime | int:
    if text.isdecimal() and len(text) < 10:
        return int(text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise _no_moment(repr(text)) from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _no_moment(got: str) -> UsageError:
    return UsageError(f"a time is written 2024-05-01 or 2024-05-01T12:30, and a commit as its number, got {got[:80]}")
