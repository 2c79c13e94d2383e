"""How arrays that share memory travel, so that they share it again on the other side.

What they share travels once, as the piece of memory that holds them all, and each is made anew as a view of it. Arrays whose
elements do not overlap travel apart, so that a part of a large array costs what the part costs.
"""

from __future__ import annotations

import array as array_module
import functools
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hops_magic.cells.arrays import address_of, address_of_data, extent, is_array
from hops_magic.cells.kinds import memory_of, owner_of_memory
from hops_magic.cells.staying import CannotTravelError, Why
from hops_magic.cells.strides import laid_out, lie_of, without_repeats
from hops_magic.cells.tables import joined
from hops_magic.cells.views import memory_at, part_of, view

Layout = Mapping[int, Callable[[Any], Any]]
"""By an array's id, how it is reduced."""


_OWNERS = (bytearray, array_module.array, io.BytesIO)


def owner_of(array: Any) -> Any:
    """Return the ``bytearray``, ``array.array`` or ``BytesIO`` in which an array lies; None if it lies in none."""
    base = array.base
    while base is not None:
        if isinstance(base, memoryview):
            base = owner_of_memory(base)
        elif is_array(base) or type(base).__module__.startswith("numpy."):  # as_strided puts something in between
            base = getattr(base, "base", None)
        else:
            return base if isinstance(base, _OWNERS) else None
    return None


def reduce_lie(array: Any) -> Any:
    """Reduce an array that NumPy would pack together, or make writeable; None for all others.

    What is a view of an array here, and what a copy, must be so there.
    """
    import numpy as np

    flags = array.flags
    if flags.carray or type(array) is not np.ndarray or array.dtype.hasobject or not array.nbytes:
        return None
    contiguous = array.flags.contiguous or array.flags.f_contiguous
    if contiguous and array.flags.writeable:
        return None
    lie = None if contiguous else lie_of(array)
    if lie is None:
        elements = array.view() if contiguous else np.array(array, order="C")
    else:
        elements = np.ascontiguousarray(without_repeats(array))
    return laid_out, (elements, array.shape, lie, array.flags.writeable)


def layout_of(
    arrays: Sequence[Any], blocks: Sequence[Any] = (), *, owned: Callable[[object], bool] | None = None
) -> dict[int, Callable[[Any], Any]]:
    """Tell how arrays that share memory are reduced, so that they share it again.

    Parameters
    ----------
    blocks
        Blocks of tables that travel too.
    owned
        Whether an object in which an array lies travels too.

    Raises
    ------
    CannotTravelError
        For arrays of which that is not known how.
    """
    layout = _over_owners(arrays, owned) if owned is not None else {}
    for group in joined([array for array in arrays if id(array) not in layout], blocks):
        for array in group:
            _check_kind(array)
        layout.update(dict.fromkeys(map(id, group), _as_objects(group) if group[0].dtype.hasobject else _as_views(group)))
    return layout


def _over_owners(arrays: Sequence[Any], owned: Callable[[object], bool]) -> dict[int, Callable[[Any], Any]]:
    found: dict[int, _OverOwner | None] = {}
    layout: dict[int, Callable[[Any], Any]] = {}
    for array in arrays:
        if (owner := owner_of(array)) is None:
            continue
        if id(owner) not in found:
            found[id(owner)] = _OverOwner(owner) if owned(owner) else None
        if (reduce := found[id(owner)]) is not None:
            layout[id(array)] = reduce
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


class _OverOwner:
    """Reduces arrays that lie in a ``bytearray``, ``array.array`` or ``BytesIO`` which travels by itself."""

    def __init__(self, owner: Any) -> None:
        self._piece = Owner(owner)
        self._low = address_of(memory_of(owner))

    def __call__(self, array: Any) -> Any:
        place = address_of_data(array) - self._low
        return view, (self._piece, type(array), array.shape, array.dtype, place, array.strides, array.flags.writeable)


class Owner:
    """The memory of such an owner in a pickle."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __reduce__(self) -> Any:
        return _memory_of, (self.owner,)


class Piece:
    """A piece of memory in a pickle."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce__(self) -> Any:
        return _arrived, (pickle.PickleBuffer(self.memory),)


def _memory_of(owner: Any) -> Any:
    return _arrived(memory_of(owner))


def _arrived(buffer: Any) -> Any:
    import numpy as np

    return np.frombuffer(buffer, dtype=np.uint8).view(_memory_class())


@functools.cache
def _memory_class() -> Any:
    import numpy as np

    class Memory(np.ndarray):  # type: ignore[type-arg]
        """Bytes that came for several arrays: none of the user's."""

    return Memory


def is_memory(array: Any) -> bool:
    """Whether these are the bytes in which arrays lie that share memory."""
    return type(array) is _memory_class()
