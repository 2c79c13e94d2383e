"""Objects that pickle would make otherwise than they are: without attributes, or through methods of their own, say.

Each function answers like ``__reduce_ex__``, or with None where pickle does it well.
"""

from __future__ import annotations

import collections
import copyreg
import enum
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from cloudpickle.cloudpickle import _class_setstate


class _Alone:
    pass


_alone = _Alone()
_REFERENCES = sys.getrefcount(_alone.__dict__)
"""References to the dictionary of an object that nobody else holds."""

_OF_OBJECT: tuple[Any, Any] = (object.__reduce_ex__, object.__reduce__)
_BUILTIN = (list, dict, set, collections.OrderedDict, collections.defaultdict, collections.Counter, collections.deque)


def has_shared_attributes(value: Any) -> bool:
    """Whether somebody else may hold the dictionary of an object's attributes."""
    return sys.getrefcount(value.__dict__) > _REFERENCES


def is_reduced_by_pickle(kind: type) -> bool:
    """Whether a class leaves to pickle how its objects travel."""
    return (
        (kind.__reduce_ex__, kind.__reduce__) == _OF_OBJECT
        and not hasattr(kind, "__setstate__")
        and getattr(kind, "__getstate__", None) is getattr(object, "__getstate__", None)
        and kind not in copyreg.dispatch_table
    )


def reduce_shared(value: Any) -> Any:
    """Reduce an object so that its attributes stay the dictionary that others hold too."""
    if not is_reduced_by_pickle(type(value)):
        return None
    make, arguments, state, *items = value.__reduce_ex__(5)
    own = value.__dict__
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes is not own and (attributes or own):  # an empty one is left out
        return None
    return make, arguments, (own, slots) if slots else own, *(*items, None, None)[:2], share_attributes


def share_attributes(thing: Any, state: Any) -> None:
    """Let an object have these very attributes."""
    attributes, slots = state if isinstance(state, tuple) else (state, {})
    # past what a class, such as a frozen one, has to say about it
    if type(thing).__dictoffset__:
        object.__setattr__(thing, "__dict__", attributes)
    else:  # a class with slots may have been made without them on the rank
        slots = {**attributes, **(slots or {})}
    for name, value in (slots or {}).items():
        object.__setattr__(thing, name, value)


def share_function_attributes(function: Any, state: Any) -> None:
    """Let a function have these very attributes."""
    attributes, slots, setter = state
    setter(function, ({}, slots))
    function.__dict__ = attributes


def builtin_of(kind: type) -> Any:
    """Return the container of Python's own that a class is made of; None if of none."""
    return next((base for base in kind.__mro__ if base in _BUILTIN), None)


def reduce_container(value: Any) -> Any:
    """Reduce a container of a class that has its own ways to take items: it has been through them once."""
    kind = type(value)
    base = builtin_of(kind)
    is_of_user = any(hasattr(reduce, "__code__") for reduce in (kind.__reduce__, kind.__reduce_ex__))
    if base is None or kind is base or is_of_user or not _has_own_ways(kind, base):
        return None
    if issubclass(kind, set):
        return copyreg.__newobj__, (kind,), (list(set.__iter__(value)), value.__dict__ or None), None, None, fill_set  # type: ignore[attr-defined]
    make, arguments, state, items, pairs, *rest = (*value.__reduce_ex__(5), None, None, None)[:6]
    if rest[0] is not None or (items is None and pairs is None) or hasattr(kind, "__setstate__"):
        return None
    if pairs is not None:
        pairs = list(dict.items(value))
    return make, arguments, (state, items and list(items), pairs), None, None, fill_container


def _has_own_ways(kind: type, base: type) -> bool:
    if issubclass(kind, set):
        return kind.__init__ is not set.__init__ or kind.__new__ is not set.__new__ or kind.__iter__ is not set.__iter__  # type: ignore[misc]
    names = ("__setitem__", "items") if issubclass(kind, dict) else ("append", "extend", "__iter__")
    return any(getattr(kind, name, None) is not getattr(base, name, None) for name in names)


def fill_set(thing: Any, state: Any) -> None:
    """Give a set its items, and its attributes."""
    items, attributes = state
    set.update(thing, items)
    if attributes:
        vars(thing).update(attributes)


