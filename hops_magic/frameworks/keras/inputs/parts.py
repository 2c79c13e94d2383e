"""Whether each rank feeds rows of its own: a part that ``hops.shard`` gave it, or what was made of one.

A part is known as the object that it is, or by a slice of it, wherever an input holds it: in a chain of ``tf.data``, in the
frame of a generator, in a dataset's attributes, in what its functions close over or name. What was computed from a part is
another object; it is known by having as many rows as the part, and other content on each rank.
"""

from __future__ import annotations

import collections
import gc
import hashlib
import itertools
import pickle
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.keras.agreement import array_digest, refuse_other_rows
from hops_magic.frameworks.keras.inputs import chains

_MOST_OBJECTS, _MOST_ITEMS = 4000, 200
_ENDS = (type, types.ModuleType, str, bytes, int, float, bool, type(None), types.BuiltinFunctionType)


@dataclass(frozen=True)
class Evidence:
    """What a rank sees of its input; whether ranks feed parts is decided by what all of them see."""

    holds_part: bool = False
    is_inside: bool = False
    """It holds an array that is a slice of a part; on rank 0, it may be a slice of the whole just as well."""
    like_parts: tuple[str, ...] = ()
    """Digests of data that have as many rows as a part."""


def are_parts(found: Sequence[Evidence]) -> bool:
    """Whether each rank feeds rows of its own, by the evidence of all ranks.

    Raises
    ------
    UnsupportedError
        If some ranks do.
    """
    holders = [each.holds_part for each in found]
    if any(holders) and not all(holders):
        raise UnsupportedError(
            f"rank {holders.index(True)} feeds a part that hops.shard gave, and rank {holders.index(False)} does not: "
            "call hops.shard on all ranks alike, or on none"
        )
    if all(each.is_inside or each.holds_part for each in found):
        return True
    said = [each.like_parts for each in found]
    return all(said) and len({len(each) for each in said}) == 1 and len(set(said)) == len(said)


def evidence_of(given: Any, context: RankContext) -> Evidence:
    """Look for parts in an input: arrays, a dataset, a generator, or what an adapter of Keras's holds."""
    if not context.splits:
        return Evidence()
    ids = {id(part) for each in context.splits if (part := each.part()) is not None}
    rows = {each.rows for each in context.splits} - {None}
    bounds = [byte_bounds(part) for each in context.splits if isinstance(part := each.part(), np.ndarray) and part.size]
    like: list[str] = []
    is_inside = False
    for value in reachable([given], _MOST_OBJECTS):
        if id(value) in ids or _is_shard(value, context):
            return Evidence(holds_part=True)
        if isinstance(value, np.ndarray) and value.size:
            first, last = byte_bounds(value)
            is_inside = is_inside or any(low <= first and last <= high for low, high in bounds)
        if _length(value) in rows:
            like.append(_content(value))
    return Evidence(is_inside=is_inside, like_parts=tuple(like))


def judge_arrays(kwargs: dict[str, Any], context: RankContext) -> tuple[bool, bool]:
    """Return whether ranks feed parts, as arrays, to ``fit`` or ``evaluate``, and whether to the validation in it.

    Raises
    ------
    UnsupportedError
        If ranks hold other arrays, which are no parts.
    """
    groups = [[kwargs.get(name) for name in ("x", "y", "sample_weight")], [kwargs.get("validation_data")]]
    arrays = [list(_arrays(group)) for group in groups]
    mine = [(evidence_of(group, context), array_digest(group)) for group in arrays]
    found = []
    for column in zip(*context.collective.all_gather_objects(mine), strict=True):
        found.append(are_parts([evidence for evidence, _ in column]))
        if not found[-1] and len({digest for _, digest in column}) > 1:
            refuse_other_rows()
    splits_own = kwargs.get("validation_split") and kwargs.get("validation_data") is None
    return found[0], found[0] if splits_own else found[1]


