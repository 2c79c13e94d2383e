"""Folders of the lake: each carries the catalog that it belongs to in its name, since catalogs may share a lake."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hops_magic.errors import UsageError
from hops_magic.features.lake_places import local_folder
from hops_magic.features.sql import has_no_name
from hops_magic.settings import FeatureSettings, redacted

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_QUARANTINE = "-quarantine"
_AGAIN = "-again-"
# what a URI has as an escape, or not at all
_UNUSABLE = re.compile(r"[\[\]|^\\?#\x00-\x1f\x7f]")
# what no library reads alike in escapes of a URI, where the last is what is no letter
_UNUSABLE_ESCAPED = re.compile(r"[/\\?#\x00-\x1f\x7f\ufffd]")
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")
_OF_URIS = "%/:@!$&'()*+,;=~-._"


def check_place(settings: FeatureSettings) -> None:
    """Refuse a folder or URI in which tables could not be written, or would be written elsewhere.

    Raises
    ------
    UsageError
        With what is wrong in it.
    """
    if "://" in settings.lake:
        _check_uri(settings.lake)
    for variable, place in (("HOPS_HOME", str(settings.home)), ("HOPS_FEATURES", settings.lake)):
        if has_no_name(local_folder(place) or ""):
            raise UsageError(
                f"feature groups cannot be kept in {place[:200]!r}, since the engine cannot read a path with both a "
                f"backslash and one of '*', '?' and '[': set {variable} to another place"
            )
        try:
            place.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"feature groups cannot be kept in {place[:200]!r}, since the folder's name is no text of UTF-8: set "
                f"{variable} to another place"
            ) from error


def _check_uri(lake: str) -> None:
    """Refuse a URI that is none, or that the lake and the file system would take for two places."""
    found = _UNUSABLE.search(lake)
    if found is not None:
        raise UsageError(
            f"feature groups cannot be kept in {redacted(lake)[:200]!r}, since a URI cannot have {found[0]!r}: set "
            "HOPS_FEATURES to another place"
        )
    if _STRAY.search(lake):
        raise UsageError(
            f"feature groups cannot be kept in {redacted(lake)[:200]!r}, since a '%' in a URI begins an escape such as "
            "%20: write %25 for the letter itself"
        )
    parts = [unquote(part) for part in lake.split("://", 1)[1].split("/")[1:]]
    named = next((part for part in parts if part in ("", ".", "..") or _UNUSABLE_ESCAPED.search(part)), None)
    if named is not None:
        raise UsageError(
            f"feature groups cannot be kept in {redacted(lake)[:200]!r}, since a URI cannot have a folder named {named!r}: "
            "set HOPS_FEATURES to another place"
        )


def file_system(place: str) -> tuple[FileSystem, str]:
    """Return the file system of a folder, which is a path or a URI, and its path there."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in place:
        return LocalFileSystem(), place
    system, root = FileSystem.from_uri(quote(place, safe=_OF_URIS))
    return system, root


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
    from pyarrow.fs import FileSelector, FileType

    system, root = file_system(parent)
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
