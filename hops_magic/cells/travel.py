"""How values are pickled between the notebook and the ranks.

Functions made in the notebook share the notebook's namespace. On the other side they share the namespace of the cell there:
the namespace travels as a mark, never as a copy, and what functions need of it travels by name beside them.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import importlib
import io
import os
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import cloudpickle
from cloudpickle.cloudpickle import _should_pickle_by_reference

from hops_magic.cells.analysis import code_imports, global_reads, global_stores
from hops_magic.cells.arrays import Layout, arrays_in, inside_tables, layout_of
from hops_magic.cells.kinds import KINDS, reduce_kind
from hops_magic.cells.staying import CannotTravelError, why_it_stays

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]
"""``(predicate, reduce)``; ``reduce`` answers like ``__reduce_ex__``."""

LARGE_BYTES = 1 << 20
"""Buffers from here on travel out of band."""

_CachedFunction = type(functools.lru_cache(int))

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
    pickle.PickleBuffer,
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
    numbered : mapping
        Those things and the classes among them, by the number that unpickling gives each too.
    arrays : tuple of numpy.ndarray
        The arrays inside it whose memory another one may share.
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
    numbered: Mapping[int, object]
    arrays: tuple[Any, ...]
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


class _Module:
    """The mark of a module's namespace in a pickle."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> Any:
        return _namespace_of, (self._name,)


def _namespace_of(module: str) -> dict[str, Any]:
    return vars(importlib.import_module(module))


def is_of_module(function: types.FunctionType) -> bool:
    """Whether a function that goes by value, a closure say, was made by a module that the other side imports."""
    module = sys.modules.get(function.__module__ or "")
    return (
        module is not None
        and module.__name__ != "__main__"
        and function.__globals__ is vars(module)
        and getattr(module, "__spec__", None) is not None
    )


def _objects_in(made: Any, depth: int = 4) -> Iterator[Any]:
    """What lies in the lists, tuples and dictionaries of something that was reduced."""
    if isinstance(made, dict):
        made = made.values()
    elif not isinstance(made, list | tuple):
        yield made
        return
    for part in made if depth else ():
        yield from _objects_in(part, depth - 1)


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
        layout: Layout | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._namespace, self._reducers, self._layout = namespace, reducers, layout or {}
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.modules: set[str] = set()
        self.files: set[str] = set()
        self.inner: set[int] = set()
        """Ids of a framework's objects that are parts of others: a model's optimizer."""

    def reducer_override(self, obj: Any) -> Any:
        if obj is sys.stdout or obj is sys.stderr:
            # a logger's handler, say: on a rank it writes to the rank's output
            return getattr, (sys, "stdout" if obj is sys.stdout else "stderr")
        if why := why_it_stays(obj):
            raise CannotTravelError(obj, why)
        for applies, reduce in self._reducers:
            if applies(obj):
                self.modules.add(type(obj).__module__)
                made = reduce(obj)
                self.inner |= {id(part) for part in _objects_in(made) if any(of(part) for of, _ in self._reducers)}
                return made
        if id(obj) in self._layout:
            return self._layout[id(obj)](obj)
        if isinstance(obj, _CachedFunction) and obj.__module__ == self._namespace.get("__name__"):
            # pickle knows cached functions by name only, and the name is not there yet
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if isinstance(obj, KINDS) and (made := reduce_kind(obj)) is not None:
            return made
        made = super().reducer_override(obj)
        if isinstance(obj, types.FunctionType | type | types.ModuleType):
            self._note(obj, by_value=made is not NotImplemented)
        if isinstance(obj, types.FunctionType) and made is not NotImplemented:
            return self._function(obj, made)
        return made

    def _note(self, obj: Any, *, by_value: bool) -> None:
        if isinstance(obj, types.ModuleType):
            self.modules.add(obj.__name__)
        elif not by_value:
            self.modules.add(str(obj.__module__))
        elif isinstance(obj, types.FunctionType):
            self.modules |= code_imports(obj.__code__)
            self.files.add(obj.__code__.co_filename)

    def _function(self, function: types.FunctionType, made: Any) -> Any:
        """Let a function keep the variables that it shares with others: those of its module, and those around it."""
        make, (code, scope, *defaults, _), (state, slots), *rest = made
        if function.__globals__ is self._namespace:
            self.reads |= global_reads(code)
            self.writes |= global_stores(code)
            scope, slots = _HERE, {**slots, "__globals__": {}}
        elif is_of_module(function):
            self.modules.add(function.__module__)
            scope, slots = _Module(function.__module__), {**slots, "__globals__": {}}
        # the variables themselves, which other functions may share, instead of new ones with the same content
        return make, (code, scope, *defaults, function.__closure__), (state, {**slots, "__closure__": None}), *rest


