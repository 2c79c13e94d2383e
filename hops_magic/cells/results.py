"""What comes back from rank 0: written to one file, the parcel, and put into the notebook's namespace.

A parcel is a length, the pickled values, and the large buffers, each at an address that is a multiple of 64.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import secrets
import struct
import sys
import types
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hops_magic.cells.culprits import find_culprit
from hops_magic.cells.program import Outcome, Program
from hops_magic.cells.travel import Reducer, digest, dumps, loads
from hops_magic.errors import ClusterError

_HEAD = struct.Struct("<QQ")
_ALIGNMENT = 64
_MUTABLE = (list, dict, set, bytearray)

Update = Callable[[Any, Any], bool]
"""``update(original, returned)`` makes the original what the returned one is; False if it does not know such objects."""

Fingerprint = Callable[[Any], bytes | None]
"""Content of an object that pickles differently each time; None if it does not know such objects."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What a parcel holds, and why a name was left behind."""

    names: tuple[str, ...]
    size_bytes: int
    left_behind: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What a parcel brought: names that are in the namespace now, and the cell's last value.

    ``display`` is the value as the rank would show it, if it could not travel itself.
    """

    names: tuple[str, ...] = ()
    value: Any = None
    has_value: bool = False
    display: Mapping[str, Any] = field(default_factory=dict)


class Watch:
    """Remembers what the taken names were, to tell which the cell changed."""

    def __init__(self, reducers: Sequence[Reducer], fingerprint: Fingerprint | None = None) -> None:
        self._reducers, self._fingerprint = reducers, fingerprint
        self._before: dict[str, str] = {}
        self._namespace: Mapping[str, Any] = {}

    def begin(self, taken: Mapping[str, Any], namespace: Mapping[str, Any]) -> None:
        """Take note of the names as they came."""
        self._namespace = namespace
        for name, value in taken.items():
            if (state := self._state(value)) is not None:
                self._before[name] = state

    def changed(self, taken: Mapping[str, Any]) -> list[str]:
        """Return the names whose objects are not what they were."""
        return [name for name, before in self._before.items() if self._state(taken[name]) != before]

    def _state(self, value: Any) -> str | None:
        if isinstance(
            value, types.ModuleType | types.FunctionType | type | str | bytes | int | float | complex | tuple | None
        ):
            return None
        aside: list[memoryview] = []
        try:
            if self._fingerprint is not None and (found := self._fingerprint(value)) is not None:
                return digest(found)
            data = dumps(value, self._namespace, self._reducers, aside.append)
        except Exception:  # noqa: BLE001 (what cannot be pickled cannot come back either, whatever it raises)
            return None
        # large arrays are mapped from the node's memory: a copy-on-write page of theirs is the rank's own
        return None if aside else digest(data)


def pack(
    program: Program, outcome: Outcome, path: Path, *, reducers: Sequence[Reducer] = (), watch: Watch | None = None
) -> Packed:
    """Write what comes back to a file; whole or not at all.

    A value that cannot be pickled is left behind, the others come.

    Raises
    ------
    ClusterError
        If the file cannot be written, for want of room say.
    """
    names = _to_return(program, outcome, watch)
    values = {name: outcome.namespace[name] for name in names if name in outcome.namespace}
    left_behind = _left_behind(values, outcome.namespace, reducers)
    values = {name: value for name, value in values.items() if name not in left_behind}
    shown: dict[str, Any] = {}
    has_value = outcome.has_value and program.out != ()
    if has_value and _culprit("the value", outcome.value, outcome.namespace, reducers):
        has_value, shown = False, {"text/plain": repr(outcome.value)}
    content = {"values": values, "has_value": has_value, "value": outcome.value if has_value else None, "shown": shown}
    content["changed"] = [name for name in values if name in outcome.taken and outcome.taken[name] is values[name]]
    aside: list[memoryview] = []
    data = dumps(content, outcome.namespace, reducers, aside.append)
    _write(path, data, aside)
    size = len(data) + sum(raw.nbytes for raw in aside)
    return Packed(names=tuple(values), size_bytes=size, left_behind=left_behind)


def _to_return(program: Program, outcome: Outcome, watch: Watch | None) -> list[str]:
    if program.out is not None:
        return list(program.out)
    bound = [
        name
        for name in program.binds
        if not name.startswith("_") and not isinstance(outcome.namespace.get(name), types.ModuleType)
    ]
    modules = [name for name in program.binds if isinstance(outcome.namespace.get(name), types.ModuleType)]
    changed = watch.changed(outcome.taken) if watch is not None else []
    return list(dict.fromkeys([*modules, *bound, *changed]))


def _culprit(name: str, value: Any, namespace: Mapping[str, Any], reducers: Sequence[Reducer]) -> tuple[str, str] | None:
    def fails(part: Any) -> Exception | None:
        try:
            dumps(part, namespace, reducers, lambda raw: None)
        except Exception as error:  # noqa: BLE001 (pickling runs code of any library)
            return error
        return None

    return find_culprit(name, value, fails)


def _left_behind(values: Mapping[str, Any], namespace: Mapping[str, Any], reducers: Sequence[Reducer]) -> dict[str, str]:
    try:
        dumps(dict(values), namespace, reducers, lambda raw: None)
    except Exception:  # noqa: BLE001 (pickling runs code of any library; which value is to blame is found below)
        found = ((name, _culprit(name, value, namespace, reducers)) for name, value in values.items())
        return {name: f"{culprit[0]} is {culprit[1]}" for name, culprit in found if culprit}
    return {}


def _write(path: Path, data: bytes, buffers: Sequence[memoryview]) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    sizes = pickle.dumps([raw.nbytes for raw in buffers])
    try:
        with draft.open("wb") as file:
            file.write(_HEAD.pack(len(sizes), len(data)))
            file.write(sizes)
            file.write(data)
            for raw in buffers:
                file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ClusterError(f"the cell's values cannot be written to {path.parent}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def unpack(path: Path, namespace: MutableMapping[str, Any], *, updates: Iterable[Update] = ()) -> Unpacked:
    """Put a parcel's values into the notebook's namespace: all of them, or, on an error, none.

    An object of the notebook that the cell changed stays the same object, where its kind allows that. Large arrays are
    mapped from the file, which may be deleted afterwards.
    """
    data, buffers = _read(path)
    content = loads(data, _as_dict(namespace), buffers)
    values, changed = content["values"], set(content["changed"])
    for name, value in values.items():
        original = namespace.get(name)
        if name in changed and original is not None and _update(original, value, updates):
            continue
        namespace[name] = value
    _rewire(values, namespace, changed)
    return Unpacked(names=tuple(values), value=content["value"], has_value=content["has_value"], display=content["shown"])


def _as_dict(namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    # functions need a real dict as their globals; IPython's namespace is one
    return namespace if isinstance(namespace, dict) else dict(namespace)


def _rewire(values: Mapping[str, Any], namespace: Mapping[str, Any], changed: set[str]) -> None:
    """What came back and points to a copy of an updated object shall point to the object itself: ``history.model``."""
    replaced = {id(values[name]): namespace[name] for name in changed if namespace.get(name) is not values[name]}
    for name, value in values.items():
        if (
            name in changed
            or not hasattr(value, "__dict__")
            or isinstance(value, type | types.ModuleType | types.FunctionType)
        ):
            continue
        for attribute, part in list(vars(value).items()):
            if id(part) in replaced:
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(value, attribute, replaced[id(part)])


def _read(path: Path) -> tuple[memoryview, list[memoryview]]:
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    sizes_length, data_length = _HEAD.unpack(mapped[: _HEAD.size])
    place = _HEAD.size + sizes_length
    sizes = pickle.loads(mapped[_HEAD.size : place])
    data = mapped[place : place + data_length]
    place += data_length
    buffers = []
    for size in sizes:
        place += -place % _ALIGNMENT
        buffers.append(mapped[place : place + size])
        place += size
    return data, buffers


def _update(original: Any, value: Any, updates: Iterable[Update]) -> bool:
    """Make the notebook's object what the returned one is; False if it must be replaced."""
    if any(update(original, value) for update in updates):
        return True
    if type(original).__qualname__ != type(value).__qualname__:
        return False
    if isinstance(original, list | bytearray):
        original[:] = value
    elif (isinstance(original, dict) and type(original) is dict) or isinstance(original, set):
        original.clear()
        original.update(value)
    elif (
        _is_array(original) and original.shape == value.shape and original.dtype == value.dtype and original.flags.writeable
    ):
        original[...] = value
    elif type(original).__module__ == "__main__" and hasattr(original, "__dict__"):
        original.__dict__.clear()
        original.__dict__.update(value.__dict__)
    else:
        return False
    return True


def _is_array(value: Any) -> bool:
    return "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].ndarray)
