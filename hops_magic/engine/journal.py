"""The complete log of a run: one line of JSON per event, appended as they come."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hops_magic.runs.events import Event, StateChanged, Wire, from_wire

JOURNAL_NAME = "events.jsonl"
MOST_WAITING_BYTES = 64 << 20
"""Events that wait in memory for room on the disk; what comes after them is not logged."""
TAIL_BYTES = 1 << 20


class Journal:
    """Appends a run's events to its journal; a supervisor that takes over goes on in the same file.

    What a full disk does not take waits until there is room again. A disk that stays full ends the journal, not the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        self._waiting = bytearray()
        self._problem = ""
        self._is_cut = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / JOURNAL_NAME
            is_torn = path.exists() and _ends_in_the_middle(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._problem, self._is_cut = error.strerror or str(error), True
            return
        if is_torn:
            self._waiting += b"\n"

    def write(self, wires: Sequence[Wire]) -> str:
        """Append events and hand them to the operating system, so that a killed process loses none.

        Returns
        -------
        str
            Why nothing more is written, told once; empty while all is well, or may become well again.
        """
        if not self._is_cut:
            self._waiting += b"".join(json.dumps(wire).encode() + b"\n" for wire in wires)
            self._write_waiting()
            self._is_cut = len(self._waiting) > MOST_WAITING_BYTES
        return self._told() if self._is_cut else ""

    def settle(self) -> str:
        """Write what still waits, at the end of the run.

        Returns
        -------
        str
            Why the journal is not complete, if that was not told; empty if it is.
        """
        self._write_waiting()
        return self._told() if self._waiting or self._is_cut else ""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._write_waiting()
            os.close(self._file)
            self._file = None

    def _write_waiting(self) -> None:
        try:
            while self._waiting and self._file is not None:
                del self._waiting[: os.write(self._file, self._waiting)]
        except OSError as error:
            self._problem = error.strerror or str(error)

    def _told(self) -> str:
        problem, self._problem = self._problem, ""
        return problem


def read_journal(folder: Path) -> Iterator[Event]:
    """Read a run's events; a line torn by a crash is left out."""
    with (folder / JOURNAL_NAME).open(encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
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