def agreed_batches(number: int | None, spec: Any, collective: Collective) -> int | None:
    """Return after how many batches the last rank's data end, None if nobody can know.

    Raises
    ------
    UnsupportedError
        If the ranks' batches are not of one kind.
    """
    import tensorflow as tf

    leaves = tf.nest.flatten(spec, expand_composites=True)
    kind = repr(tf.nest.map_structure(lambda _: 0, spec)), [(leaf.dtype.name, leaf.shape.rank) for leaf in leaves]
    said = collective.all_gather_objects((number, kind))
    other = next((rank for rank, (_, theirs) in enumerate(said) if theirs != said[0][1]), None)
    if other is not None:
        raise UnsupportedError(
            f"ranks 0 and {other} feed batches of different kinds, {said[0][1][1]} and {said[other][1][1]}: "
            "parts given by hops.shard must have the same columns and types on all ranks"
        )
    numbers = [each for each, _ in said if each is not None]
    return max(numbers) if len(numbers) == len(said) else None


def _arrays(data: Any) -> Iterator[Any]:
    if isinstance(data, dict):
        data = [data[key] for key in sorted(data, key=str)]
    if isinstance(data, list | tuple):
        for part in data:
            yield from _arrays(part)
    elif hasattr(data, "shape") and hasattr(data, "__len__"):
        yield data


def _is_shard(value: Any, context: RankContext) -> bool:
    """Whether a node of ``tf.data`` takes this rank's elements of those of all ranks."""
    import tensorflow as tf

    if type(value).__name__ != "_ShardDataset":
        return False
    said = [tf.get_static_value(each) for each in (value._num_shards, value._index)]
    return said == [context.world_size, context.rank]


def reachable(start: Sequence[Any], most: int) -> Iterator[Any]:
    """Yield objects and what their code can come by, each once, so many at most; not modules, classes, texts and numbers."""
    seen: set[int] = set()
    waiting = collections.deque(start)
    held: list[Any] = []
    while waiting and len(held) < most:
        value = waiting.popleft()
        if id(value) in seen or isinstance(value, _ENDS):
            continue
        seen.add(id(value))
        held.append(value)  # so that no id is given twice
        yield value
        waiting.extend(itertools.islice(_next_to(value), _MOST_ITEMS))


def _next_to(value: Any) -> Iterator[Any]:
    if isinstance(value, types.FunctionType):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        yield from _cells(value)
        if value.__module__ is None or not _is_library(value.__module__):
            yield from (value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__)
    elif isinstance(value, types.GeneratorType):
        if value.gi_frame is not None:
            code, frame = value.gi_code, value.gi_frame
            # not all that it holds just now: a batch is no part
            lasting = (*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], *code.co_freevars)
            yield from (frame.f_locals[name] for name in lasting if name in frame.f_locals)
            yield from (frame.f_globals[name] for name in _names(code) if name in frame.f_globals)
    elif hasattr(value, "element_spec") and hasattr(value, "_inputs"):
        yield from _of_dataset(value)
    elif not isinstance(value, np.ndarray) and (hasattr(value, "_generator") or not _is_library(type(value).__module__)):
        yield from gc.get_referents(value)


def _of_dataset(dataset: Any) -> Iterator[Any]:
    for node in chains.nodes(dataset):
        yield node
        yield from getattr(node, "_tensors", ())
        yield from (wrapped._func for wrapped in node._functions())


def _is_library(module: str) -> bool:
    """Whether what belongs to a module holds no data of the user's."""
    return module.split(".", maxsplit=1)[0] in ("tensorflow", "keras", "hops_magic", "numpy")


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # a name that is not bound yet


def _names(code: types.CodeType) -> set[str]:
    nested = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, nested))


def _length(value: Any) -> int | None:
    """Return the number of rows of arrays, tensors and tables, None for anything else."""
    shape = getattr(value, "shape", None)
    if shape is None or isinstance(value, type) or getattr(shape, "rank", 1) is None:
        return None
    try:
        return int(shape[0])
    except (TypeError, ValueError, IndexError):
        return None


def _content(value: Any) -> str:
    array = np.asarray(value)
    data = pickle.dumps(array) if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return hashlib.blake2b(repr((array.shape, array.dtype)).encode() + data, digest_size=16).hexdigest()
