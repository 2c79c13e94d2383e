"""Columns as users name them in a text or a list, and the keys of other groups that they hold."""

from __future__ import annotations

from collections.abc import Sequence

from hops_magic.features.errors import FeatureError
from hops_magic.features.model import ForeignKey
from hops_magic.features.names import parse_group


def foreign_key(text: str) -> ForeignKey:
    """Read ``team=teams.team_id`` or ``origin,hour=weather.origin,hour``.

    Raises
    ------
    FeatureError
        If it is none.
    """
    left, equals, right = text.partition("=")
    group, dot, references = right.partition(".")
    columns, other = columns_named(left), columns_named(references)
    if not (equals and dot and columns and len(columns) == len(other)):
        raise FeatureError(
            f"a foreign key is written COLUMN=GROUP.KEY, or A,B=GROUP.A,B for a composite one, got {text[:200]!r}"
        )
    name = parse_group(group)
    if name.version is not None:
        raise FeatureError(f"a foreign key holds for the version that a query reads: write {name.name}, got {group}")
    return ForeignKey(columns=columns, group=name.name, references=other)


def foreign_keys_of(texts: Sequence[str] | str) -> tuple[ForeignKey, ...]:
    """Read one foreign key, or a list of them.

    Raises
    ------
    FeatureError
        If one is none.
    """
    return tuple(map(foreign_key, [texts] if isinstance(texts, str) else texts))


def columns_named(names: Sequence[str] | str) -> tuple[str, ...]:
    """Read ``"a, b"``; in a list, a name is taken as it is, with its commas and spaces."""
    if isinstance(names, str):
        return tuple(part.strip() for part in names.split(",") if part.strip())
    return tuple(names)