def dumps(
    value: Any,
    namespace: Mapping[str, Any],
    reducers: Sequence[Reducer] = (),
    *,
    pickler: Callable[..., Pickler] = Pickler,
    layout: Layout | None = None,
) -> Pickled:
    """Pickle a value; buffers from :data:`LARGE_BYTES` on stay where they are.

    Parameters
    ----------
    layout
        How arrays travel that share memory with others; None to find that out. What is inside the value is told only then.

    Raises
    ------
    Exception
        Whatever the value's own code raises; :class:`CannotTravelError` for kinds that are known to stay.
    """
    if layout is not None:
        return _dumped(value, namespace, reducers, pickler, layout, looks_inside=False)
    pickled = _dumped(value, namespace, reducers, pickler, {})
    # which arrays share memory is known when all have been seen
    layout = layout_of(pickled.arrays)
    return _dumped(value, namespace, reducers, pickler, layout) if layout else pickled


def _dumped(
    value: Any,
    namespace: Mapping[str, Any],
    reducers: Sequence[Reducer],
    make: Callable[..., Pickler],
    layout: Layout,
    *,
    looks_inside: bool = True,
) -> Pickled:
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
    pickler = make(file, namespace, reducers, on_buffer, layout)
    with _without_collector():
        pickler.dump(_HERE if value is namespace else value)
    numbered = _numbered(pickler) if looks_inside else {}
    return Pickled(
        stream=file.getvalue(),
        buffers=tuple(aside),
        # a class that arrives twice is one class
        parts={id(part): part for part in numbered.values() if not isinstance(part, type)},
        numbered=numbered,
        arrays=arrays_in(numbered.values()),
        reads=frozenset(pickler.reads),
        writes=frozenset(pickler.writes),
        modules=frozenset(pickler.modules),
        files=frozenset(pickler.files),
    )


def _numbered(pickler: Pickler) -> dict[int, object]:
    with _without_collector():
        memo = pickler.memo.copy().values()
        found = {number: part for number, part in memo if type(part) in _CONTAINERS or _may_change(part)}
        inside = inside_tables(found.values())
        # pandas copies before it writes, as long as nobody else writes to what tables share
        return {number: part for number, part in found.items() if id(part) not in inside} if inside else found


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A million new tuples make the collector look at the whole heap again and again, for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _may_change(part: object) -> bool:
    if type(part) in _PLAIN or part is _HERE:
        return False
    if isinstance(part, types.FunctionType | type):
        return not _should_pickle_by_reference(part)
    return not isinstance(part, _VALUES)


def failure_of(value: Any, namespace: Mapping[str, Any], reducers: Sequence[Reducer]) -> Exception | None:
    """Return the error of pickling a value; None if it can be pickled."""
    try:
        dumps(value, namespace, reducers)
    except Exception as error:  # noqa: BLE001 (pickling runs code of any library)
        return error
    return None


def loads(
    data: bytes | memoryview,
    namespace: dict[str, Any],
    buffers: Iterable[memoryview] = (),
    *,
    unpickler: Callable[..., pickle.Unpickler] = pickle.Unpickler,
    numbered: dict[int, Any] | None = None,
) -> Any:
    """Undo :func:`dumps`; functions of the notebook find their names in ``namespace``.

    Parameters
    ----------
    numbered
        Gets the things of :attr:`Pickled.numbered`, as they are here.
    """
    token = _arriving.set(namespace)
    try:
        loading = unpickler(_Stream(data) if isinstance(data, memoryview) else io.BytesIO(data), buffers=buffers)
        with _without_collector():
            value = loading.load()
    finally:
        _arriving.reset(token)
    if numbered is not None:
        with _without_collector():
            memo: Mapping[int, Any] = loading.memo.copy()  # type: ignore[attr-defined]  # as that of picklers
            parts = memo.items()
            numbered.update({n: part for n, part in parts if type(part) in _CONTAINERS or _may_change(part)})
    return value


class _Stream:
    """Reads a pickle where it lies, without a copy of it all."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        part = bytes(self._data[self._at : end])
        self._at += len(part)
        return part

    def readinto(self, target: Any) -> int:
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readline(self) -> bytes:
        rest = bytes(self._data[self._at :])  # only the oldest opcodes are lines, none of those that we write
        line = rest[: rest.find(b"\n") + 1] or rest
        self._at += len(line)
        return line


def digest(data: bytes | memoryview) -> str:
    """Content hash, by which equal data is recognised; large data is hashed in parts, on all cores."""
    whole = memoryview(data).cast("B")
    if whole.nbytes <= _PART_BYTES:
        return hashlib.blake2b(whole, digest_size=20).hexdigest()
    parts = [whole[start : start + _PART_BYTES] for start in range(0, whole.nbytes, _PART_BYTES)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = pool.map(lambda part: hashlib.blake2b(part, digest_size=20).digest(), parts)
        return hashlib.blake2b(b"".join(hashes), digest_size=20, person=b"hops-parts").hexdigest()
