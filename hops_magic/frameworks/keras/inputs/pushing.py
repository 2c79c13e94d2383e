"""Push: a rank's rows are chosen before the maps of a ``tf.data`` chain, which then see these rows alone.

For chains source -> shuffles -> row-wise maps -> batch, whose maps take longer than choosing: what lies under the
maps is the dataset of the user's itself, so that its shuffles go on as they would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hops_magic.frameworks.keras.agreement import fingerprint
from hops_magic.frameworks.keras.inputs import chains
from hops_magic.frameworks.keras.inputs.element import Part

HEAVY_S = 60e-6
"""Seconds a row from which on maps are worth sharing: choosing rows costs some ten microseconds for each."""
_SAMPLE_ROWS = 32
_SURELY_HEAVY_S = 1e-3


@dataclass(frozen=True)
class Chain:
    """The stages of a chain, from the rows that all ranks draw to what is done with batches."""

    base: Any
    maps: list[Any]
    size: int
    drops_remainder: bool
    weigh: Callable[..., Any] | None
    repeats: list[int]


def chain_of(dataset: Any) -> Chain | None:
    """Take a repeatable dataset apart; None if it is no such chain."""
    import tensorflow as tf

    repeats, weigh, node = [], None, dataset
    while type(node).__name__ in ("_PrefetchDataset", "_RepeatDataset", "_MapDataset"):
        if type(node).__name__ == "_RepeatDataset":
            repeats.append(int(tf.get_static_value(node._count)))
        elif type(node).__name__ == "_MapDataset":
            if not node._map_func._func.__qualname__.startswith("make_class_weight_map_fn"):
                return None
            weigh = node._map_func._func  # Keras's own, of batches but row-wise
        node = node._input_dataset
    if type(node).__name__ not in ("_BatchDataset", "_ParallelBatchDataset"):
        return None
    size, drops = int(tf.get_static_value(node._batch_size)), bool(tf.get_static_value(node._drop_remainder))
    maps, node = [], node._input_dataset
    while type(node).__name__ in ("_MapDataset", "_ParallelMapDataset", "_PrefetchDataset"):
        if type(node).__name__ != "_PrefetchDataset":
            maps.append(node)
        node = node._input_dataset
    if not maps or (int(node.cardinality()) < 0 and not drops):
        return None  # where the last batch ends is not known beforehand
    return Chain(node, maps[::-1], size, drops, weigh, repeats)


def is_heavy(chain: Chain) -> bool:
    """Whether the maps take long enough, measured on a row of the source; shuffles are not drawn from for that."""
    source = chain.base
    while type(source).__name__ in ("_ShuffleDataset", "_PrefetchDataset"):
        source = source._input_dataset
    kept = {"_ShuffleDataset", "_CacheDataset"}
    if any(type(node).__name__ in kept for node in chains.nodes(source)):
        return False
    for rows in (2, _SAMPLE_ROWS):
        row = source.take(1).cache().repeat(rows)
        seconds = (_seconds(_mapped(row, chain.maps, keyed=False)) - _seconds(row)) / rows
        if seconds > _SURELY_HEAVY_S:
            return True
    return seconds >= HEAVY_S


def pushed(chain: Chain, rank: int, world_size: int) -> Any:
    """Return the dataset of a rank's parts."""
    import tensorflow as tf

    size, count = chain.size, int(chain.base.cardinality())
    rows = chain.base
    if chain.drops_remainder and count >= 0:
        rows = rows.take(count // size * size)
    most = max(size * (rank + 1) // world_size - size * rank // world_size, 1)

    def place(position: Any) -> tuple[Any, Any, Any, Any]:
        """Return the rows of a row's batch, and the first, last and number of this rank's among them."""
        full = tf.constant(size, tf.int64)
        total = full if chain.drops_remainder else tf.minimum(full, count - position // size * size)
        start, end = total * rank // world_size, total * (rank + 1) // world_size
        first = tf.maximum(tf.minimum(start, total - 1), 0)
        return total, first, tf.maximum(end, first + 1), end - start

    def is_mine(position: Any, *_: Any) -> Any:
        _, first, last, _ = place(position)
        return tf.logical_and(position % size >= first, position % size < last)

    def part(positions: Any, part_rows: Any) -> Part:
        total, first, _, mine = place(positions[0])
        told = fingerprint([tf.reshape(positions[0] // size, [1])], total)
        if chain.weigh is not None:
            part_rows = chain.weigh(*part_rows) if isinstance(part_rows, tuple) else chain.weigh(part_rows)
        numbers = [tf.cast(each, tf.int32) for each in (total, first, mine)]
        return Part(numbers[0], numbers[1], numbers[2], told, part_rows)

    mapped = _mapped(rows.enumerate().filter(is_mine), chain.maps, keyed=True)
    parts = mapped.batch(most).map(part)
    for times in reversed(chain.repeats):
        parts = parts.repeat(times)
    return parts.prefetch(tf.data.AUTOTUNE)


def _mapped(rows: Any, maps: list[Any], *, keyed: bool) -> Any:
    """Map rows as the chain does, with the functions as they were traced; a key before each row is passed on."""
    for node in maps:
        parallel = getattr(node, "_num_parallel_calls", None)
        rows = rows.map(
            _call(node, keyed=keyed), num_parallel_calls=parallel, deterministic=True if parallel is not None else None
        )
    return rows


def _call(node: Any, *, keyed: bool) -> Callable[..., Any]:
    import tensorflow as tf
    from tensorflow.python.data.util import structure

    spec, made, function = node._input_dataset.element_spec, node.element_spec, node._map_func.function

    def call(*element: Any) -> Any:
        row = element[1] if keyed else element if isinstance(spec, tuple) else element[0]
        answer = structure.from_tensor_list(made, list(function(*structure.to_tensor_list(spec, row))))
        return (element[0], answer) if keyed else answer

    converted: Callable[..., Any] = tf.autograph.experimental.do_not_convert(call)
    return converted


def _seconds(rows: Any) -> float:
    began = time.perf_counter()
    for _ in rows:
        pass
    return time.perf_counter() - began
