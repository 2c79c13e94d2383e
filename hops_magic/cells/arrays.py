"""Arrays, where they lie in memory, and which of them share elements.

Nothing here imports numpy: without it there are no arrays.
"""

from __future__ import annotations

import array as array_module
import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast

_CONTAINERS = frozenset({list, dict, set, bytearray})
_EXACT_FROM = 64
"""More arrays than these in one stretch of memory are taken to overlap: to compare them all takes too long."""
_MAX_WORK = 100_000


def is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def arrays_in(parts: Iterable[object]) -> tuple[Any, ...]:
    """Return the arrays among some objects that may share memory with others."""
    return tuple(part for part in parts if type(part) not in _CONTAINERS and is_array(part) and cast("Any", part).nbytes)


def overlapping(arrays: Sequence[Any]) -> list[list[Any]]:
    """Return the groups of arrays, of two and more, through which one writes to the other's elements."""
    arrays = _with_company(arrays)
    if len(arrays) < 2:
        return []
    spans = sorted(((*extent(array), array) for array in arrays), key=lambda span: span[:2])
    groups: list[list[Any]] = []
    end = -1
    for low, high, array in spans:
        if low < end:
            groups[-1].append(array)
        else:
            groups.append([array])
        end = max(end, high)
    found = (part for group in groups if len(group) > 1 for part in _touching(group))
    return [group for group in found if len(group) > 1 and any(array.flags.writeable for array in group)]


def _with_company(arrays: Sequence[Any]) -> Sequence[Any]:
    """Leave out arrays of memory of their own in which no other one lies, most often all of them."""
    below: set[int] = set()
    for array in arrays:
        base = array.base
        while base is not None:
            below.add(id(base))
            if isinstance(base, memoryview):
                base = base.obj
            elif is_array(base):
                base = base.base
            elif isinstance(base, bytes | bytearray | array_module.array):
                break
            else:  # memory of whatever kind
                return arrays
    return [array for array in arrays if array.base is not None or id(array) in below] if below else ()


def _touching(group: list[Any]) -> list[list[Any]]:
    """Part arrays that lie in one stretch of memory, such as columns of a table, by whether they have elements in common."""
    if len(group) > _EXACT_FROM:
        return [group]
    parts: list[list[Any]] = []
    for array in group:
        apart, joined = [], [array]
        for part in parts:
            if any(_share_elements(array, other) for other in part):
                joined += part
            else:
                apart.append(part)
        parts = [*apart, joined]
    return parts


def _share_elements(one: Any, other: Any) -> bool:
    import numpy as np

    try:
        return bool(np.shares_memory(one, other, max_work=cast("Any", _MAX_WORK)))
    except np.exceptions.TooHardError:
        return True


def extent(array: Any) -> tuple[int, int]:
    """Return the addresses of an array's first byte, and of the one after its last."""
    low = high = address_of_data(array)
    for size, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (size - 1) * stride
        else:
            high += (size - 1) * stride
    return low, high + array.itemsize


def address_of_data(array: Any) -> int:
    """Return where an array's first element lies."""
    return int(array.__array_interface__["data"][0])


def address_of(raw: memoryview) -> int:
    """Return where a buffer lies in this process."""
    import numpy as np

    return address_of_data(np.frombuffer(raw, dtype=np.uint8))
