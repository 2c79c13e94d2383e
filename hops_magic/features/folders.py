"""Folders of the lake: each carries the catalog that it belongs to in its name, since catalogs may share a lake."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Collection

_QUARANTINE = "-quarantine"
_AGAIN = "-again-"


def new_folder(parent: str, version: int, catalog_id: str) -> str:
    """Return the place of a version that is to be written: a path or URI that nothing has."""
    return f"{parent}/{version}-{catalog_id}-{secrets.token_hex(4)}"


def quarantine_beside(location: str) -> str:
    """Where rows are that broke a rule."""
    return f"{location}{_QUARANTINE}"


def again_beside(location: str) -> str:
    """Return a place for files that are made anew."""
    return f"{location}{_AGAIN}{secrets.token_hex(4)}"


def sweep(parent: str, catalog_id: str, kept: Collection[str]) -> None:
    """Delete what writers of this catalog left that died. Call only where no other writer can be at work.

    Parameters
    ----------
    parent
        Path or URI of the folder above them.
    kept
        Locations that the catalog names. Folders of other catalogs and of other programs stay.
    """
    from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

    system, root = FileSystem.from_uri(parent) if "://" in parent else (LocalFileSystem(), parent)
    names = {location.rstrip("/").rsplit("/", 1)[-1] for location in kept}
    ours = re.compile(rf"(\d+-{re.escape(catalog_id)}-[0-9a-f]{{8}})({_QUARANTINE}|{_AGAIN}[0-9a-f]{{8}})?")
    # what is wrong with the place is told by the write that follows
    with contextlib.suppress(OSError):
        for info in system.get_file_info(FileSelector(root, allow_not_found=True)):
            found = ours.fullmatch(info.base_name)
            if info.type is not FileType.Directory or found is None:
                continue
            if found[1] not in names or (found[2] or "").startswith(_AGAIN):
                system.delete_dir(info.path)
