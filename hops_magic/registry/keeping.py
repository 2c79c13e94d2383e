"""Puts files into a run's record, each whole or not at all: where the files of runs lie in folders, by renaming."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from mlflow import MlflowClient


def keep_file(client: MlflowClient, record_id: str, file: Path, folder: str = "") -> None:
    """Copy a file into a folder of a record."""
    place = _place(client, record_id)
    if place is None:
        client.log_artifact(record_id, str(file), folder or None)
    else:
        _copy(file, place / folder / file.name)


def keep_folder(client: MlflowClient, record_id: str, source: Path, folder: str, *, moved: bool = False) -> None:
    """Copy what is in a folder into one of a record.

    Parameters
    ----------
    moved
        Whether the files may be taken away from where they are, which needs no room on the same disk.
    """
    place = _place(client, record_id)
    if place is None:
        client.log_artifacts(record_id, str(source), folder)
        return
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        target = place / folder / file.relative_to(source)
        if not (moved and _moved(file, target)):
            _copy(file, target)


def keep_text(client: MlflowClient, record_id: str, text: str, name: str) -> None:
    """Write a text as a file of a record."""
    place = _place(client, record_id)
    if place is None:
        client.log_text(record_id, text, name)
        return
    draft = _draft(place / name)
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(place / name)
    finally:
        draft.unlink(missing_ok=True)


def local_path(uri: str) -> Path | None:
    """Return the path of what lies on this machine's disks; None if it lies elsewhere."""
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _place(client: MlflowClient, record_id: str) -> Path | None:
    return local_path(client.get_run(record_id).info.artifact_uri)


def _draft(target: Path) -> Path:
    """Return where to write a file first; a process that is killed leaves it to the next that writes the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.draft")


def _copy(file: Path, target: Path) -> None:
    draft = _draft(target)
    try:
        shutil.copyfile(file, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _moved(file: Path, target: Path) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.replace(target)
    except OSError:
        return False  # another disk: it is copied
    return True
