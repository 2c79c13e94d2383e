"""Arrays inside tables of pandas. Nothing here imports pandas: without it there are no tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hops_magic.cells.arrays import is_array, overlapping
from hops_magic.cells.staying import CannotTravelError, Why


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


def joined(arrays: Sequence[Any], blocks: Sequence[Any]) -> list[list[Any]]:
    """Return the groups of arrays, and of those in blocks of tables, that are one memory on the other side too.

    A block that several tables share is copied by the one that writes to it first: then it has no others.
    """
    own = [array_of(block) for block in blocks if not block.refs.has_reference()]
    return overlapping([*arrays, *{id(array): array for array in own}.values()])


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
