"""A part of a long text file by characters, without reading all of it into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """Characters ``start`` to ``end`` of ``total``."""

    text: str = ""
    start: int = 0
    end: int = 0
    total: int = 0


def part_of(path: Path, start: int, length: int) -> TextPart:
    """Read a part of a UTF-8 file; a negative start means its end.

    Characters are counted by their first bytes, which is fast, and only those of the part are decoded. What is no text comes
    as U+FFFD.
    """
    total = sum(count for _, count in _counted(path))
    first = max(0, total - length) if start < 0 else min(start, total)
    last = min(first + length, total)
    begins, ends = _place_of(path, first), _place_of(path, last)
    with path.open("rb") as file:
        file.seek(begins)
        text = _decoded(file.read(ends - begins))
    return TextPart(text=text, start=first, end=last, total=total)


def _counted(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield the file in chunks, with the number of characters that begin in each."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk, len(_beginnings(chunk))


def _place_of(path: Path, character: int) -> int:
    """Return the byte at which a character begins; the file's size for the one after the last."""
    place = 0
    for chunk, count in _counted(path):
        if character < count:
            return place + int(_beginnings(chunk)[character])
        character -= count
        place += len(chunk)
    return place


def _beginnings(chunk: bytes) -> np.ndarray:
    return np.flatnonzero((np.frombuffer(chunk, dtype=np.uint8) & 0xC0) != 0x80)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        # what begins is one character, whatever follows, so that what was counted is what comes
        places = [*_beginnings(raw).tolist(), len(raw)]
        return "".join(raw[one:other].decode("utf-8", "replace")[:1] for one, other in itertools.pairwise(places))
