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


def search(entries: Iterable[Entry], text: str, first: int = 0, last: int | None = None) -> tuple[list[Match], int]:
    """Return what contains all words of a text, best first: names before tags before descriptions.

    Returns
    -------
    matches, total
        A slice of it, and how much there is.
    """
    words = text.casefold().split()
    if not words:
        return [], 0
    found = []
    for entry in entries:
        ranked = _ranked(entry, words)
        if ranked is not None:
            found.append(ranked)
    found.sort()
    # most of what a short text finds is never shown
    return [_match(entry, words) for *_, entry in found[first:last]], len(found)


def _ranked(entry: Entry, words: Sequence[str]) -> tuple[int, int, int, str, Entry] | None:
    """Return what orders an entry that contains all words, and the entry."""
    name = entry.column or entry.group
    folded = [name.casefold(), *(tag.casefold() for tag in entry.tags), entry.description.casefold()]
    # the name of its group helps to find a feature, but does not make all of the group's features match
    around = " ".join([*folded, entry.group.casefold()])
    if not all(word in around for word in words):
        return None
    for rank, own in enumerate(folded):
        for word in words:
            start = own.find(word)
            if start >= 0:
                return rank, start, len(name), f"{entry.group}.{entry.column}" if entry.column else entry.group, entry
    return None


def _match(entry: Entry, words: Sequence[str]) -> Match:
    texts = [
        ("name", entry.column or entry.group),
        *(("tag", tag) for tag in entry.tags),
        ("description", entry.description),
    ]
    where, text, start, word = next(
        (where, text, start, word) for where, text in texts for word in words if (start := text.casefold().find(word)) >= 0
    )
    return Match(
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
