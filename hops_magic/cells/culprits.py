"""Find what cannot travel inside a value, and say where it hides."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hops_magic.cells.travel import CannotTravelError

MAX_DEPTH = 8
MAX_CHILDREN = 1_000


def find_culprit(name: str, value: Any, fails: Callable[[Any], Exception | None]) -> tuple[str, str] | None:
    """Return the path of the innermost part of a value that cannot be pickled, and the reason; None if it can.

    Parameters
    ----------
    name
        The name under which the notebook has the value.
    fails
        Tries to pickle a value; returns the error, or None.
    """
    error = fails(value)
    if error is None:
        return None
    return _descend(name, value, error, fails, {id(value)}, 0)


def _descend(
    path: str, value: Any, error: Exception, fails: Callable[[Any], Exception | None], seen: set[int], depth: int
) -> tuple[str, str]:
    if depth < MAX_DEPTH and not (isinstance(error, CannotTravelError) and error.value is value):
        for part, child in _children(path, value):
            if id(child) in seen:
                continue
            seen.add(id(child))
            if (inner := fails(child)) is not None:
                return _descend(part, child, inner, fails, seen, depth + 1)
    if isinstance(error, CannotTravelError):
        return path, error.why
    kind = type(value)
    return path, f"a {kind.__module__}.{kind.__qualname__}: {_first_line(error)}"


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for number, (key, child) in enumerate(value.items()):
            if number < MAX_CHILDREN:
                yield f"{path}[{key!r}]", child
    elif isinstance(value, list | tuple | set | frozenset):
        for number, child in enumerate(value):
            if number < MAX_CHILDREN:
                yield f"{path}[{number}]", child
    if isinstance(value, types.FunctionType):
        yield from _of_function(path, value)
    elif isinstance(value, types.MethodType):
        yield f"{path}.__self__", value.__self__
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType):
        for key, child in list(vars(value).items()):
            if not (key.startswith("__") and isinstance(value, type)):
                yield f"{path}.{key}", child
    for owner in type(value).__mro__:
        for slot in _slots(owner):
            if hasattr(value, slot):
                yield f"{path}.{slot}", getattr(value, slot)


def _of_function(path: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{path} (its variable {variable})", cell.cell_contents
        except ValueError:
            continue  # not yet bound
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"{path} (its default {number + 1})", default
    for key, default in (function.__kwdefaults__ or {}).items():
        yield f"{path} (its default {key})", default


def _slots(owner: type) -> tuple[str, ...]:
    slots = owner.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if isinstance(name, str))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
