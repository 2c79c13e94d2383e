"""Arguments of calls from Python, held to the simple types that the calls declare: a wrong one is told by its name."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hops_magic.features.errors import FeatureError

_SHOWN_CHARS = 80


def check_arguments(call: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse an argument that is of none of the types that its parameter declares, if all of these are simple ones.

    Raises
    ------
    FeatureError
        With the parameter, what it takes, and what was given.
    """
    signature = inspect.signature(call)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        # the call itself tells it better
        return
    for name, value in given.items():
        parameter = signature.parameters[name]
        kinds = [kind.strip() for kind in str(parameter.annotation).split("|")]
        if not all(kind in _KINDS for kind in kinds):
            continue
        several = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        for each in value if several else (value,):
            if not any(_KINDS[kind][1](each) for kind in kinds):
                what = " or ".join(_KINDS[kind][0] for kind in kinds)
                told = f"each of {name} must be {what} of its own" if several else f"{name} must be {what}"
                raise FeatureError(f"{call.__name__}: {told}, got {repr(each)[:_SHOWN_CHARS]}")


def _is_bool(value: object) -> bool:
    dtype = getattr(value, "dtype", None)
    return isinstance(value, bool) or (getattr(dtype, "kind", "") == "b" and getattr(value, "ndim", 1) == 0)


def _is_whole(value: Any) -> bool:
    if _is_bool(value):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _is_list_of(value: Any, kind: type) -> bool:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    # an iterator can be read only once, which is the call's business
    return not hasattr(value, "__len__") or all(isinstance(each, kind) for each in value)


def _is_rules(value: Any) -> bool:
    from hops_magic.features.rules import Rule

    return _is_list_of(value, Rule)


def _is_request(value: object) -> bool:
    from hops_magic.features.reading import Request

    return isinstance(value, Request)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, str) for item in value.items() for part in item)


# annotation -> what a message calls it, and whether a value is one
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("a text", lambda value: isinstance(value, str)),
    "bool": ("True or False", _is_bool),
    "int": ("a whole number", _is_whole),
    "None": ("None", lambda value: value is None),
    "Sequence[str]": ("a list of texts", lambda value: _is_list_of(value, str)),
    "Sequence[Rule]": ("a list of hops.features.Rule", _is_rules),
    "Mapping[str, str]": ("a mapping of texts to texts", _is_mapping),
    "Request": ("what hops.features.request_of(...) returns", _is_request),
}
