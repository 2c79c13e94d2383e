"""Find what cannot travel inside a value, and say where it hides."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hops_magic.cells.analysis import global_reads
from hops_magic.cells.staying import CannotTravelError, Why
from hops_magic.errors import HopsError

MAX_DEPTH = 12
MAX_CHILDREN = 1_000

Fails = Callable[[Any], Exception | None]
"""Tries to pickle a value; returns the error, or None."""


@dataclass(frozen=True)
class Culprit:
    """The innermost part of a value that cannot be pickled: where it is, e.g. ``config.log``, and why."""

    path: str
    why: Why


def find_culprit(name: str, value: Any, fails: Fails, namespace: Mapping[str, Any]) -> Culprit | None:
    """Return what keeps the value called ``name`` from being pickled; None if nothing does.

    Functions that have ``namespace`` as their globals are not followed there: its names travel by themselves.
    """
    error = fails(value)
    if error is None:
        return None
    if isinstance(error.__cause__, RecursionError):
        remedy = "it is nested too deeply to be pickled, keep its parts in a list or make it inside the cell"
        return Culprit(name, Why(_kind(value), remedy))
    return _descend(name, value, error, fails, {id(value), id(namespace)}, 0)


def _descend(path: str, value: Any, error: Exception, fails: Fails, seen: set[int], depth: int) -> Culprit:
    if depth < MAX_DEPTH and not (isinstance(error, CannotTravelError) and error.value is value):
        for part, child in _children(path, value, seen):
            if id(child) in seen:
                continue
            seen.add(id(child))
            if (inner := fails(child)) is not None:
                return _descend(part, child, inner, fails, seen, depth + 1)
    if isinstance(error, CannotTravelError):
        return Culprit(path, error.why)
    if isinstance(error, HopsError):
        return Culprit(path, Why(_kind(value), str(error)))
    return Culprit(path, Why(_kind(value), f"{_first_line(error)}; make it inside the cell"))


def _kind(value: Any) -> str:
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"of type {module}{kind.__qualname__}"


def _children(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r}]", child) for key, child in islice(value.items(), MAX_CHILDREN))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{path}[{number}]", child) for number, child in enumerate(islice(value, MAX_CHILDREN)))
    if isinstance(value, types.FunctionType):
        yield from _of_function(path, value, seen)
    elif isinstance(value, types.MethodType):
        yield f"{path}.__self__", value.__self__
        yield path, value.__func__
    elif isinstance(value, staticmethod | classmethod):
        yield path, value.__func__
    elif isinstance(value, property):
        yield from ((path, part) for part in (value.fget, value.fset, value.fdel) if part is not None)
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType):
        for key, child in list(vars(value).items()):
            if not (isinstance(value, type) and isinstance(child, types.GetSetDescriptorType)):
                yield f"{path}.{key}", child
    for owner in type(value).__mro__:
        for slot in _slots(owner):
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                yield f"{path}.{slot}", getattr(value, slot)
    if type(value).__module__ == "functools" and hasattr(value, "func"):
        yield f"{path}.func", value.func
        yield from ((f"{path}.args[{number}]", child) for number, child in enumerate(value.args))
        yield from ((f"{path}.keywords[{key!r}]", child) for key, child in value.keywords.items())
    if not isinstance(value, type) and type(value).__module__ == "__main__":
        yield type(value).__qualname__, type(value)


def _of_function(path: str, function: types.FunctionType, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{path} (its variable {variable})", cell.cell_contents
        except ValueError:
            continue  # not yet bound
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"{path} (its default {number + 1})", default
    for key, default in (function.__kwdefaults__ or {}).items():
        yield f"{path} (its default {key})", default
    yield from ((f"{path}.{key}", child) for key, child in vars(function).items())
    if id(function.__globals__) not in seen:
        for name in sorted(global_reads(function.__code__)):
            if name in function.__globals__:
                yield f"{path} (its global {name})", function.__globals__[name]


def _slots(owner: type) -> tuple[str, ...]:
    slots = owner.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if isinstance(name, str))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
