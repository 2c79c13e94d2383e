"""Objects of the notebook that a cell changed stay the same objects."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Update = Callable[[Any, Any], bool]
"""``update(original, returned)`` makes the original what the returned one is; False if it does not know such objects."""

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
_OPAQUE = (type, types.ModuleType, types.FunctionType)


def adopt(original: Any, returned: Any, updates: Iterable[Update]) -> bool:
    """Make the notebook's object what the returned one is; False if it must be replaced."""
    if type(original) is not type(returned) or isinstance(original, _OPAQUE):
        return False
    if any(update(original, returned) for update in updates):
        return True
    if _is_array(original):
        return _adopt_array(original, returned)
    if not _is_wholly_known(type(original)):
        return False
    if isinstance(original, list | bytearray):
        original[:] = returned
    elif isinstance(original, dict | set):
        original.clear()
        original.update(returned)
    elif not hasattr(original, "__dict__"):
        return False
    if hasattr(original, "__dict__"):
        state = dict(vars(returned))
        vars(original).clear()
        vars(original).update(state)
    return True


def redirect(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Let what points to a returned object point to the notebook's own one instead: ``history.model`` is ``model``.

    Parameters
    ----------
    pairs
        Of a returned object and the one that has adopted its state.
    """
    originals = {id(returned): original for returned, original in pairs}
    for holder in gc.get_referrers(*(returned for returned, _ in pairs)) if pairs else ():
        if isinstance(holder, list):
            for number, part in enumerate(holder):
                if id(part) in originals:
                    # subclasses may do more when an item is set than they expect to do twice
                    list.__setitem__(holder, number, originals[id(part)])
        elif isinstance(holder, dict):
            _redirect_values(holder, originals)
        elif not isinstance(holder, (*_OPAQUE, types.FrameType, types.CellType, tuple)) and hasattr(holder, "__dict__"):
            _redirect_values(vars(holder), originals)


def _redirect_values(holder: dict[Any, Any], originals: dict[int, Any]) -> None:
    for key, part in list(holder.items()):
        if id(part) in originals:
            dict.__setitem__(holder, key, originals[id(part)])


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _adopt_array(original: Any, returned: Any) -> bool:
    if original.shape != returned.shape or original.dtype != returned.dtype or not original.flags.writeable:
        return False
    original[...] = returned
    return True


def _is_wholly_known(kind: type) -> bool:
    """Whether an object's state is what lists, dictionaries, sets and ``__dict__`` hold, and nothing in C or in slots."""
    for base in kind.__mro__:
        if base in (object, list, dict, set, bytearray):
            continue
        slots = base.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else tuple(slots)
        if not base.__flags__ & _HEAP_TYPE or set(names) - {"__dict__", "__weakref__"}:
            return False
    return True
