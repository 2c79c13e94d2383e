"""Objects of the notebook that a cell changed stay the same objects."""

from __future__ import annotations

import array
import collections
import enum
import functools
import io
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, cast

from hops_magic.cells.arrays import is_array as _is_array
from hops_magic.cells.kinds import set_variable
from hops_magic.cells.reducing import builtin_of, has_shared_attributes
from hops_magic.cells.views import writeable

Update = Callable[[Any, Any], bool]
"""``update(original, returned)`` makes the original what the returned one is; False if it does not know such objects."""

FIXED: tuple[type[Any], ...] = (
    types.MethodType,
    types.BuiltinMethodType,
    types.MappingProxyType,
    memoryview,
    property,
    staticmethod,
    classmethod,
    enum.Enum,
    type(functools.lru_cache(int)),
    functools.cached_property,
    weakref.ref,
    *weakref.ProxyTypes,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
"""Kinds that never change: only what they refer to does."""

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_OPAQUE = (type, types.ModuleType)
_CONTAINERS = (
    list,
    dict,
    set,
    bytearray,
    collections.deque,
    collections.OrderedDict,
    collections.defaultdict,
    types.SimpleNamespace,
)
# numbers and texts of a class of the user's own: they have attributes
_VALUES = (int, float, complex, str, bytes, tuple, frozenset)
_OF_CLASS = frozenset(
    {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__abstractmethods__", "__slots__"}
)


def is_fixed(original: Any) -> bool:
    """Whether an object never changes, but for what it refers to."""
    if isinstance(original, FIXED):
        return True
    kind = type(original)
    return kind.__module__.startswith("numpy.random") and kind.__name__ == "Generator"


def can_adopt(original: Any, returned: Any) -> bool:
    """Whether an object of the notebook can take over the state of this one."""
    kind: Any = type(original)
    if kind is not type(returned) or isinstance(original, _OPAQUE):
        return False
    if _is_array(original):
        return bool(
            writeable(original) is not None and original.dtype == returned.dtype and original.shape == returned.shape
        )
    if isinstance(original, types.FunctionType):
        return bool(original.__code__.co_freevars == returned.__code__.co_freevars)
    if isinstance(original, types.CellType | array.array) or _is_wholly_known(cast("Any", kind)):
        return True
    # of the returned one the state has not come yet
    return hasattr(kind, "__setstate__") and _state_of(original) is not None


def adopt(original: Any, returned: Any, updates: Iterable[Update] = ()) -> bool:
    """Make the notebook's object what the returned one is; False if it must be replaced."""
    if type(original) is type(returned) and any(update(original, returned) for update in updates):
        return True
    if not can_adopt(original, returned):
        return False
    take_over(original, returned)
    return True


def take_over(original: Any, returned: Any) -> None:
    """Make the notebook's object what the returned one is, which it can take over."""
    if type(original) is list:  # the most frequent by far
        original[:] = returned
    elif _is_array(original):
        cast("Any", writeable(original))[...] = returned
        if type(original).__dictoffset__ and not hasattr(original, "_mmap"):
            _adopt_attributes(original, returned)
    elif isinstance(original, types.FunctionType):
        _adopt_function(original, returned)
    elif isinstance(original, types.CellType):
        set_variable(original, _content(returned))
    elif isinstance(original, array.array):
        original[:] = returned
    elif isinstance(original, io.BytesIO) and _is_as_python_has_it(type(original)):
        _adopt_bytes(original, returned)
    elif _is_wholly_known(cast("Any", type(original))):
        _adopt_parts(original, returned)
    else:
        original.__setstate__(_state_of(returned))


def bare(original: Any) -> Any:
    """Make an object of the same class, past its constructor; None if that is not known how."""
    kind = type(original)
    if not _is_wholly_known(cast("Any", kind)) or isinstance(original, _VALUES):
        return None
    base: Any = builtin_of(kind) or object
    return base.__new__(kind)


def adopt_class(original: type, attributes: Mapping[str, Any]) -> None:
    """Give a class of the notebook the attributes that it had on the rank."""
    if not attributes:
        return
    for kind in attributes.get("_abc_impl", ()):
        cast("Any", original).register(kind)
    for name, value in attributes.items():
        if name not in _OF_CLASS and name != "_abc_impl" and vars(original).get(name, _MISSING) is not value:
            setattr(original, name, value)
    gone = set(vars(original)) - set(attributes) - _OF_CLASS if not isinstance(original, enum.EnumMeta) else set()
    for name in gone:
        of_slots = isinstance(vars(original)[name], types.MemberDescriptorType | types.GetSetDescriptorType)
        if not of_slots and not (name.startswith("__") and name.endswith("__")) and not name.startswith("_abc_"):
            delattr(original, name)


_MISSING = object()


def _adopt_parts(original: Any, returned: Any) -> None:
    # past the methods of their classes, through which the items have been once
    if isinstance(original, list):
        list.__setitem__(original, slice(None), list.__getitem__(returned, slice(None)))
    elif isinstance(original, bytearray):
        bytearray.__setitem__(original, slice(None), bytes(returned))
    elif isinstance(original, collections.deque):
        collections.deque.clear(original)
        collections.deque.extend(original, collections.deque.__iter__(returned))
    elif isinstance(original, set):
        set.clear(original)
        set.update(original, set.__iter__(returned))
    elif isinstance(original, dict):
        _adopt_items(original, returned)
    if type(original).__dictoffset__:
        _adopt_attributes(original, returned)
    for slot in _slots(type(original)):
        if hasattr(returned, slot):
            object.__setattr__(original, slot, getattr(returned, slot))
        elif hasattr(original, slot):
            object.__delattr__(original, slot)


def _adopt_items(original: Any, returned: Any) -> None:
    if isinstance(original, collections.defaultdict):
        original.default_factory = returned.default_factory
    base = builtin_of(type(original))
    items = list(base.items(returned))
    base.clear(original)
    for key, value in items:
        base.__setitem__(original, key, value)


def _adopt_attributes(original: Any, returned: Any) -> None:
    if original.__dict__ is returned.__dict__:
        return
    if has_shared_attributes(returned):
        object.__setattr__(original, "__dict__", returned.__dict__)
        return
    state = dict(vars(returned))
    vars(original).clear()
    vars(original).update(state)


def _adopt_function(original: types.FunctionType, returned: types.FunctionType) -> None:
    original.__code__ = returned.__code__
    original.__defaults__, original.__kwdefaults__ = returned.__defaults__, returned.__kwdefaults__
    _adopt_attributes(original, returned)


def _is_as_python_has_it(kind: Any) -> bool:
    return all(getattr(kind, name) is getattr(io.BytesIO, name) for name in ("__getstate__", "__setstate__"))


def _adopt_bytes(original: Any, returned: Any) -> None:
    content, place, attributes = _state_of(returned)
    if len(content) != original.getbuffer().nbytes:
        original.__setstate__((content, place, attributes))
        return
    original.getbuffer()[:] = content  # in place: while an array lies in it, it takes no other state
    original.seek(place)
    vars(original).clear()
    vars(original).update(attributes or {})


def _content(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not bound
        return ()


def _state_of(value: Any) -> Any:
    """What ``__setstate__`` takes, of a type in C such as a generator of random numbers; None if there is no such thing."""
    made = value.__reduce_ex__(4)
    return None if isinstance(made, str) or len(made) < 3 else made[2]


@functools.lru_cache(maxsize=256)
def _is_wholly_known(kind: Hashable) -> bool:
    """Whether an object's state is what its items, ``__dict__`` and slots hold, and nothing in C."""
    return all(
        base is object or base in _CONTAINERS or base in _VALUES or _is_of_python(base)
        for base in cast("type", kind).__mro__
    )


def _is_of_python(kind: type) -> bool:
    in_c = (types.BuiltinMethodType, types.MethodDescriptorType, types.WrapperDescriptorType)
    own = [part for part in vars(kind).values() if isinstance(part, in_c)]
    # some types in C are made as class statements make them, but none without methods in C that are its own
    return bool(kind.__flags__ & _HEAP_TYPE) and not any(_owner(part) is kind for part in own)


def _owner(part: Any) -> Any:
    return part.__self__ if isinstance(part, types.BuiltinMethodType) else part.__objclass__


def _slots(kind: type) -> list[str]:
    found = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            # as the compiler names what is private to a class
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return [name for name in found if name not in ("__dict__", "__weakref__")]
