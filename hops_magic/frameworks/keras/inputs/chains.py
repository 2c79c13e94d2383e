"""What a chain of ``tf.data`` is made of: whether every process that builds it draws the same rows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

# nodes that yield the same elements whenever they are given the same, if their functions do
_REPEATABLE = frozenset(
    {
        "_AssertCardinalityDataset",
        "_BatchDataset",
        "_CacheDataset",
        "_ConcatenateDataset",
        "_EnumerateDataset",
        "_FilterDataset",
        "_FixedLengthRecordDataset",
        "_FlatMapDataset",
        "_GroupByWindowDataset",
        "_InterleaveDataset",
        "_MapDataset",
        "_OptionsDataset",
        "_PaddedBatchDataset",
        "_ParallelBatchDataset",
        "_ParallelInterleaveDataset",
        "_ParallelMapDataset",
        "_PrefetchDataset",
        "_RangeDataset",
        "_RebatchDataset",
        "_RepeatDataset",
        "_ScanDataset",
        "_ShardDataset",
        "_ShuffleDataset",
        "_SkipDataset",
        "_TakeDataset",
        "_TakeWhileDataset",
        "_TensorDataset",
        "_TensorSliceDataset",
        "_UnbatchDataset",
        "_WindowDataset",
        "_ZipDataset",
        "RaggedTensorDataset",
        "TextLineDatasetV2",
        "TFRecordDatasetV2",
        "_TextLineDataset",
        "_TFRecordDataset",
        "FixedLengthRecordDatasetV2",
        "UniqueDataset",
        "_UniqueDataset",
        "_DirectedInterleaveDataset",
    }
)


def nodes(dataset: Any) -> Iterator[Any]:
    """Yield a dataset and all that it draws from."""
    yield dataset
    for source in dataset._inputs():
        yield from nodes(source)


def is_repeatable(dataset: Any) -> bool:
    """Whether every process that makes this dataset surely draws the same rows from it, in the same order."""
    import tensorflow as tf

    if dataset.options().deterministic is False:
        return False
    for node in nodes(dataset):
        if type(node).__name__ not in _REPEATABLE or getattr(node, "_deterministic", None) == "false":
            return False
        if type(node).__name__ == "_ShuffleDataset":
            seeds = [int(tf.get_static_value(seed)) for seed in (node._seed, node._seed2)]
            if seeds == [0, 0]:
                return False
        if not all(is_stateless(function.function.graph) for function in node._functions()):
            return False
    return True


def is_stateless(graph: Any) -> bool:
    """Whether a function's graph, and those that it calls, give the same for the same arguments."""
    definition = graph.as_graph_def()
    names = {node.op for node in definition.node}
    names |= {node.op for function in definition.library.function for node in function.node_def}
    return not any(_is_stateful(name) for name in names)


def _is_stateful(name: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    if name in ("PartitionedCall", "StatefulPartitionedCall", "If", "While", "Case", "Assert"):
        return False  # what they call is looked at by itself
    known = op_def_registry.get(name)
    return known is not None and known.is_stateful


def sources(dataset: Any) -> str:
    """Describe the arrays that a dataset draws from, by their edges, and the part of them that it was cut to."""
    import tensorflow as tf

    found = hashlib.blake2b(digest_size=16)
    for node in nodes(dataset):
        if type(node).__name__ == "_ShardDataset":
            found.update(repr(tf.get_static_value(node._index)).encode())
        for tensor in getattr(node, "_tensors", ()):
            found.update(_edges(tensor))
    return found.hexdigest()


def signature(dataset: Any) -> str:
    """Describe what a dataset does with what it draws from: its nodes, and the seeds of its shuffles."""
    import tensorflow as tf

    said: list[Any] = [repr(dataset.element_spec), int(dataset.cardinality())]
    for node in nodes(dataset):
        said.append(type(node).__name__)
        for name in ("_seed", "_seed2", "_count", "_batch_size", "_buffer_size"):
            value = tf.get_static_value(getattr(node, name)) if hasattr(node, name) else None
            said.append(None if value is None else np.asarray(value).tolist())
    return repr(said)


def _edges(tensor: Any) -> bytes:
    import tensorflow as tf

    if not isinstance(tensor, tf.Tensor) or tensor.shape.rank == 0 or tensor.dtype in (tf.variant, tf.resource):
        return b""
    rows = tensor[:1].numpy(), tensor[-1:].numpy()
    return repr(tensor.shape).encode() + b"".join(
        repr(row.tolist()).encode() if row.dtype == object else row.tobytes() for row in rows
    )