def fill_container(thing: Any, state: Any) -> None:
    """Give a container its items without its own methods, and its attributes."""
    state, items, pairs = state
    set_items(thing, items, pairs)
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        vars(thing).update(attributes)
    for name, value in (slots or {}).items():
        setattr(thing, name, value)


def set_items(thing: Any, items: Iterable[Any] | None, pairs: Iterable[tuple[Any, Any]] | None) -> None:
    """Add items to a list or a deque, and pairs to a dictionary, past the methods of their class."""
    base = builtin_of(type(thing))
    if items:
        base.extend(thing, items)
    for key, value in pairs or ():
        base.__setitem__(thing, key, value)


def reduce_exception(error: BaseException) -> Any:
    """Reduce an exception whose class has a constructor of its own, or that has a cause: pickle keeps neither."""
    kind = type(error)
    chain = {name: getattr(error, name) for name in ("__cause__", "__context__", "__suppress_context__")}
    if kind.__reduce__ is not BaseException.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    if hasattr(kind, "__setstate__") and kind.__setstate__ is not BaseException.__setstate__:
        return None
    has_constructor = getattr(kind.__init__, "__code__", None) is not None
    if not (has_constructor or any(chain.values())):
        return None
    make, arguments, *state = cast("Any", error.__reduce_ex__(5))
    made = (copyreg.__newobj__, (kind, *error.args)) if has_constructor else (make, arguments)  # type: ignore[attr-defined]
    return *made, (state[0] if state else {}, chain), None, None, set_exception


def set_exception(error: BaseException, state: tuple[dict[str, Any] | None, dict[str, Any]]) -> None:
    """Give an exception its attributes and its cause."""
    attributes, chain = state
    vars(error).update(attributes or {})
    for name, value in chain.items():
        setattr(error, name, value)


def reduce_array(array: Any, numpy: Any) -> Any:
    """Reduce an array of a class of the user's own with the attributes that NumPy would leave out."""
    kind = type(array)
    if kind is numpy.ndarray:
        return None
    of_numpy = all(
        getattr(kind, name) is getattr(numpy.ndarray, name) for name in ("__reduce__", "__reduce_ex__", "__setstate__")
    )
    if not of_numpy or not getattr(array, "__dict__", None) or kind.__module__.startswith("numpy"):
        return None
    make, arguments, state = cast("Any", array.__reduce_ex__(5))
    return make, arguments, (state, vars(array)), None, None, set_array


def set_array(array: Any, state: tuple[Any, dict[str, Any]]) -> None:
    """Give an array its elements and its attributes."""
    elements, attributes = state
    array.__setstate__(elements)
    vars(array).update(attributes)


def reduce_enum(kind: Any, made: Any) -> Any:
    """Add to the reduction of an enumeration what its members have beyond their values."""
    make, arguments, (attributes, slots), *_ = made
    members = {name: _attributes_of(member) for name, member in kind.__members__.items()}
    return make, arguments, (attributes, slots, members), None, None, set_enum


def _attributes_of(member: Any) -> dict[str, Any]:
    known = ("_name_", "_value_", "_sort_order_", "__objclass__", "_inverted_")
    return {name: value for name, value in vars(member).items() if name not in known}


def set_enum(kind: Any, state: tuple[Mapping[str, Any], Any, Mapping[str, Mapping[str, Any]]]) -> None:
    """Give an enumeration its attributes, and its members theirs."""
    attributes, slots, members = state
    _class_setstate(kind, (attributes, slots))
    set_members(kind, members)


def set_members(kind: Any, members: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the members of an enumeration their attributes."""
    for name, attributes in members.items():
        if (member := kind.__members__.get(name)) is not None:
            for gone in set(_attributes_of(member)) - set(attributes):
                del vars(member)[gone]
            vars(member).update(attributes)


def reduce_member(member: enum.Enum) -> Any:
    """Reduce a member of an enumeration by its name: its value may have changed, or have none to compare."""
    kind = type(member)
    if member._name_ in kind.__members__ and kind.__members__[member._name_] is member:
        return _member, (kind, member._name_)
    return kind, (member._value_,)


def _member(kind: Any, name: str) -> Any:
    return kind.__members__[name]


Setter = Callable[[Any, Any], Any]
