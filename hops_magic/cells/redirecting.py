"""What points to an object that came back points to the notebook's own one, which has taken over its state."""

from __future__ import annotations

import functools
import gc
import types
from collections.abc import Iterable, Sequence
from typing import Any

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_LEFT_ALONE = (type, types.ModuleType, types.FrameType)


def redirect(pairs: Sequence[tuple[Any, Any]], besides: Iterable[object] = ()) -> None:
    """Let what points to a returned object point to the notebook's own one instead: ``history.model`` is ``model``.

    Tuples, bound methods and other things that cannot be changed are made anew, and what points to them is redirected too.

    Parameters
    ----------
    pairs
        Of a returned object and the one that has adopted its state.
    besides
        What refers to returned objects and is to go on doing so.
    """
    originals = {id(returned): original for returned, original in pairs}
    left_alone = {id(pairs), *map(id, pairs), *map(id, besides)}
    returned = [returned for returned, _ in pairs]
    while returned:
        made_anew: list[Any] = []
        for holder in gc.get_referrers(*returned):
            if holder is returned or id(holder) in left_alone or id(holder) in originals:
                continue
            if (new := _rebuilt(holder, originals)) is not None:
                originals[id(holder)] = new
                made_anew.append(holder)
            else:
                _redirect_in(holder, originals)
        left_alone.add(id(returned))
        returned = made_anew


def _rebuilt(holder: Any, originals: dict[int, Any]) -> Any:
    """Make anew what cannot be changed; None for all others."""
    if isinstance(holder, types.MethodType):
        return types.MethodType(holder.__func__, originals.get(id(holder.__self__), holder.__self__))
    if isinstance(holder, tuple) and (type(holder) is tuple or type(holder).__flags__ & _HEAP_TYPE):
        made = tuple.__new__(type(holder), (originals.get(id(part), part) for part in holder))
        if attributes := getattr(holder, "__dict__", None):
            vars(made).update(attributes)
        return made
    if isinstance(holder, frozenset):
        return frozenset.__new__(type(holder), (originals.get(id(part), part) for part in holder))
    return None


def _redirect_in(holder: Any, originals: dict[int, Any]) -> None:
    # subclasses may do more when an item is set than they expect to do twice
    if isinstance(holder, list):
        for number, part in enumerate(holder):
            if id(part) in originals:
                list.__setitem__(holder, number, originals[id(part)])
    elif isinstance(holder, dict):
        _redirect_items(holder, originals)
    elif isinstance(holder, set):
        parts = [originals.get(id(part), part) for part in holder]
        set.clear(holder)
        set.update(holder, parts)
    elif isinstance(holder, types.CellType):
        holder.cell_contents = originals.get(id(holder.cell_contents), holder.cell_contents)
    elif isinstance(holder, types.FunctionType):
        holder.__defaults__ = originals.get(id(holder.__defaults__), holder.__defaults__)
    elif isinstance(holder, functools.partial):
        function, arguments, keywords, attributes = holder.__reduce__()[2]  # type: ignore[str-unpack]  # as copyreg has it
        function, arguments = originals.get(id(function), function), originals.get(id(arguments), arguments)
        holder.__setstate__((function, arguments, keywords, attributes))  # type: ignore[attr-defined]
    elif not isinstance(holder, _LEFT_ALONE) and hasattr(type(holder), "__dict__") and type(holder).__dictoffset__:
        _redirect_items(vars(holder), originals)


def _redirect_items(holder: dict[Any, Any], originals: dict[int, Any]) -> None:
    if any(id(key) in originals for key in holder):
        items = list(dict.items(holder))
        dict.clear(holder)
        for key, part in items:  # in their order
            dict.__setitem__(holder, originals.get(id(key), key), originals.get(id(part), part))
        return
    for key, part in list(dict.items(holder)):
        if id(part) in originals:
            dict.__setitem__(holder, key, originals[id(part)])
