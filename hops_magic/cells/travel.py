"""How values are pickled between the notebook and the ranks.

Functions made in the notebook share the notebook's namespace. On the other side they share the namespace of the cell there:
the namespace travels as a mark, never as a copy, and what functions need of it travels by name beside them.
"""

from __future__ import annotations

import enum
import functools
import importlib
import io
import logging
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import cloudpickle
from cloudpickle.cloudpickle import _should_pickle_by_reference

from hops_magic.cells.analysis import code_imports, global_reads, global_stores
from hops_magic.cells.arrays import is_array
from hops_magic.cells.kinds import KINDS, CachedFunction, note_of_cache, reduce_kind
from hops_magic.cells.layouts import Layout, layout_of, owner_of, reduce_lie
from hops_magic.cells.numbered import Numbered
from hops_magic.cells.pickled import Memo, Pickled, numbered_in, without_collector
from hops_magic.cells.reducing import (
    builtin_of,
    has_shared_attributes,
    is_reduced_by_pickle,
    reduce_array,
    reduce_container,
    reduce_enum,
    reduce_exception,
    reduce_member,
    reduce_shared,
    share_function_attributes,
)
from hops_magic.cells.staying import CannotTravelError, told_apart, why_it_stays
from hops_magic.cells.stream import Stream
from hops_magic.cells.tables import inside_pandas, joinable_blocks

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]
"""``(predicate, reduce)``; ``reduce`` answers like ``__reduce_ex__``."""

LARGE_BYTES = 1 << 20
"""Buffers from here on travel out of band."""

