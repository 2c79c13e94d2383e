"""Kinds that pickle would refuse, or copy apart from what they belong to: a dictionary's keys, a variable of a closure."""

from __future__ import annotations

import gc
import types
import weakref
from typing import Any, cast

from hops_magic.cells.staying import CannotTravelError, Why

# what functools.singledispatch keeps its choices in
_WEAK_DICTIONARIES = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}

KINDS = (types.CellType, types.MappingProxyType, memoryview, *_VIEWS, *_WEAK_DICTIONARIES)


def reduce_kind(value: Any) -> Any:
    """Reduce a value of these kinds, as ``__reduce_ex__`` does; None for all others."""
    kind = type(value)
    if kind in _WEAK_DICTIONARIES:
        return kind, (dict(value),)
    if isinstance(value, types.CellType):
        return _reduce_variable(value)
    if kind in _VIEWS:
        return _view_of_dictionary, (_owner(value), _VIEWS[kind])
    if kind is types.MappingProxyType:
        return types.MappingProxyType, (_owner(value),)
    if isinstance(value, memoryview):
        return _reduce_memory(value)
    return None


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


def _reduce_memory(view: memoryview) -> Any:
    owner = view.obj
    whole = memoryview(cast("Any", owner))
    if view.ndim != 1 or not (view.c_contiguous and whole.c_contiguous):
        remedy = "make it inside the cell, or pass bytes(...) of it"
        raise CannotTravelError(view, Why("a memoryview that is not one piece", remedy))
    from hops_magic.cells.arrays import address_of

    start = address_of(view) - address_of(whole) if view.nbytes else 0
    return _memory, (owner, start, view.nbytes, view.format, view.readonly)


def _memory(owner: Any, start: int, size: int, form: Any, readonly: bool) -> memoryview[Any]:
    part: memoryview[Any] = memoryview(owner).cast("B")[start : start + size].cast(form)
    return part.toreadonly() if readonly else part
