"""Arrays made of memory that other arrays have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hops_magic.cells.arrays import address_of_data, extent, is_array


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


def part_at(base: Any, shape: tuple[int, ...], offset: int, steps: tuple[int, ...]) -> Any:
    """Make an array of objects that is a part of another, from so many bytes behind its first element."""
    from numpy.lib.stride_tricks import as_strided

    position = address_of_data(base) + offset
    # the base again, from its lowest address on
    low, high = extent(base)
    flat = as_strided(
        base[tuple(slice(None, None, -1 if step < 0 else 1) for step in base.strides)],
        ((high - low) // base.itemsize,),
        (base.itemsize,),
    )
    return as_strided(flat[(position - low) // base.itemsize :], shape, steps)


def writeable(array: Any) -> Any:
    """Return an array, or the same elements through an array below it that may be written to; None if there is none."""
    base = array
    while is_array(base):
        if base.flags.writeable:
            if base is array:
                return array
            low, high = extent(array)
            memory = memory_at(low, high - low, [array], writeable=True)
            return view(
                memory, type(array), array.shape, array.dtype, address_of_data(array) - low, array.strides, writeable=True
            )
        base = base.base
    return None
