"""How values are pickled between the notebook and the ranks.

Functions made in the notebook share the notebook's namespace. On the other side they share the namespace of the cell there:
the namespace travels as a mark, never as a copy, and what functions need of it travels by name beside them.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import io
import os
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import cloudpickle

from hops_magic.cells.analysis import code_imports, global_reads, global_stores
from hops_magic.cells.staying import CannotTravelError, why_it_stays

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]
"""``(predicate, reduce)``; ``reduce`` answers like ``__reduce_ex__``."""

LARGE_BYTES = 1 << 20
"""Buffers from here on travel out of band."""

_CachedFunction = type(functools.lru_cache(int))

# what functools.singledispatch keeps its choices in
_WEAK_DICTIONARIES = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)

_PART_BYTES = 16 << 20

_arriving: ContextVar[dict[str, Any]] = ContextVar("hops_arriving")

# two values that share one of these need not share it on the other side
_VALUES = (
    str,
    bytes,
    int,
    float,
    complex,
    tuple,
    frozenset,
    type,
    types.BuiltinFunctionType,
    types.ModuleType,
    types.CodeType,
)


_CONTAINERS = frozenset({list, dict, set, bytearray})
_PLAIN = frozenset({str, bytes, int, float, tuple})


@dataclass(frozen=True, kw_only=True)
class Pickled:
    """A pickled value, and what was learnt of it on the way.

    Attributes
    ----------
    stream : bytes
    buffers : tuple of memoryview
        Its large buffers, in the order in which the stream wants them; not copied.
    parts : mapping
        By id, the things inside it that another value may share with it.
    reads : frozenset of str
        Names of the notebook that functions inside it read.
    writes : frozenset of str
        Names of the notebook that functions inside it bind.
    modules : frozenset of str
        Modules that must be importable where it arrives.
    files : frozenset of str
        Files of the code inside it, to show its lines in tracebacks.
    """

    stream: bytes
    buffers: tuple[memoryview, ...]
    parts: Mapping[int, object]
    reads: frozenset[str]
    writes: frozenset[str]
    modules: frozenset[str]
    files: frozenset[str]

    @property
    def size_bytes(self) -> int:
        """Bytes that travel."""
        return len(self.stream) + sum(raw.nbytes for raw in self.buffers)


def namespace_here() -> dict[str, Any]:
    """Return the namespace in which the values being unpickled arrive."""
    return _arriving.get()


class _Here:
    """The mark of the notebook's namespace in a pickle."""

    def __reduce__(self) -> Any:
        return namespace_here, ()


_HERE = _Here()


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by value what the notebook made, with large buffers aside."""

    def __init__(
        self,
        file: io.BytesIO,
        namespace: Mapping[str, Any],
        reducers: Sequence[Reducer],
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._namespace, self._reducers = namespace, reducers
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.modules: set[str] = set()
        self.files: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if obj is sys.stdout or obj is sys.stderr:
            # a logger's handler, say: on a rank it writes to the rank's output
            return getattr, (sys, "stdout" if obj is sys.stdout else "stderr")
        if why := why_it_stays(obj):
            raise CannotTravelError(obj, why)
        for applies, reduce in self._reducers:
            if applies(obj):
                self.modules.add(type(obj).__module__)
                return reduce(obj)
        if isinstance(obj, _CachedFunction) and obj.__module__ == self._namespace.get("__name__"):
            # pickle knows cached functions by name only, and the name is not there yet
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if type(obj) in _WEAK_DICTIONARIES:
            return type(obj), (dict(obj),)
        made = super().reducer_override(obj)
        if isinstance(obj, types.FunctionType | type | types.ModuleType):
            self._note(obj, by_value=made is not NotImplemented)
        if isinstance(obj, types.FunctionType) and obj.__globals__ is self._namespace and made is not NotImplemented:
            return self._in_shared_namespace(obj, made)
        return made

    def _note(self, obj: Any, *, by_value: bool) -> None:
        if isinstance(obj, types.ModuleType):
            self.modules.add(obj.__name__)
        elif not by_value:
            self.modules.add(str(obj.__module__))
        elif isinstance(obj, types.FunctionType):
            self.modules |= code_imports(obj.__code__)
            self.files.add(obj.__code__.co_filename)

    def _in_shared_namespace(self, function: types.FunctionType, made: Any) -> Any:
        self.reads |= global_reads(function.__code__)
        self.writes |= global_stores(function.__code__)
        make, (code, _, *others), (state, slots), *rest = made
        return make, (code, _HERE, *others), (state, {**slots, "__globals__": {}}), *rest


def dumps(value: Any, namespace: Mapping[str, Any], reducers: Sequence[Reducer] = ()) -> Pickled:
    """Pickle a value; buffers from :data:`LARGE_BYTES` on stay where they are.

    Raises
    ------
    Exception
        Whatever the value's own code raises; :class:`CannotTravelError` for kinds that are known to stay.
    """
    aside: list[memoryview] = []

    def on_buffer(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickled in the stream
            return True
        if raw.nbytes < LARGE_BYTES:
            return True
        aside.append(raw)
        return False

    file = io.BytesIO()
    pickler = Pickler(file, namespace, reducers, on_buffer)
    pickler.dump(_HERE if value is namespace else value)
    return Pickled(
        stream=file.getvalue(),
        buffers=tuple(aside),
        parts=_parts_of(pickler, namespace),
        reads=frozenset(pickler.reads),
        writes=frozenset(pickler.writes),
        modules=frozenset(pickler.modules),
        files=frozenset(pickler.files),
    )


def _parts_of(pickler: Pickler, namespace: Mapping[str, Any]) -> dict[int, object]:
    was_enabled = gc.isenabled()
    # a million new tuples make the collector look at the whole heap again and again, for nothing
    gc.disable()
    try:
        memo = pickler.memo.copy()
        return {
            key: part
            for key, (_, part) in memo.items()
            if type(part) in _CONTAINERS or (type(part) not in _PLAIN and _may_be_shared(part, namespace))
        }
    finally:
        if was_enabled:
            gc.enable()


def failure_of(value: Any, namespace: Mapping[str, Any], reducers: Sequence[Reducer]) -> Exception | None:
    """Return the error of pickling a value; None if it can be pickled."""
    try:
        dumps(value, namespace, reducers)
    except Exception as error:  # noqa: BLE001 (pickling runs code of any library)
        return error
    return None


def _may_be_shared(part: object, namespace: Mapping[str, Any]) -> bool:
    if isinstance(part, types.FunctionType):
        return part.__globals__ is namespace
    return not isinstance(part, _VALUES) and part is not _HERE


def loads(data: bytes | memoryview, namespace: dict[str, Any], buffers: Iterable[memoryview] = ()) -> Any:
    """Undo :func:`dumps`; functions of the notebook find their names in ``namespace``."""
    token = _arriving.set(namespace)
    try:
        return pickle.loads(data, buffers=buffers)
    finally:
        _arriving.reset(token)


def digest(data: bytes | memoryview) -> str:
    """Content hash, by which equal data is recognised; large data is hashed in parts, on all cores."""
    whole = memoryview(data).cast("B")
    if whole.nbytes <= _PART_BYTES:
        return hashlib.blake2b(whole, digest_size=20).hexdigest()
    parts = [whole[start : start + _PART_BYTES] for start in range(0, whole.nbytes, _PART_BYTES)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = pool.map(lambda part: hashlib.blake2b(part, digest_size=20).digest(), parts)
        return hashlib.blake2b(b"".join(hashes), digest_size=20, person=b"hops-parts").hexdigest()
