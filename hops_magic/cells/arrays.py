"""Arrays that share memory, a view and its base say, share it again on the other side.

What they share travels once, as the piece of memory that holds them all, and each is made anew as a view of it. Arrays whose
elements do not overlap travel apart, so that a part of a large array costs what the part costs. Nothing here imports numpy:
without it there are no arrays.
"""

from __future__ import annotations

import array as array_module
import functools
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from hops_magic.cells.staying import CannotTravelError, Why
from hops_magic.cells.strides import laid_out, lie_of, without_repeats

Layout = Mapping[int, Callable[[Any], Any]]
"""By an array's id, how it is reduced."""

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


def inside_pandas(part: Any) -> Iterator[Any]:
    """Yield the arrays in an index, an array of pandas, or a block of a table."""
    # a table itself would make an array when it is asked for one
    yield from (array for block in _blocks(part) if is_array(array := array_of(block)))
    for name in ("_data", "_mask", "_ndarray", "_values"):
        array = getattr(part, name, None) if hasattr(type(part), name) or name in getattr(part, "__dict__", {}) else None
        if is_array(array):
            yield array


def joinable_blocks(part: Any) -> list[Any]:
    """Return those blocks of a part of pandas whose arrays others may share."""
    return [block for block in _blocks(part) if hasattr(block, "refs") and is_array(array_of(block))]


def array_of(block: Any) -> Any:
    """Return the array of NumPy in which a block keeps its values, moments in time say; something else if it has none."""
    return block.values if is_array(block.values) else getattr(block.values, "_ndarray", None)


class InTable:
    """The array of a block, which is the notebook's own as long as no second table shares it."""

    def __init__(self, block: Any) -> None:
        self._block, self._array = block, array_of(block)

    def now(self) -> Any:
        """Return the array; None if pandas would copy it before it writes to it."""
        return self._array if array_of(self._block) is self._array and not self._block.refs.has_reference() else None


def _blocks(part: Any) -> tuple[Any, ...]:
    if hasattr(part, "mgr_locs"):
        return (part,)
    # a column's values travel without their block
    return tuple(part.blocks) if hasattr(type(part), "set_values") and hasattr(part, "blocks") else ()


def owner_of(array: Any) -> Any:
    """Return the ``bytearray`` or ``array.array`` in which an array lies; None if it lies in none."""
    base = array.base
    while base is not None:
        if is_array(base):
            base = base.base
        elif isinstance(base, memoryview):
            base = base.obj
        else:
            return base if type(base) in (bytearray, array_module.array) else None
    return None


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


def joined(arrays: Sequence[Any], blocks: Sequence[Any]) -> list[list[Any]]:
    """Return the groups of arrays, and of those in blocks of tables, that are one memory on the other side too.

    A block that several tables share is copied by the one that writes to it first: then it has no others.
    """
    own = [array_of(block) for block in blocks if not block.refs.has_reference()]
    return overlapping([*arrays, *{id(array): array for array in own}.values()])


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


def check_tables(arrays: Sequence[Any], blocks: Sequence[Any]) -> None:
    """Refuse an array that writes to several tables of pandas at once: on the other side each has its own memory.

    Raises
    ------
    CannotTravelError
        For the first such array.
    """
    shared = {id(array_of(block)): array_of(block) for block in blocks if block.refs.has_reference()}
    writeable = [array for array in arrays if array.flags.writeable and not array.dtype.hasobject]
    own = set(map(id, writeable))
    for group in overlapping([*writeable, *shared.values()]) if shared and writeable else ():
        if mine := [array for array in group if id(array) in own]:
            what = "an array that shares its memory with several tables of pandas"
            raise CannotTravelError(mine[0], Why(what, "pass a copy of it"))


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
    """Reduces arrays that lie in a ``bytearray`` or ``array.array`` which travels by itself."""

    def __init__(self, owner: Any) -> None:
        self._piece = Owner(owner)
        self._low = address_of(memoryview(owner))

    def __call__(self, array: Any) -> Any:
        place = address_of_data(array) - self._low
        return view, (self._piece, type(array), array.shape, array.dtype, place, array.strides, array.flags.writeable)


class Owner:
    """The memory of a ``bytearray`` or ``array.array`` in a pickle."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __reduce__(self) -> Any:
        return _arrived, (self.owner,)


class Piece:
    """A piece of memory in a pickle."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce__(self) -> Any:
        return _arrived, (pickle.PickleBuffer(self.memory),)


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
