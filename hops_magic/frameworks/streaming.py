"""Streams of rows as datasets of TensorFlow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hops_magic.errors import UsageError
from hops_magic.frameworks.stream_tensors import Rows, TensorValueError, check_tensor, floats, tensor

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_RECORD = 1_024


def dataset_of(
    rows: Rows,
    columns: Sequence[str],
    label: str | None,
    *,
    batch_size: int,
    as_dict: bool,
    seed: int | None,
    dtype: str,
) -> Any:
    """Return a ``tf.data.Dataset`` of batches; ``seed`` mixes the rows."""
    import tensorflow as tf

    if not isinstance(batch_size, int | np.integer) or isinstance(batch_size, bool):
        raise UsageError(f"batch_size must be a whole number, got {batch_size!r:.80}")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    wanted = [*columns, *([label] if label else [])]
    if not as_dict:
        for name in columns:
            _check_number(rows.schema, name)
            _check_dtype(rows, name, dtype)
    # all ranks look at all rows, so that they refuse together
    whole = rows.whole()
    as_they_are = [*(columns if as_dict else ()), *([label] if label else [])]
    lengths = {name: check_tensor(whole, name) for name in as_they_are}
    epochs = itertools.count()

    def element(block: pa.RecordBatch) -> Any:
        if as_dict:
            features: Any = {name: tensor(block, name, lengths[name]) for name in columns}
        else:
            features = np.stack([_numbers(block, name, dtype) for name in columns], axis=1)
        return (features, tensor(block, label, lengths[label])) if label else features

    def generate() -> Iterator[Any]:
        order = None if seed is None else np.random.default_rng([seed, next(epochs)])
        for block in _mixed(rows.blocks(wanted, order=order), order):
            yield element(block)

    signature = tf.nest.map_structure(_spec, element(_empty(rows.schema, wanted)))
    blocks = tf.data.Dataset.from_generator(generate, output_signature=signature)
    batches = blocks.rebatch(batch_size).prefetch(2)
    return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(rows.num_rows / batch_size)))


def write_records(blocks: Iterator[pa.RecordBatch], columns: Sequence[str], file: Path) -> None:
    """Write rows as TFRecords: each record is a serialised float32 tensor of shape ``(at most 1024, columns)``."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for block in blocks:
            for name in columns:
                _check_number(block.schema, name)
            values = np.stack([_numbers(block, name, "float32") for name in columns], axis=1)
            for first in range(0, len(values), ROWS_PER_RECORD):
                writer.write(tf.io.serialize_tensor(values[first : first + ROWS_PER_RECORD]).numpy())


def read_records(files: Sequence[str], columns: int) -> Iterator[Any]:
    """Read the arrays of such files, one for each record."""
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(list(files)):
        yield tf.reshape(tf.io.parse_tensor(record, tf.float32), (-1, columns)).numpy()


def _mixed(blocks: Iterator[pa.RecordBatch], order: np.random.Generator | None) -> Iterator[pa.RecordBatch]:
    """Mix rows within pairs of blocks that follow each other, so that rows cross the blocks' borders."""
    import pyarrow as pa

    if order is None:
        yield from blocks
        return
    held: pa.RecordBatch | None = None
    for block in blocks:
        both = block if held is None else pa.concat_batches([held, block])
        mixed = both.take(pa.array(order.permutation(both.num_rows)))
        keep = 0 if held is None and block.num_rows < both.num_rows else both.num_rows // 2
        yield mixed.slice(keep)
        held = mixed.slice(0, keep)
    if held is not None and held.num_rows:
        yield held


def _check_number(schema: pa.Schema, name: str) -> None:
    import pyarrow as pa

    kind = schema.field(name).type
    tests: tuple[Callable[[Any], bool], ...] = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_decimal,
    )
    if not any(test(kind) for test in tests):
        raise UsageError(f"column {name} is of type {kind}, not a number: leave it out, encode it, or say as_dict=True")


def _numbers(block: pa.RecordBatch, name: str, dtype: str) -> Any:
    return floats(block.column(name)).astype(dtype)


def _check_dtype(rows: Rows, name: str, dtype: str) -> None:
    if not np.issubdtype(np.dtype(dtype), np.floating) and rows.whole().nulls(name):
        raise TensorValueError(
            f"column {name} has nulls, which dtype={dtype!r} cannot hold: fill them, or take a type of floats"
        )


def _empty(schema: pa.Schema, names: Sequence[str]) -> pa.RecordBatch:
    import pyarrow as pa

    fields = [schema.field(name) for name in names]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in fields], schema=pa.schema(fields))


def _spec(array: Any) -> Any:
    import tensorflow as tf

    kind = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    return tf.TensorSpec((None, *array.shape[1:]), kind)
