"""The complete log of a run: one line of JSON per event, appended as they come."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from hops_magic.runs.events import Event, Wire, from_wire

JOURNAL_NAME = "events.jsonl"


class Journal:
    """Appends a run's events to its journal; a supervisor that takes over goes on in the same file.

    A full disk ends the journal, not the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file: TextIO | None = None
        self._problem = ""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / JOURNAL_NAME
            is_torn = path.exists() and _ends_in_the_middle(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            self._give_up(error)
            return
        if is_torn:
            self._file.write("\n")

    def write(self, wires: Sequence[Wire]) -> str:
        """Append events and hand them to the operating system, so that a killed process loses none.

        Returns
        -------
        str
            Why nothing more can be written, told once; empty while all is well.
        """
        if self._file is not None:
            try:
                self._file.write("".join(json.dumps(wire) + "\n" for wire in wires))
                self._file.flush()
            except OSError as error:
                self._give_up(error)
        problem, self._problem = self._problem, ""
        return problem

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            # what could not be written is tried once more, and in vain
            with contextlib.suppress(OSError):
                self._file.close()

    def _give_up(self, error: OSError) -> None:
        self._problem = error.strerror or str(error)
        self.close()
        self._file = None


def read_journal(folder: Path) -> Iterator[Event]:
    """Read a run's events; a line torn by a crash is left out."""
    with (folder / JOURNAL_NAME).open(encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                yield from_wire(json.loads(line))


def _ends_in_the_middle(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return size > 0 and file.read(1) != b"\n"
