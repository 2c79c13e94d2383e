"""Splits of datasets that are no Parquet files, read part by part: streams have them as Parquet files of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features.dataset_files import DatasetFolder, csv_reader
from hops_magic.features.model import Column
from hops_magic.features.streaming import AnswerFiles, StreamedRows
from hops_magic.features.types import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 65_536


def streamed_split(
    folder: DatasetFolder, split: str, file_format: str, columns: Sequence[Column], answers: AnswerFiles
) -> StreamedRows:
    """Return the rows of a split in files; those of other formats than Parquet are kept as such files for a while.

    Parameters
    ----------
    answers
        Where these are kept.
    """
    import pyarrow as pa

    if file_format == "parquet":
        return StreamedRows.of(folder.files(split))
    numbers = file_format != "csv"
    schema = pa.schema([(column.name, pa.float32() if numbers else arrow_type(column.type)) for column in columns])

    def batches() -> Iterator[pa.RecordBatch]:
        with tempfile.TemporaryDirectory(prefix="hops-dataset-") as scratch:
            files = folder.local(split, Path(scratch))
            if file_format == "csv":
                for file in files:
                    yield from csv_reader(file, columns)
            else:
                yield from (_npy if file_format == "npy" else _records)(files, schema)

    # the files of a version never change, and its folder's name is its own
    key = {"dataset": folder.location, "split": split}
    return answers.rows(key, lambda: pa.RecordBatchReader.from_batches(schema, batches()))


def _npy(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import numpy as np

    by_name = {file.name: file for file in files}
    stored = by_name["columns.txt"].read_text().split("\n")
    features = np.load(by_name["features.npy"], mmap_mode="r")
    label = np.load(by_name["label.npy"], mmap_mode="r") if "label.npy" in by_name else None
    for first in range(0, len(features), _ROWS):
        block = features[first : first + _ROWS]
        values = block if label is None else np.column_stack([block, label[first : first + _ROWS]])
        yield _batch(values, stored, schema)


def _records(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    from hops_magic.frameworks.streaming import read_records

    for values in read_records([str(file) for file in files], len(schema.names)):
        yield _batch(values, schema.names, schema)


def _batch(values: Any, stored: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array(values[:, list(stored).index(name)], pa.float32()) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
