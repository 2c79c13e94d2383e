"""How the elements of an array lie: what decides whether NumPy makes views or copies of it, kept where the array goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WIDEST = 4
"""Gaps that take this many times the memory of the elements are made smaller."""

Lie = tuple[tuple[int, ...], int, int]
"""Strides, the place of the first element, and how many bytes of memory that takes in all."""


def lie_of(array: Any) -> Lie | None:
    """Return strides with the order, the directions and the gaps of an array's own; wide gaps become small ones.

    None for an array some of whose elements are the same, but for axes that repeat all the others.
    """
    strides = [0] * array.ndim
    reach = own_reach = own_end = array.itemsize
    start = 0
    moving = [axis for axis in range(array.ndim) if array.shape[axis] > 1 and array.strides[axis]]
    for axis in sorted(moving, key=lambda axis: (abs(array.strides[axis]), -axis)):
        own = abs(array.strides[axis])
        if own < own_end:
            return None
        step = reach if own == own_reach else reach + array.itemsize
        own_end += own * (array.shape[axis] - 1)
        own_reach, reach = own * array.shape[axis], step * array.shape[axis]
        strides[axis] = step if array.strides[axis] > 0 else -step
        start += 0 if array.strides[axis] > 0 else step * (array.shape[axis] - 1)
    if own_end <= _WIDEST * array.nbytes:
        return (
            array.strides,
            -sum(step * (n - 1) for n, step in zip(array.shape, array.strides, strict=True) if step < 0),
            own_end,
        )
    return tuple(strides), start, reach


def without_repeats(array: Any) -> Any:
    """Return the part of an array that its axes without stride repeat."""
    return array[tuple(slice(0, 1) if not stride else slice(None) for stride in array.strides)]


def laid_out(elements: Any, shape: tuple[int, ...], lie: Lie | None, writeable: bool) -> Any:
    """Make an array of these elements that lies as it did where it comes from."""
    import numpy as np

    made = elements
    if lie is not None:
        strides, start, size = lie
        memory = np.zeros(size, np.uint8)
        np.ndarray(elements.shape, elements.dtype, memory, start, strides)[...] = elements
        made = np.ndarray(shape, elements.dtype, memory, start, strides)
    made.flags.writeable = writeable
    return made


def translated(
    offset: int, shape: Sequence[int], steps: Sequence[int], base: Any, strides: Sequence[int]
) -> tuple[int, tuple[int, ...]] | None:
    """Tell where a view of an array lies in a copy of it whose elements lie otherwise; None if it cannot be a view there.

    Parameters
    ----------
    offset, shape, steps
        The view: its first byte, seen from the first element of the array, and its shape and strides.
    base
        The copy.
    strides
        Those of the array.
    """
    axes = [axis for axis in range(base.ndim) if base.shape[axis] > 1 and strides[axis]]
    if all(strides[axis] == base.strides[axis] for axis in axes):
        return offset, tuple(steps)
    axes.sort(key=lambda axis: -abs(strides[axis]))
    # the bytes of an element are its innermost axis
    sizes, here, there = _merged(
        [*((base.shape[axis], strides[axis], base.strides[axis]) for axis in axes), (base.itemsize, 1, 1)]
    )
    low = sum((size - 1) * stride for size, stride in zip(sizes, here, strict=True) if stride < 0)
    zero = _place(-low, sizes, here)
    first = _place(offset - low, sizes, here)
    reach_low, reach_high, moves = list(first), list(first), []
    for count, step in zip(shape, steps, strict=True):
        if count < 2:
            moves.append(0)
            continue
        second = _place(offset + step - low, sizes, here)
        change = [b - a for a, b in zip(first, second, strict=True)]
        for axis, by in enumerate(change):
            reach_low[axis] += min(0, by * (count - 1))
            reach_high[axis] += max(0, by * (count - 1))
        moves.append(sum(_signed(by, a, b) for by, a, b in zip(change, here, there, strict=True)))
    if any(low < 0 or high >= size for low, high, size in zip(reach_low, reach_high, sizes, strict=True)):
        return None
    began = sum(_signed(a - z, h, t) for a, z, h, t in zip(first, zero, here, there, strict=True))
    return began, tuple(moves)


def _merged(axes: Sequence[tuple[int, int, int]]) -> tuple[list[int], list[int], list[int]]:
    """Size and both strides of axes, of which those that are one axis in both places are made one."""
    found = [axes[0]]
    for size, here, there in axes[1:]:
        outer = found[-1]
        if outer[1:] == (size * here, size * there):
            found[-1] = (outer[0] * size, here, there)
        else:
            found.append((size, here, there))
    sizes, first, second = zip(*found, strict=True)
    return list(sizes), list(first), list(second)


def _place(position: int, sizes: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The indices, counted in the direction of growing addresses, of a byte seen from the first one in memory."""
    found = []
    for size, stride in zip(sizes, strides, strict=True):
        index = min(max(position, 0) // abs(stride), size - 1)
        position -= index * abs(stride)
        found.append(index)
    if position:  # outside, or in a gap
        found[-1] += position
    return found


def _signed(by: int, here: int, there: int) -> int:
    return by * abs(here) // here * there
