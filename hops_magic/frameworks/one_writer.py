"""One rank of a machine writes a file, and the others wait until it is there.

A file that every rank is asked to write must be written once, and be there for all of them in the next line. A barrier would
do that only where all ranks call: a rank that writes inside ``if hops.rank == 0`` would wait for ever. So ranks meet in the
file system instead: each call has a name made of its place in the program and of how often that place was reached, and the
first rank that locks the file of that name writes. The others wait for the lock and find what came of it. A call of one rank
alone meets nobody, and a writer that dies lets go of its lock, so that the next one writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 5.0
"""How long ranks leave a file to the first rank of their machine, which may never come: then they write it themselves."""
_LOOK_EVERY_S = 0.005


class OneWriter:
    """Decides for the ranks of a machine who writes.

    Parameters
    ----------
    folder : Path
        Seen by all ranks of the machine, new for each attempt; made here.
    rank : int
    patience_s : float
    """

    def __init__(self, folder: Path, rank: int, *, patience_s: float = PATIENCE_S) -> None:
        self._folder, self._rank, self._patience_s = folder, rank, patience_s
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / f"rank-{rank}").touch()
        self._reached: Counter[str] = Counter()
        self._never_led: set[str] = set()
        self._inside = threading.local()

    def once(self, path: str, write: Callable[[], Any], *, follow: Callable[[Any], Any] | None = None) -> Any:
        """Call ``write`` on one of the ranks that come here, and return on each when the file is there.

        Parameters
        ----------
        path : str
            What is written, absolute: ranks that write different files do not wait for each other.
        write : callable
            Returns a string or None, which every rank gets. What else it returns is the writing rank's alone.
        follow : callable, optional
            Called with that string on each rank that did not write; what it returns is the result there.

        Raises
        ------
        Exception
            What ``write`` raised, on every rank.
        """
        if getattr(self._inside, "writes", False):  # one writer of files calls another
            return write()
        place = _place()
        self._reached[place] += 1
        meeting = self._folder / f"{place}-{self._reached[place]}"
        claim = self._folder / f"{meeting.name}-{_digest(path)}"
        leads = self._leads()
        if not leads:
            self._await_leader(place, meeting)
        with claim.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                if leads:  # only now: who sees it finds the lock taken
                    meeting.touch()
                file.seek(0)
                outcome = file.read()
                if not outcome:
                    return self._write(file, write)
            finally:
                file.flush()  # before others read
                fcntl.flock(file, fcntl.LOCK_UN)
        wrote, value = pickle.loads(outcome)
        if not wrote:
            raise value
        return value if follow is None else follow(value)

    def has_written(self, path: str) -> bool:
        """Whether a rank of this machine has written a file, or is about to."""
        return any(self._folder.glob(f"*-{_digest(path)}"))

    def _write(self, file: Any, write: Callable[[], Any]) -> Any:
        self._inside.writes = True
        try:
            result = write()
        except Exception as error:
            file.write(_said(error))
            raise
        finally:
            self._inside.writes = False
        file.write(pickle.dumps((True, result if isinstance(result, str) else None)))
        return result

    def _leads(self) -> bool:
        return self._rank == min(int(each.name.removeprefix("rank-")) for each in self._folder.glob("rank-*"))

    def _await_leader(self, place: str, meeting: Path) -> None:
        """Leave the file to the first rank of the machine: models may differ in what is each rank's own."""
        end = time.monotonic() + (0 if place in self._never_led else self._patience_s)
        while not meeting.exists():
            if time.monotonic() >= end:
                self._never_led.add(place)
                return
            time.sleep(_LOOK_EVERY_S)
        self._never_led.discard(place)


def _said(error: Exception) -> bytes:
    """Pickle an error for the ranks that wait; one that does not come back whole goes as its text."""
    try:
        data = pickle.dumps((False, error))
        pickle.loads(data)
    except Exception:  # noqa: BLE001 (errors of others may fail in any way when they are copied)
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return data


def _place() -> str:
    """Name the place in the program where a file is written: the lines of all its callers."""
    said = []
    frame: Any = sys._getframe(2)
    while frame is not None:
        said.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return _digest("\n".join(said))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
