"""What stands on the lines of ``%features``: variables, times, ages, keys. Read as literals, never evaluated."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.features.moments import age_of, moment_of
from hops_magic.features.names import nearest
from hops_magic.features.readers import FORMS


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


def ages(words: Sequence[str]) -> dict[str, datetime.timedelta]:
    """Read ``7d``, meant for all groups, and ``teams=7d``."""
    found = {}
    for word in words:
        name, equals, text = word.rpartition("=")
        found[name if equals else "*"] = age_of(text)
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
        # as they are written: 007 is a number where the group's key is one, and a text where it is a text
        columns[name] = values.split(",")
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


def shares(text: str) -> dict[str, float]:
    """Read ``train=.8,test=.2``."""
    found = {}
    for word in text.split(","):
        name, _, number = word.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise UsageError(f"--split is written NAME=SHARE,..., e.g. train=.8,test=.2, got {word[:80]!r}") from None
    return found


def ends(text: str) -> dict[str, datetime.datetime | None]:
    """Read ``train=2024-05-01,test=``: the end of each split, exclusive."""
    found: dict[str, datetime.datetime | None] = {}
    for word in text.split(","):
        name, equals, end = word.partition("=")
        at = moment_of(end) if end else None
        if not equals or isinstance(at, int):
            raise UsageError(f"--split-by-time is written NAME=END,..., e.g. train=2024-05-01,test=, got {word[:80]!r}")
        found[name.strip()] = at
    return found


def check_form(form: str) -> None:
    """Refuse what is no form of an answer."""
    if form not in FORMS:
        raise UsageError(f"--as must be one of {', '.join(FORMS)}, got {form[:80]!r}: the variable's name goes to --out")


def check_name(name: str, flag: str) -> None:
    """Refuse what cannot be a variable."""
    if not name.isidentifier():
        raise UsageError(f"{flag} must be a name of Python, got {name[:80]!r}")
