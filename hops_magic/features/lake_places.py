"""Where a table is, as the lake's library is told of it: some letters of a local path it takes as something else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

# as the library's way to local files reads a path: an escape as its letter, others as marks of a URI, or it fails at them
_MISREAD = re.compile(r"[\[\]|^\\?#\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
_BY_ROOT = "fs:///"


@dataclass(frozen=True)
class Place:
    """A table's place: what the library is told, and how files are named there.

    Attributes
    ----------
    uri : str
        What the library is told.
    options : dict or None
        What it is told besides.
    folder : str or None
        The folder, if it is on a disk of this machine.
    """

    uri: str
    options: dict[str, str] | None = None
    folder: str | None = None

    @classmethod
    def of(cls, location: str) -> Place:
        """Find out how the library has to be told of a path or URI."""
        folder = local_folder(location)
        if folder is None or misread(folder) is None:
            return cls(location, folder=folder)
        # the library's other way to files takes a folder as it is named. It writes a file in place, where a reader would see
        # half a commit, unless it has a folder for what is not finished; it does not see to it that of two writers of one
        # commit only one succeeds: the catalog's lock does
        return cls(_BY_ROOT, {"opendal.root": folder, "opendal.atomic_write_dir": folder}, folder)

    @property
    def is_missing(self) -> bool:
        """Whether there is certainly nothing; that other way would make the folder when it is asked."""
        return self.uri == _BY_ROOT and self.folder is not None and not Path(self.folder).is_dir()

    def file(self, uri: str, table_uri: str) -> str | None:
        """Return the path of a data file that the library names; None if it is elsewhere."""
        if self.folder is None:
            return None
        # the library escapes letters of the table's own place, not of what is in it
        above = _BY_ROOT if self.uri == _BY_ROOT else table_uri.removeprefix("file://").rstrip("/") + "/"
        return f"{self.folder}/{uri.removeprefix('file://').removeprefix(above)}"


def local_folder(location: str) -> str | None:
    """Return the path of what is on a disk of this machine; None of what is elsewhere."""
    if "://" not in location:
        return location
    return unquote(urlsplit(location).path) if location.startswith("file://") else None


def misread(folder: str) -> str | None:
    """Return the first letters for which the library would take a folder, as its links lead to it, for another one."""
    found = _MISREAD.search(os.path.realpath(folder))
    return found[0] if found else None
