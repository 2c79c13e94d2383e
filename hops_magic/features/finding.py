"""Searching names, descriptions and tags: what matched, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hops_magic.features.catalog_tables import Entry


@dataclass(frozen=True, kw_only=True)
class Match:
    """A group or a feature that a search found.

    Attributes
    ----------
    column : str
        The feature; empty if the group itself matched.
    where : str
        ``"name"``, ``"tag"`` or ``"description"``.
    text : str
        The text that matched.
    start, end : int
        The matched part of it.
    """

    group: str
    version: int
    column: str
    type: str
    description: str
    where: str
    text: str
    start: int
    end: int

    @property
    def full_name(self) -> str:
        """As it is asked for: ``group.feature``, or the group's name."""
        return f"{self.group}.{self.column}" if self.column else self.group


def search(entries: Iterable[Entry], text: str) -> list[Match]:
    """Return what contains all words of a text, best first: names before tags before descriptions."""
    words = text.casefold().split()
    if not words:
        return []
    found = []
    for entry in entries:
        ranked = _match(entry, words)
        if ranked is not None:
            found.append(ranked)
    found.sort(key=lambda pair: pair[0])
    return [match for _, match in found]


def _match(entry: Entry, words: Sequence[str]) -> tuple[tuple[int, int, int, str], Match] | None:
    name = entry.column or entry.group
    texts = [("name", name), *(("tag", tag) for tag in entry.tags), ("description", entry.description)]
    folded = [text.casefold() for _, text in texts]
    # the name of its group helps to find a feature, but does not make all of the group's features match
    around = " ".join([*folded, entry.group.casefold()])
    if not all(word in around for word in words):
        return None
    for rank, (where, text) in enumerate(texts):
        for word in words:
            start = folded[rank].find(word)
            if start >= 0:
                match = Match(
                    group=entry.group,
                    version=entry.version,
                    column=entry.column,
                    type=entry.type,
                    description=entry.description,
                    where=where,
                    text=text,
                    start=start,
                    end=start + len(word),
                )
                return (rank, start, len(name), match.full_name), match
    return None
