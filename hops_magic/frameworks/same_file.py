"""Notice when several ranks of a machine open the same file for writing."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hops_magic.frameworks.context import RankContext
from hops_magic.runs.events import Warned

_WRITES = os.O_WRONLY | os.O_RDWR


@contextmanager
def same_files_named(context: RankContext) -> Iterator[None]:
    """Warn once of each file that this rank and another one of its machine open for writing, for the time of a cell."""
    if context.world_size == 1:
        yield
        return
    noticing = _Noticing(context)
    sys.addaudithook(noticing.hear)
    try:
        yield
    finally:
        noticing.is_on = False  # a hook stays as long as its process


class _Noticing:
    """Leaves a mark for each file that this rank opens for writing, and looks for the marks of others."""

    def __init__(self, context: RankContext) -> None:
        self._context = context
        self._folder = context.scratch_dir / f"opened-{context.attempt}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._seen: set[str] = set()
        self.is_on = True

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self.is_on:
            return
        path, _, flags = arguments
        # who asks that the file be new finds out by itself that it is not
        if isinstance(path, str) and isinstance(flags, int) and flags & _WRITES and not flags & os.O_EXCL:
            self._opened(path)

    def _opened(self, path: str) -> None:
        place = os.path.realpath(path)
        ours = (self._context.scratch_dir, self._context.checkpoint_dir)
        if place in self._seen or not _is_of_user(place) or any(Path(place).is_relative_to(folder) for folder in ours):
            return
        self._seen.add(place)
        key = hashlib.blake2b(place.encode(errors="surrogateescape"), digest_size=12).hexdigest()
        # first the mark, then the look: of two ranks at least one sees the other's
        os.close(os.open(self._folder / f"{key}-{self._context.rank}", os.O_CREAT | os.O_WRONLY, 0o600))
        if any(not mark.name.endswith(f"-{self._context.rank}") for mark in self._folder.glob(f"{key}-*")):
            self._context.emit(Warned(message=_sentence(place)))


def _is_of_user(place: str) -> bool:
    """Whether this is a file as users make them: caches and drafts are hidden, devices are no files."""
    path = Path(place)
    return not any(part.startswith(".") for part in path.parts) and not place.startswith(("/dev/", "/proc/", "/sys/"))


def _sentence(place: str) -> str:
    return (
        f"several ranks opened {place} for writing: unless they take turns, they write over what the others wrote; "
        "put it under if hops.rank == 0, or give the file a name of the rank's own"
    )
