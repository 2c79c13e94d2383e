"""Files of other tools: which of them a path, a pattern or a folder means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from hops_magic.features.csv_source import PACKED
from hops_magic.features.errors import FeatureError

_TEXTS = (".csv", ".tsv")
_CSV = tuple(text + packed for text in _TEXTS for packed in ("", *PACKED))
_PARQUET = (".parquet",)
ENDINGS = (*_CSV, *_PARQUET)
_PATTERN = "*?["
# of Hive and what came after it, for a value that is missing
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Files:
    """Files of one format.

    Attributes
    ----------
    paths : tuple of Path
        In the order of their names.
    is_csv : bool
        Whether they are CSV; else they are Parquet.
    """

    paths: tuple[Path, ...]
    is_csv: bool


def files_at(place: str) -> Files:
    """Return the files that a path names, those that match its pattern, or those of its folder and the folders below.

    Raises
    ------
    FeatureError
        If there are none, or of both formats.
    """
    path = Path(place).expanduser()
    if (path / "_delta_log").is_dir():
        raise FeatureError(
            f"{place[:200]} is a table of Delta Lake, not all of whose files count: read it with deltalake, and save that"
        )
    if "://" in place:
        raise FeatureError(f"{place[:200]} is no file of this machine: copy it here, and import the copy")
    if path.is_dir():
        found, where = [file for file in sorted(path.rglob("*")) if _is_data(file, path)], f"in the folder {place[:200]}"
    # a name may have brackets in it
    elif path.exists() or not any(letter in place for letter in _PATTERN):
        found, where = [path], place[:200]
    else:
        found, where = sorted(_matching(path)), f"that matches {place[:200]}"
    if not any(letter in place for letter in _PATTERN) and not path.exists() and is_readable(path):
        raise FeatureError(f"there is no file {place[:200]}")
    unreadable = next((file for file in found if not is_readable(file)), None)
    if unreadable is not None:
        raise FeatureError(
            f"{str(unreadable)[-200:]} is no file that can be read: {', '.join((*_TEXTS, *_PARQUET))}, the "
            f"first two also packed ({', '.join(PACKED)}), or SQL that begins with SELECT"
        )
    if not found:
        raise FeatureError(f"there is no file {where} that can be read: they end with {', '.join((*_TEXTS, *_PARQUET))}")
    are_csv = [str(file).lower().endswith(_CSV) for file in found]
    if len(set(are_csv)) > 1:
        raise FeatureError(f"there are both CSV and Parquet files {where}: import those of one format, e.g. with *.csv")
    return Files(tuple(found), are_csv[0])


def _matching(pattern: Path) -> Iterator[Path]:
    parts = pattern.parts
    first = next(at for at, part in enumerate(parts) if any(letter in part for letter in _PATTERN))
    for file in Path(*parts[:first]).glob(str(Path(*parts[first:]))):
        if file.is_file() and not file.name.startswith("."):
            yield file


def is_readable(path: Path) -> bool:
    """Whether the name of a file ends as those of formats that can be read."""
    return path.name.lower().endswith(ENDINGS)


def _is_data(file: Path, below: Path) -> bool:
    """Whether a file of a folder holds rows: not what other programs keep beside them."""
    parts = file.relative_to(below).parts
    return is_readable(file) and file.is_file() and not any(part.startswith((".", "_")) for part in parts)


def said_by_folders(paths: Sequence[Path]) -> dict[Path, dict[str, str]]:
    """Return what folders named ``key=value`` above files say.

    Raises
    ------
    FeatureError
        If there are none, or not the same ones above each file.
    """
    said = {path: dict(_pair(part) for part in path.parent.parts if "=" in part) for path in paths}
    first = said[paths[0]]
    for path, pairs in said.items():
        if not pairs or pairs.keys() != first.keys():
            raise FeatureError(
                f"the folders above {str(path)[-200:]} give columns {', '.join(pairs) or '(none)'}, and those above "
                f"{str(paths[0])[-200:]} {', '.join(first) or '(none)'}: they must be named key=value, alike for all files"
            )
    return said


def _pair(part: str) -> tuple[str, str]:
    key, _, value = part.partition("=")
    return unquote(key), "" if value == _NO_VALUE else unquote(value)
