"""Points of known values, as ``--start-with`` gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.tuning.dimensions import Dimension
from hops_magic.tuning.space import Choice, Distribution, Space, dimensions_of


def point_of(space: Space, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point of known values, given by variable or by label.

    Raises
    ------
    UsageError
        Naming what does not fit.
    """
    unused = set(known)
    told = dict(known)
    parts = {label: part for name, whole in space.items for label, _, part in dimensions_of(whole, name)}

    def look_up(label: str, dimension: Dimension) -> Any:
        if label not in told:
            raise UsageError(f"--start-with {dict(known)}: {label} is missing")
        unused.discard(label)
        value, part = told[label], parts.get(label)
        if isinstance(part, Choice) and isinstance(value, Mapping):
            index = _matching(part, value, label)
            # what is drawn inside the option is told with it
            told.update(_inside(value, f"{label}[{index}]"))
            return index
        return _raw(value, label, dimension, part)

    _, point = space.walk(look_up)
    constants = {name for name, part in space.items if not _is_searched(part) and known.get(name, part) == part}
    if unused - constants:
        raise UsageError(f"--start-with {dict(known)}: the space has no {', '.join(sorted(unused - constants))}")
    return point


def _is_searched(part: Any) -> bool:
    return any(True for _ in dimensions_of(part, ""))


def _inside(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what a dictionary holds by label, dictionaries inside it too."""
    for key, inner in value.items():
        yield f"{path}.{key}", inner
        if isinstance(inner, Mapping):
            yield from _inside(inner, f"{path}.{key}")


def _matching(part: Choice, value: Mapping[str, Any], label: str) -> int:
    """Return the option with a dictionary's keys and constants; of several such, the one whose ranges hold its values."""
    alike = [index for index, option in enumerate(part.options) if _is_alike(option, value)]
    if len(alike) == 1:
        return alike[0]  # a value outside its range is told by name
    fitting = [index for index in alike if _fits(part.options[index], value, label)]
    if not fitting:
        raise UsageError(f"--start-with: {label} must be one of {list(part.options)!r}, got {dict(value)!r}")
    return fitting[0]


def _is_alike(option: Any, value: Mapping[str, Any]) -> bool:
    if not isinstance(option, Mapping) or set(option) != set(value):
        return False
    return all(value[key] == inner for key, inner in option.items() if not _is_searched(inner))


def _fits(part: Any, value: Any, label: str) -> bool:
    """Return whether a value may come from a part of a space."""
    if isinstance(part, Choice) and isinstance(value, Mapping):
        return any(_fits(option, value, label) for option in part.options)
    if isinstance(part, Choice | Distribution):
        try:
            _raw(value, label, part.dimension, part)
        except UsageError:
            return False
        return True
    if isinstance(part, Mapping):
        is_same = isinstance(value, Mapping) and set(part) == set(value)
        return is_same and all(_fits(inner, value[key], label) for key, inner in part.items())
    return _is_searched(part) or bool(part == value)


def _raw(value: Any, label: str, dimension: Dimension, part: Any) -> Any:
    """Return the raw coordinate of a value that a user gave."""
    if isinstance(part, Choice):
        for index, option in enumerate(part.options):
            if type(option) is type(value) and option == value:
                return index
        for index, option in enumerate(part.options):
            if option == value:
                return index
        raise UsageError(f"--start-with: {label} must be one of {list(part.options)!r}, got {value!r}")
    try:
        return dimension.checked(value, label)
    except UsageError as error:
        raise UsageError(f"--start-with: {error}") from None
