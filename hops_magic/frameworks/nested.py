"""Reduce numbers, arrays and tensors, and what is built of them, with as few collectives as there are dtypes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hops_magic.errors import UsageError
from hops_magic.frameworks.collective import Collective

Arrays = list[NDArray[Any]]
_LONGEST = 200


def all_reduce_nested(collective: Collective, value: Any, op: str) -> Any:
    """Reduce a value; arrays of one dtype travel together, and ranks with other names or shapes are refused."""
    leaves: list[tuple[str, NDArray[Any]]] = []
    build = _take(value, "", leaves, op)
    reduced: Arrays = [array for _, array in leaves]
    for dtype in dict.fromkeys(array.dtype for _, array in leaves):
        places = [place for place, (_, array) in enumerate(leaves) if array.dtype == dtype]
        what = _said([leaves[place] for place in places])
        if len(places) == 1:
            reduced[places[0]] = collective.all_reduce(reduced[places[0]], op, what=what)
            continue
        packed = collective.all_reduce(np.concatenate([reduced[place].reshape(-1) for place in places]), op, what=what)
        ends = np.cumsum([reduced[place].size for place in places])
        for place, part in zip(places, np.split(packed, ends[:-1]), strict=True):
            reduced[place] = part.reshape(reduced[place].shape)
    return build(reduced)


def _said(leaves: list[tuple[str, NDArray[Any]]]) -> str:
    """Names and shapes, short enough for a message: what must be alike on all ranks beside dtype and size."""
    words = " ".join(path + (str(array.shape) if array.ndim != 1 or not path else "") for path, array in leaves if path)
    if not words and leaves[0][1].ndim > 1:
        words = f"shape {leaves[0][1].shape}"
    if len(words) <= _LONGEST:
        return words
    return f"{words[:_LONGEST]}... (digest {zlib.crc32(words.encode()):08x})"


def _take(value: Any, path: str, leaves: list[tuple[str, NDArray[Any]]], op: str) -> Callable[[Arrays], Any]:
    """Append the arrays of a value to ``leaves``; return what builds the value anew of the reduced ones."""
    if isinstance(value, dict):
        # ranks may have filled their dictionaries in another order
        parts = {key: _take(value[key], f"{path}[{key!r}]", leaves, op) for key in sorted(value, key=repr)}
        return lambda reduced: {key: parts[key](reduced) for key in value}
    if isinstance(value, list | tuple):
        items = [_take(part, f"{path}[{index}]", leaves, op) for index, part in enumerate(value)]
        return lambda reduced: _sequence_like(value, [item(reduced) for item in items])
    place = len(leaves)
    leaves.append((path, _array(value, path, op)))
    return lambda reduced: _like(value, reduced[place])


def _array(value: Any, path: str, op: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (NotImplementedError, AttributeError, TypeError, ValueError) as error:
        # a tensor of a graph has no value yet
        raise UsageError(f"hops.all_reduce{path} has no value here: call it outside of a tf.function") from error
    if array.dtype.kind not in "biufc" and array.dtype.name != "bfloat16":
        raise UsageError(f"hops.all_reduce{path} must be a number or an array of numbers, got {type(value).__name__}")
    if array.dtype.kind in "biu" and op == "mean":
        return array.astype(np.float64)  # the mean of whole numbers is none
    if array.dtype.kind == "b" and op == "sum":
        return array.astype(np.int64)  # as Python and numpy count
    return array


def _sequence_like(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, list):
        return parts
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def _like(value: Any, array: NDArray[Any]) -> Any:
    if isinstance(value, np.generic):
        return array[()]
    if isinstance(value, bool | int | float | complex):
        return array.item()
    if type(value).__module__.startswith("tensorflow"):
        import importlib

        return importlib.import_module("tensorflow").convert_to_tensor(array)
    return array
