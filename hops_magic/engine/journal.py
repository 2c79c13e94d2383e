"""The complete log of a run: one line of JSON per event, appended as they come."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

from hops_magic.runs.events import Event, StateChanged, Wire, from_wire

JOURNAL_NAME = "events.jsonl"
MOST_WAITING = 64 << 20
"""Bytes of events that wait in memory at most for a disk that is full."""
TAIL_BYTES = 1 << 20


class Journal:
    """Appends a run's events to its journal; a supervisor that takes over goes on in the same file.

    What a full disk does not take waits in memory until there is room again: neither the run nor its log ends.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME
        self._file: FileIO | None = None
        self._waiting = bytearray()
        self._half = b""
        """The beginning of a line that the file has, and whose rest it has not taken yet."""
        self._is_telling = False
        self._lost = 0
        with contextlib.suppress(OSError):  # told with the first events
            self._write_waiting()

    @property
    def is_behind(self) -> bool:
        """Whether events wait for room."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """Bytes that wait for room."""
        return len(self._waiting)

    @property
    def lost(self) -> int:
        """Bytes that could not wait, because too much did."""
        return self._lost

    @property
    def size(self) -> int:
        """Bytes that the file has."""
        return self._path.stat().st_size if self._path.exists() else 0

    def write(self, wires: Sequence[Wire]) -> str:
        """Append events and hand them to the operating system, so that a killed process loses none.

        Returns
        -------
        str
            Why nothing can be written now, told once until it can be again; empty while all is well.
        """
        text = "".join(json.dumps(wire) + "\n" for wire in wires).encode()
        if self._waiting and len(self._waiting) + len(text) > MOST_WAITING:
            self._lost += len(text)
        else:
            self._waiting += text
        try:
            self._write_waiting()
        except OSError as error:
            was_telling, self._is_telling = self._is_telling, True
            return "" if was_telling else error.strerror or str(error)
        self._is_telling = False
        return ""

    def settle(self) -> str:
        """Write what still waits; return why it cannot be written, if that was not told."""
        return self.write(())

    def close(self) -> None:
        """Close the file, with what it takes of what waits."""
        with contextlib.suppress(OSError):  # the disk is still full
            self._write_waiting()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_waiting(self) -> None:
        if self._file is None:
            self._file = self._opened()
        try:
            while self._waiting:
                written = self._file.write(self._waiting)
                self._half = (self._half + self._waiting[:written]).rpartition(b"\n")[2]
                del self._waiting[:written]
        except OSError:
            self._take_back_half(self._file)
            raise

    def _take_back_half(self, file: FileIO) -> None:
        """Leave whole lines only: who reads a log while its disk is full, or goes on with it, finds nothing torn."""
        if self._half:
            file.truncate(file.seek(0, os.SEEK_END) - len(self._half))
            self._waiting[:0] = self._half
            self._half = b""

    def _opened(self) -> FileIO:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_torn = self._path.exists() and _ends_in_the_middle(self._path)
        file = self._path.open("ab", buffering=0)
        if is_torn:
            self._waiting[:0] = b"\n"
        return file


def read_journal(folder: Path, size: int | None = None) -> Iterator[Event]:
    """Read a run's events, of the first ``size`` bytes if said, but for lines that are torn or of a later version."""
    with (folder / JOURNAL_NAME).open("rb") as file:
        for line in file:
            if size is not None and file.tell() > size:
                return
            with contextlib.suppress(ValueError):
                yield from_wire(json.loads(line))


def last_state(folder: Path) -> StateChanged | None:
    """Return the last state that a run's journal tells, by the end of it; None if there is none, or no journal here."""
    try:
        with (folder / JOURNAL_NAME).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if b'"kind": "state"' in line:
            with contextlib.suppress(json.JSONDecodeError):
                event = from_wire(json.loads(line))
                if isinstance(event, StateChanged):
                    return event
    return None


def _ends_in_the_middle(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return size > 0 and file.read(1) != b"\n"
