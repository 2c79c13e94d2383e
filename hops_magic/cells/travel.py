"""How values are pickled between the notebook and the ranks.

Functions made in the notebook share the notebook's namespace. On the other side they share the namespace of the cell there:
the namespace travels as a mark, never as a copy, and what functions need of it travels by name beside them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cloudpickle

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]
"""``(predicate, reduce)``; ``reduce`` answers like ``__reduce_ex__``."""

LARGE_BYTES = 1 << 20
"""Buffers from here on travel out of band."""

_NAMESPACE = "namespace"


class CannotTravelError(Exception):
    """A value that must not be pickled although it could be, or whose failure is known; says why and what to do."""

    def __init__(self, value: object, why: str) -> None:
        super().__init__(why)
        self.value, self.why = value, why


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
        self.globals_ref[id(namespace)] = namespace

    def persistent_id(self, obj: Any) -> str | None:
        return _NAMESPACE if obj is self._namespace else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType) and obj.__globals__ is self._namespace:
            return self._notebook_function(obj)
        why = why_it_stays(obj)
        if why:
            raise CannotTravelError(obj, why)
        for applies, reduce in self._reducers:
            if applies(obj):
                return reduce(obj)
        return super().reducer_override(obj)

    def _notebook_function(self, function: types.FunctionType) -> Any:
        made = list(self._dynamic_function_reduce(function))
        state, slots = made[2]
        # its globals are the shared namespace: the names in it travel beside the function, once
        made[2] = (state, {**slots, "__globals__": {}})
        return tuple(made)


class Unpickler(pickle.Unpickler):
    """Gives functions the namespace of the place where they arrive."""

    def __init__(self, file: io.BytesIO, namespace: dict[str, Any], buffers: Iterable[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._namespace = namespace

    def persistent_load(self, pid: Any) -> Any:
        if pid == _NAMESPACE:
            return self._namespace
        raise pickle.UnpicklingError(f"unknown mark {pid!r}")


def why_it_stays(value: Any) -> str:
    """Why a value of a kind that never travels stays behind; empty for all others. Imports nothing."""
    if isinstance(value, io.IOBase):
        name = getattr(value, "name", "")
        return f"an open file{f' {name!r}' if name else ''}: open it inside the cell"
    if isinstance(value, types.GeneratorType):
        return "a generator: its place in the code cannot travel, make it inside the cell"
    if isinstance(value, types.CoroutineType | types.AsyncGeneratorType):
        return "a coroutine: await it in a cell of the notebook and use its result"
    kind = type(value)
    module, name = kind.__module__, kind.__qualname__
    if (module, name) in {("_thread", "lock"), ("_thread", "RLock")} or module == "threading":
        what = "a running thread" if name == "Thread" else "a lock"
        return f"{what} of the notebook's process: make it inside the cell"
    if (module, name) == ("socket", "socket"):
        return "an open socket: connect inside the cell"
    if module.startswith("tensorflow.python.data."):
        return "a tf.data pipeline, bound to this process: build it inside the cell from its data"
    if module.startswith("distributed.") and name == "Client":
        return "a client of a Dask cluster: on a rank, use hops and plain data instead"
    return ""


def dumps(
    value: Any,
    namespace: Mapping[str, Any],
    reducers: Sequence[Reducer] = (),
    keep_aside: Callable[[memoryview], object] | None = None,
) -> bytes:
    """Pickle a value; buffers from :data:`LARGE_BYTES` on go to ``keep_aside`` in order, and not into the result."""

    def on_buffer(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickled in the stream
            return True
        if keep_aside is None or raw.nbytes < LARGE_BYTES:
            return True
        keep_aside(raw)
        return False

    file = io.BytesIO()
    Pickler(file, namespace, reducers, on_buffer).dump(value)
    return file.getvalue()


def loads(data: bytes | memoryview, namespace: dict[str, Any], buffers: Iterable[memoryview] = ()) -> Any:
    """Undo :func:`dumps` in another namespace."""
    return Unpickler(io.BytesIO(data), namespace, buffers).load()


def digest(data: bytes | memoryview) -> str:
    """Content hash, by which equal data is recognised."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()