_arriving: ContextVar[dict[str, Any]] = ContextVar("hops_arriving")


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
        self.notes: set[str] = set()
        self.arrays: list[Any] = []
        self.blocks: list[Any] = []
        self.temporary: list[Any] = []
        """Things that are made to be pickled: they are parts of nothing."""
        self.inner: set[int] = set()
        """Ids of a framework's objects that are parts of others: a model's optimizer."""
        self._of_pandas: list[Any] = []
        self._array_class = getattr(sys.modules.get("numpy"), "ndarray", None)
        # by class, whether its objects are as pickle makes them, and whether they have a dictionary
        self._plain: dict[type, bool] = {}

    def inside(self) -> set[int]:
        """Return the ids of arrays in tables, which are neither shared nor written to by others than pandas."""
        found = {id(array) for part in self._of_pandas for array in inside_pandas(part)}
        return found - set(self._layout)

    def reducer_override(self, obj: Any) -> Any:
        # a million objects of one class come here: what their class tells is looked up once
        kind = type(obj)
        has_dictionary = self._plain.get(kind)
        if has_dictionary is not None:
            if has_dictionary and has_shared_attributes(obj):
                made = reduce_shared(obj)
                return NotImplemented if made is None else made
            return NotImplemented
        if kind is self._array_class:
            if obj.flags.carray and not (self._layout or self.temporary):
                self.arrays.append(obj)
                return NotImplemented
            made = self._array(obj)
            return NotImplemented if made is None else made
        made = self._reduced(obj)
        if made is NotImplemented:
            self._learn(kind)
        return made

    def _learn(self, kind: type) -> None:
        of_language = issubclass(kind, type | types.FunctionType | types.ModuleType | io.IOBase)
        if not of_language and is_reduced_by_pickle(kind) and kind not in self.dispatch_table and not told_apart(kind):
            self._plain[kind] = kind.__dictoffset__ != 0

    def _reduced(self, obj: Any) -> Any:
        if type(obj) in weakref.ProxyTypes:  # they pass for what they stand for
            return reduce_kind(obj)
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
        if isinstance(obj, CachedFunction) and obj.__module__ == self._namespace.get("__name__"):
            # pickle knows cached functions by name only, and the name is not there yet
            if note := note_of_cache(obj, obj.__qualname__):
                self.notes.add(note)
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if (made := self._special(obj)) is not None:
            return made
        made = super().reducer_override(obj)
        if isinstance(obj, types.FunctionType | type | types.ModuleType):
            self._note(obj, by_value=made is not NotImplemented)
        if isinstance(obj, types.FunctionType) and made is not NotImplemented:
            return self._function(obj, made)
        if isinstance(obj, enum.EnumMeta) and made is not NotImplemented:
            return reduce_enum(obj, made)
        return made

    def _special(self, obj: Any) -> Any:
        """Reduce what pickle would make otherwise than it is; None for all else."""
        if is_array(obj):
            return self._array(obj)
        kind = type(obj)
        if kind.__module__ == "logging" and isinstance(obj, logging.Logger) and (obj.level or obj.handlers or obj.filters):
            self.notes.add(
                f"the logger {obj.name} is the ranks' own, without the level and handlers that it has in the notebook"
            )
        if kind.__module__.startswith("pandas."):
            self._of_pandas.append(obj)
            self.blocks += joinable_blocks(obj)
        if isinstance(obj, KINDS):
            return reduce_kind(obj)
        if isinstance(obj, enum.Enum):
            return None if _should_pickle_by_reference(kind) else reduce_member(obj)
        if isinstance(obj, BaseException):
            return reduce_exception(obj)
        if builtin_of(kind) is not None and (made := reduce_container(obj)) is not None:
            return made
        if kind.__dictoffset__ and not isinstance(obj, type | types.FunctionType | types.ModuleType):
            return reduce_shared(obj) if has_shared_attributes(obj) else None
        return None

    def _array(self, array: Any) -> Any:
        if self.temporary and array is self.temporary[-1]:
            return None
        self.arrays.append(array)
        if id(array) in self._layout:
            return self._layout[id(array)](array)
        made = reduce_lie(array)
        if made is None:
            return reduce_array(array, sys.modules["numpy"])
        self.temporary.append(made[1][0])
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
        start, slots = (make, (code, scope, *defaults, function.__closure__)), {**slots, "__closure__": None}
        if state and has_shared_attributes(function):
            return *start, (function.__dict__, slots, rest[-1]), None, None, share_function_attributes
        return *start, (state, slots), *rest


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
        How arrays travel that share memory with others; None to find that out.

    Raises
    ------
    Exception
        Whatever the value's own code raises; :class:`CannotTravelError` for kinds that are known to stay.
    """
    if layout is not None:
        return _dumped(value, namespace, reducers, pickler, layout)
    pickled = _dumped(value, namespace, reducers, pickler, {})
    # which arrays share memory is known when all have been seen
    layout = layout_of(pickled.arrays, pickled.blocks, owned=pickled.memo.holds)
    if not layout:
        return pickled
    pickled.memo.clear()
    return _dumped(value, namespace, reducers, pickler, layout)


def _dumped(
    value: Any,
    namespace: Mapping[str, Any],
    reducers: Sequence[Reducer],
    make: Callable[..., Pickler],
    layout: Layout,
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
    with without_collector():
        pickler.dump(_marked(value, namespace))
    stream = file.getvalue()
    file.truncate(0)  # it lives as long as the memo
    inside = pickler.inside()
    arrays = tuple(array for array in pickler.arrays if array.nbytes and id(array) not in inside)
    owners = (owner_of(array) for array in arrays)
    return Pickled(
        stream=stream,
        buffers=tuple(aside),
        memo=Memo(pickler, file, _HERE),
        arrays=arrays,
        blocks=tuple(pickler.blocks),
        owners={id(owner): owner for owner in owners if owner is not None},
        reads=frozenset(pickler.reads),
        writes=frozenset(pickler.writes),
        modules=frozenset(pickler.modules),
        files=frozenset(pickler.files),
        notes=tuple(sorted(pickler.notes)),
    )


def _marked(value: Any, namespace: Mapping[str, Any]) -> Any:
    """The notebook's namespace, and those of modules, are on the other side those that are there."""
    if value is namespace:
        return _HERE
    if type(value) is dict and isinstance(name := value.get("__name__"), str):
        module = sys.modules.get(name)
        if module is not None and vars(module) is value:
            return _Module(name)
    return value


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
    numbered: Numbered | None = None,
) -> Any:
    """Undo :func:`dumps`; functions of the notebook find their names in ``namespace``.

    Parameters
    ----------
    numbered
        Gets the things of :attr:`Pickled.numbered`, as they are here.
    """
    token = _arriving.set(namespace)
    try:
        loading = unpickler(Stream(data) if isinstance(data, memoryview) else io.BytesIO(data), buffers=buffers)
        with without_collector():
            value = loading.load()
    finally:
        _arriving.reset(token)
    if numbered is not None:
        numbered.add(functools.cache(lambda: numbered_in(loading.memo.copy())))  # type: ignore[attr-defined]  # as that of picklers
    return value
