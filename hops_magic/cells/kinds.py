"""Kinds that pickle would refuse, or copy apart from what they belong to: a dictionary's keys, a variable of a closure."""

from __future__ import annotations

import functools
import gc
import io
import sys
import types
import typing
import weakref
from typing import Any

from hops_magic.cells.staying import CannotTravelError, Why

# what functools.singledispatch keeps its choices in
_WEAK_DICTIONARIES = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_BytesIOBuffer = type(io.BytesIO().getbuffer().obj)
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}

# as a class statement's names do, these stand for themselves; of Python 3.12 on there are more of them
_TYPES = tuple(
    getattr(typing, name) for name in ("NewType", "ParamSpec", "TypeVarTuple", "TypeAliasType") if hasattr(typing, name)
)

CachedFunction = type(functools.lru_cache(int))

KINDS = (
    types.CellType,
    types.MappingProxyType,
    memoryview,
    weakref.ref,
    *weakref.ProxyTypes,
    functools.cached_property,
    *_TYPES,
    *_VIEWS,
    *_WEAK_DICTIONARIES,
)


def reduce_kind(value: Any) -> Any:
    """Reduce a value of these kinds, as ``__reduce_ex__`` does; None for all others."""
    kind = type(value)
    if kind in _WEAK_DICTIONARIES:
        return kind, (dict(value),)
    if kind in (*weakref.ProxyTypes, weakref.ref, weakref.WeakMethod):
        return _reduce_weak(value)
    if kind is functools.cached_property:  # in Python 3.11 it has a lock, of which each process has its own
        return _cached_property, (value.func, value.attrname)
    if kind in _TYPES:
        return _reduce_type(value)
    if isinstance(value, types.CellType):
        return _reduce_variable(value)
    if kind in _VIEWS:
        return _view_of_dictionary, (_owner(value), _VIEWS[kind])
    if kind is types.MappingProxyType:
        return types.MappingProxyType, (_owner(value),)
    if isinstance(value, memoryview):
        return _reduce_memory(value)
    return None


def note_of_cache(function: Any, name: str) -> str:
    """Say that the results of a cached function do not travel; empty if it has none."""
    kept = function.cache_info().currsize
    if not kept:
        return ""
    results = "the result of an earlier call" if kept == 1 else f"the results of {kept} earlier calls"
    return f"{name} keeps {results}, which the ranks make anew"


def _reduce_weak(value: Any) -> Any:
    kind = type(value)
    if kind in weakref.ProxyTypes:
        try:
            # asked for an attribute, it answers as what it stands for
            return weakref.proxy, (value.__init__.__self__,)
        except ReferenceError:
            return _dead, (weakref.proxy,)
    thing = value()
    if thing is None:
        return _dead, (kind,)
    # what is called when the thing goes is left out for WeakMethod, which has one of its own
    calls = value.__callback__ if kind is weakref.ref else None
    return kind, (thing,) if calls is None else (thing, calls)


class _Gone:
    def method(self) -> None:
        """Be something to refer to."""


def _dead(kind: Any) -> Any:
    gone = _Gone()
    return kind(gone.method if kind is weakref.WeakMethod else gone)


def _cached_property(function: Any, name: str | None) -> Any:
    made: functools.cached_property[Any] = functools.cached_property(function)
    made.attrname = name
    return made


def _reduce_type(value: Any) -> Any:
    """Reduce what ``typing`` makes of a name, if the name is not of a module that is imported."""
    module = sys.modules.get(value.__module__ or "__main__")
    if module is None or (module.__name__ != "__main__" and getattr(module, value.__name__, None) is value):
        return None
    if isinstance(value, typing.NewType):
        return _new_type, (value.__name__, value.__supertype__, value.__module__)
    if hasattr(value, "__value__"):
        return _alias, (type(value), value.__name__, value.__value__, value.__type_params__)
    return type(value), (value.__name__,)


def _new_type(name: str, kind: Any, module: str) -> Any:
    made = typing.NewType(name, kind)  # type: ignore[misc]  # made at run time
    made.__module__ = module
    return made


def _alias(kind: Any, name: str, value: Any, parameters: Any) -> Any:
    return kind(name, value, type_params=parameters)


def _owner(view: Any) -> Any:
    (owner,) = gc.get_referents(view)
    return owner


def _view_of_dictionary(owner: Any, name: str) -> Any:
    return getattr(owner, name)()


def _reduce_variable(cell: types.CellType) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:  # not yet bound
        return types.CellType, ()
    # set afterwards: a function may well be in a variable of its own
    return types.CellType, (), (content,), None, None, set_variable


def set_variable(cell: types.CellType, state: tuple[Any, ...]) -> None:
    """Set a variable of a closure, or unset it."""
    if state:
        cell.cell_contents = state[0]
    else:
        del cell.cell_contents


def owner_of_memory(view: memoryview) -> Any:
    """Return the object whose memory this is."""
    return _owner(view.obj) if isinstance(view.obj, _BytesIOBuffer) else view.obj


def memory_of(owner: Any) -> memoryview:
    """Return an object's memory."""
    return owner.getbuffer() if isinstance(owner, io.BytesIO) else memoryview(owner)


def _reduce_memory(view: memoryview) -> Any:
    owner = owner_of_memory(view)
    whole = memory_of(owner)
    if not (view.c_contiguous and whole.c_contiguous):
        remedy = "make it inside the cell, or pass bytes(...) of it"
        raise CannotTravelError(view, Why("a memoryview that is not one piece", remedy))
    from hops_magic.cells.arrays import address_of

    start = address_of(view) - address_of(whole) if view.nbytes else 0
    return _memory, (owner, start, view.nbytes, view.format, view.readonly, view.shape)


def _memory(owner: Any, start: int, size: int, form: Any, readonly: bool, shape: Any) -> memoryview[Any]:
    part: memoryview[Any] = memory_of(owner).cast("B")[start : start + size]
    part = part.cast(form, shape) if len(shape) > 1 else part.cast(form)
    return part.toreadonly() if readonly else part
