"""Arrays that share memory, a view and its base say, share it again on the other side.

What they share travels once, as the piece of memory that holds them all, and each is made anew as a view of it. Arrays whose
elements do not overlap travel apart, so that a part of a large array costs what the part costs. Nothing here imports numpy:
without it there are no arrays.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from hops_magic.cells.staying import CannotTravelError, Why

Layout = Mapping[int, Callable[[Any], Any]]
"""By an array's id, how it is reduced."""

_CONTAINERS = frozenset({list, dict, set, bytearray})
_EXACT_FROM = 64
"""More arrays than these in one stretch of memory are taken to overlap: to compare them all takes too long."""
_MAX_WORK = 100_000


def arrays_in(parts: Iterable[object]) -> tuple[Any, ...]:
    """Return the arrays among some objects that may share memory with others."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ()
    found: list[Any] = []
    for part in parts:
        if type(part) in _CONTAINERS:
            continue
        if isinstance(part, numpy.ndarray) and part.nbytes:
            found.append(part)
    return tuple(found)


def inside_tables(parts: Iterable[object]) -> set[int]:
    """Return the ids of arrays inside tables of pandas, which are neither shared nor written to by others than pandas."""
    numpy = sys.modules.get("numpy")
    of_pandas = (part for part in parts if type(part).__module__.startswith("pandas."))
    return {id(array) for part in of_pandas for array in _inside_pandas(part, numpy)} if "pandas" in sys.modules else set()


def _inside_pandas(part: Any, numpy: Any) -> Iterable[Any]:
    # an index, an array of pandas, or a block of a table; a table itself would make an array when it is asked for one
    names = ("_data", "_mask", "_ndarray", "_values") + (("values",) if hasattr(part, "mgr_locs") else ())
    for name in names:
        array = getattr(part, name, None) if hasattr(type(part), name) or name in getattr(part, "__dict__", {}) else None
        if isinstance(array, numpy.ndarray):
            yield array


def overlapping(arrays: Sequence[Any]) -> list[list[Any]]:
    """Return the groups of arrays, of two and more, through which one writes to the other's elements."""
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


def layout_of(arrays: Sequence[Any]) -> dict[int, Callable[[Any], Any]]:
    """Tell how arrays that share memory are reduced, so that they share it again.

    Raises
    ------
    CannotTravelError
        For arrays of which that is not known how.
    """
    layout: dict[int, Callable[[Any], Any]] = {}
    for group in overlapping(arrays):
        for array in group:
            _check_kind(array)
        reduce = _as_objects(group) if group[0].dtype.hasobject else _as_views(group)
        layout.update(dict.fromkeys(map(id, group), reduce))
    return layout


def _check_kind(array: Any) -> None:
    import numpy as np

    if type(array) not in (np.ndarray, np.matrix, np.recarray, np.memmap):
        kind = f"{type(array).__module__.partition('.')[0]}.{type(array).__qualname__}"
        raise CannotTravelError(array, Why(f"a {kind} that shares its memory with another array", "pass a copy of it"))


def _as_views(group: list[Any]) -> Callable[[Any], Any]:
    spans = [extent(array) for array in group]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    piece = Piece(memory_at(low, high - low, group, writeable=True))

    def reduce(array: Any) -> Any:
        return view, (
            piece,
            type(array),
            array.shape,
            array.dtype,
            address_of_data(array) - low,
            array.strides,
            array.flags.writeable,
        )

    return reduce


def _as_objects(group: list[Any]) -> Callable[[Any], Any]:
    """Arrays of Python objects have no memory that could be sent: their base is, and they are parts of it."""
    base = group[0]
    while base.base is not None:
        # numpy's own as_strided puts something between an array and its base
        base = base.base if hasattr(base.base, "dtype") else base.base.base
    low, high = extent(base)
    if not base.flags.contiguous or any(extent(one)[0] < low or extent(one)[1] > high for one in group):
        raise CannotTravelError(
            group[0], Why("an array of objects that shares its elements with another", "pass a copy of it")
        )
    # kept by itself: were it one of the group, it would be made of itself
    whole = base.reshape(-1, order="A").view()

    def reduce(array: Any) -> Any:
        return part_of, (whole, array.shape, (address_of_data(array) - low) // array.itemsize, array.strides)

    return reduce


class Piece:
    """A piece of memory in a pickle."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce__(self) -> Any:
        return _arrived, (pickle.PickleBuffer(self.memory),)


def _arrived(buffer: Any) -> Any:
    import numpy as np

    return np.frombuffer(buffer, dtype=np.uint8)


class _Address:
    """Memory of other arrays, which are kept as long as it is."""

    def __init__(self, address: int, size: int, owners: Sequence[Any], *, writeable: bool) -> None:
        self.owners = tuple(owners)
        self.__array_interface__ = {"data": (address, not writeable), "shape": (size,), "typestr": "|u1", "version": 3}


def memory_at(address: int, size: int, owners: Sequence[Any], *, writeable: bool) -> Any:
    """Return the memory in which some arrays lie, as an array of bytes."""
    import numpy as np

    return np.asarray(_Address(address, size, owners, writeable=writeable))


def view(
    memory: Any, kind: Any, shape: tuple[int, ...], dtype: Any, offset: int, strides: tuple[int, ...], writeable: bool
) -> Any:
    """Make an array that is a view of some bytes."""
    import numpy as np

    array = np.ndarray(shape, dtype, memory, offset, strides)
    array.flags.writeable = writeable and memory.flags.writeable
    return array if kind is np.ndarray else array.view(kind)


def part_of(whole: Any, shape: tuple[int, ...], start: int, strides: tuple[int, ...]) -> Any:
    """Make an array that is a part of one of objects."""
    from numpy.lib.stride_tricks import as_strided

    return as_strided(whole[start:], shape, strides)
