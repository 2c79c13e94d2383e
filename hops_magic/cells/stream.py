"""A pickle in memory, as the file that unpickling reads."""

from __future__ import annotations

from typing import Any


class Stream:
    """Reads a pickle where it lies, without a copy of it all."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        part = bytes(self._data[self._at : end])
        self._at += len(part)
        return part

    def readinto(self, target: Any) -> int:
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readline(self) -> bytes:
        rest = bytes(self._data[self._at :])  # only the oldest opcodes are lines, none of those that we write
        line = rest[: rest.find(b"\n") + 1] or rest
        self._at += len(line)
        return line
