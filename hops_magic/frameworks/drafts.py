"""Files that appear whole: written in a folder beside their place, and moved there by renaming."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# what readers of a folder look for last: with it, the folder is complete
_LAST = ("saved_model.pb", "fingerprint.pb")


def is_local(path: Any) -> bool:
    """Whether this is the path of a file here, and no open file or address of a store."""
    return isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str) and "://" not in os.fspath(path)


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let a file be written beside its place, and move it there when the disk has it; what was there stays if that fails."""
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def drafted(path: str) -> Iterator[str]:
    """Yield the path to write to instead of ``path``; at the end all that was written beside it moves to its place.

    A file keeps its name in the draft, since some formats name their parts after it. Where no draft can be made beside the
    place, which is an error of the user's or a file that stands alone in a read-only folder, the place itself is yielded.
    """
    target = Path(os.path.realpath(path))
    try:
        folder = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
    except OSError:
        yield path
        return
    try:
        yield str(folder / target.name)
        written = sorted(folder.iterdir(), key=lambda each: each.name == target.name)  # the parts before what names them
        for each in written:
            _move(each, target.parent / each.name)
    except Exception as error:
        error.args = tuple(_told(each, str(folder), str(target.parent)) for each in error.args)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(part: Any, draft: str, place: str) -> Any:
    return part.replace(draft, place) if isinstance(part, str) else part


def _move(draft: Path, target: Path) -> None:
    if draft.is_dir() and target.is_dir():
        for each in sorted(draft.iterdir(), key=lambda each: each.name in _LAST):
            _move(each, target / each.name)
        return
    if target.is_file():
        shutil.copymode(target, draft)
    draft.replace(target)
