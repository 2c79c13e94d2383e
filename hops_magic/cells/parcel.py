"""The file in which values come back: pickled bundles and their large buffers, each buffer at a multiple of 64 bytes.

A parcel is a magic word, the blobs, the pickled index, and a tail that says where the index lies.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from hops_magic.cells.pickled import Pickled
from hops_magic.errors import ClusterError

_MAGIC = b"hops-parcel-1\n"
_TAIL = struct.Struct("<QQ")
_ALIGNMENT = 64

Place = tuple[int, int]
"""Offset and length of a blob in the file."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Values to be packed as one bundle.

    Attributes
    ----------
    names : tuple of str
    taken : frozenset of str
        Those of ``names`` whose objects the program had taken along.
    helpers : frozenset of str
        Those of ``names`` which functions among the values read: for a notebook that has lost them.
    companions : tuple of str
        Names of the notebook whose objects, unchanged, lie inside the values: sent only to be recognised.
    pickled : Pickled
        The tuple of the values of ``names``, then of ``companions``; if it is one value, the value itself.
    """

    names: tuple[str, ...]
    taken: frozenset[str]
    helpers: frozenset[str]
    companions: tuple[str, ...]
    pickled: Pickled


@dataclass(frozen=True, kw_only=True)
class PackedBundle:
    """Names that were pickled together, see :class:`Parts`."""

    names: tuple[str, ...]
    taken: frozenset[str]
    helpers: frozenset[str]
    companions: frozenset[str]
    stream: Place
    buffers: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Index:
    """What a parcel holds. ``display`` is a last value which cannot travel, as the rank shows it.

    ``deleted`` are names of the notebook, and variables of modules, that the cell deleted; ``numbers`` tell what the names
    that it took along were; ``modules`` are those that it imported.
    """

    bundles: tuple[PackedBundle, ...] = ()
    display: Mapping[str, Any] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    modules: tuple[str, ...] = ()


def write_parcel(path: Path | BinaryIO, bundles: Sequence[Parts], index: Index) -> int:
    """Write a parcel, whole or not at all, or into an open file; return its size in bytes.

    ``index`` says what it holds beside the bundles.

    Raises
    ------
    ClusterError
        If the file cannot be written, for want of room say.
    """
    if not isinstance(path, Path):
        try:
            return _write_all(path, bundles, index)
        except OSError as error:
            raise ClusterError(f"the cell's values cannot be kept in memory: {error.strerror}") from error
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as file:
            size = _write_all(file, bundles, index)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ClusterError(f"the cell's values cannot be written to {path.parent}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be gone
            draft.unlink(missing_ok=True)
    return size


def _write_all(file: BinaryIO, bundles: Sequence[Parts], index: Index) -> int:
    file.write(_MAGIC)
    packed = tuple(
        PackedBundle(
            names=(*parts.names, *parts.companions),
            taken=parts.taken,
            helpers=parts.helpers,
            companions=frozenset(parts.companions),
            stream=_write(file, parts.pickled.stream),
            buffers=tuple(_write(file, raw) for raw in parts.pickled.buffers),
        )
        for parts in bundles
    )
    place = _write(file, pickle.dumps(replace(index, bundles=packed)))
    file.write(_TAIL.pack(*place))
    return file.tell()


def _write(file: BinaryIO, data: bytes | memoryview) -> Place:
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
    offset = file.tell()
    file.write(data)
    return offset, len(data) if isinstance(data, bytes) else data.nbytes


class Parcel:
    """A parcel that came back. Its large buffers are mapped from the file, which may be deleted afterwards."""

    def __init__(self, source: Path | bytes) -> None:
        if isinstance(source, bytes):
            self._memory = memoryview(bytearray(source))
        else:
            with source.open("rb") as file:
                # copy-on-write: arrays can be written to and the file stays as it is
                self._memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        if bytes(self._memory[: len(_MAGIC)]) != _MAGIC:
            raise ClusterError("the cell's values cannot be read: what came back is no parcel of this version")
        place = _TAIL.unpack(self._memory[-_TAIL.size :])
        self.index: Index = pickle.loads(self.blob(place))

    def blob(self, place: Place) -> memoryview:
        """Return the memory of a blob."""
        offset, length = place
        return self._memory[offset : offset + length]
