"""Names as users write them: ``feature``, ``group.feature``, ``group@version.feature``, ``group.*``, ``group@version``."""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

from hops_magic.features.errors import FeatureError

_GROUP = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,127})(?:@(\d{1,9}))?")
_NEAREST = 3
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

DATASETS = "datasets"
"""Folder of the lake in which training datasets are, so no name of a group."""


@dataclass(frozen=True, kw_only=True)
class GroupName:
    """A group, and a version of it if one was said."""

    name: str
    version: int | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class FeatureName:
    """A requested feature; ``feature`` is ``*`` for all of a group.

    Attributes
    ----------
    group : GroupName or None
        None for a bare name.
    """

    feature: str
    group: GroupName | None = None

    @property
    def is_all(self) -> bool:
        """Whether every feature of a group is meant."""
        return self.feature == "*"

    def __str__(self) -> str:
        return self.feature if self.group is None else f"{self.group}.{self.feature}"


def parse_group(text: str) -> GroupName:
    """Read ``teams`` or ``teams@2``.

    Raises
    ------
    FeatureError
        If it is neither.
    """
    found = _GROUP.fullmatch(text)
    if found is None:
        raise FeatureError(
            "a group is written NAME or NAME@VERSION, where a name is letters, digits and _ after a first letter, "
            f"got {text[:200]!r}"
        )
    return GroupName(name=found[1], version=int(found[2]) if found[2] else None)


def parse_feature(text: str) -> FeatureName:
    """Read the name of a feature.

    Raises
    ------
    FeatureError
        If it is none.
    """
    group, dot, feature = text.partition(".")
    if not dot:
        if text == "*":
            raise FeatureError("'*' needs a group: write GROUP.* for all features of a group")
        if not text or "@" in text:
            raise FeatureError(f"a feature is written NAME, GROUP.NAME or GROUP@VERSION.NAME, got {text[:200]!r}")
        return FeatureName(feature=text)
    if not feature:
        raise FeatureError(f"{text[:200]!r} names no feature: write {group[:200]}.NAME, or {group[:200]}.* for all of them")
    return FeatureName(feature=feature, group=parse_group(group))


def folded(name: str) -> str:
    """Return a column's name as the engine compares it: without the case of the letters A to Z."""
    return name.translate(_FOLDED)


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the known names that somebody who wrote ``name`` may have meant, best first."""
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.casefold(), each)
    close = difflib.get_close_matches(name.casefold(), folded, n=_NEAREST, cutoff=0.7)
    return tuple(folded[each] for each in close)
