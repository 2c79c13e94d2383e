"""Answers larger than memory: rows in Parquet files, read part by part."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError
from hops_magic.features.errors import StoreError
from hops_magic.features.parquet_files import nulls_told, open_parquet

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_ROW_GROUP = 122_880
ROWS_PER_FILE = 8 * _ROW_GROUP
# at most that much is held while it is written
_GROUP_BYTES = 128 * 2**20
_LEAST_ROWS = 4_096
# taken for strings and lists
_VARIABLE_BYTES = 64
_BLOCK = 65_536
_KEPT_S = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class StreamedRows:
    """Rows in Parquet files, of which only a block is in memory at a time. Travels to ranks as the names of its files.

    Attributes
    ----------
    files : tuple of str
        Paths or URIs, in the order of rows.
    schema : Schema
        Columns and their types.
    first, num_rows : int
        The rows of all files that are meant.
    """

    files: tuple[str, ...]
    schema: pa.Schema
    first: int
    num_rows: int

    @classmethod
    def of(cls, files: Sequence[str]) -> StreamedRows:
        """Return the rows of Parquet files of one schema."""
        parts = [open_parquet(file) for file in files]
        rows = sum(part.metadata.num_rows for part in parts)
        return cls(files=tuple(files), schema=parts[0].schema_arrow, first=0, num_rows=rows)

    @property
    def num_columns(self) -> int:
        """Number of columns."""
        return len(self.schema.names)

    def __len__(self) -> int:
        return self.num_rows

    def of_rank(self, rank: int, world_size: int) -> StreamedRows:
        """Return a rank's part: a contiguous range of rows, of which only the row groups that hold it are read."""
        start, end = self.num_rows * rank // world_size, self.num_rows * (rank + 1) // world_size
        return replace(self, first=self.first + start, num_rows=end - start)

    def whole(self) -> StreamedRows:
        """Return all rows of the files, whatever part of them these are."""
        rows = sum(open_parquet(file).metadata.num_rows for file in self.files)
        return replace(self, first=0, num_rows=rows)

    def nulls(self, column: str) -> int:
        """Count the rows without a value in a column."""
        counts = [told.get(column) for told in self._nulls_told] if self == self.whole() else [None]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            return sum(known)
        return sum(block.column(0).null_count for block in self.blocks([column]))

    @cached_property
    def _nulls_told(self) -> list[dict[str, int | None]]:
        return [nulls_told(file) for file in self.files]

    def blocks(
        self, columns: Sequence[str] | None = None, *, order: np.random.Generator | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Read the rows, some tens of thousands at a time: in order, or with the row groups of the files in a mixed one."""
        pieces, opened = list(self._pieces()), ""
        for at in range(len(pieces)) if order is None else order.permutation(len(pieces)):
            file, number, first, last = pieces[at]
            if file != opened:
                # one at a time is open, however many there are
                part, opened = open_parquet(file), file
            begun = 0
            for batch in part.iter_batches(_BLOCK, row_groups=[number], columns=list(columns) if columns else None):
                low, high = max(first - begun, 0), min(last - begun, batch.num_rows)
                if low < high:
                    yield batch.slice(low, high - low)
                begun += batch.num_rows

    def _pieces(self) -> Iterator[tuple[str, int, int, int]]:
        """Row groups that hold rows of these: the file, the number of the group in it, and the first and last row of it."""
        at, first, last = 0, self.first, self.first + self.num_rows
        for file in self.files:
            part = open_parquet(file)
            for number in range(part.metadata.num_row_groups):
                count = part.metadata.row_group(number).num_rows
                if at + count > first and at < last:
                    yield file, number, max(first - at, 0), min(last - at, count)
                at += count

    def to_arrow(self) -> pa.Table:
        """Read all rows."""
        import pyarrow as pa

        return pa.Table.from_batches(self.blocks(), self.schema)

    def to_dask(self) -> Any:
        """Return a Dask DataFrame with a partition for each file; whole numbers and truth values among nulls are nullable.

        Raises
        ------
        UsageError
            For a part of the rows.
        """
        from hops_magic.features.dask_frames import dask_frame

        if self != self.whole():
            raise UsageError("a rank's part has no Dask DataFrame: take it of all rows, before hops.shard")
        return dask_frame(self.files, self.schema)

    def dataset(
        self,
        batch_size: int = 32,
        *,
        label: str | None = None,
        columns: Sequence[str] | None = None,
        as_dict: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        dtype: str = "float32",
    ) -> Any:
        """Return a ``tf.data.Dataset`` that streams batches.

        Parameters
        ----------
        batch_size
            Rows of a batch; in ``%%distributed`` of a global one, which ``fit`` splits over the ranks.
        label
            Column to predict: elements are then ``(features, label)``.
        columns
            Features, by default all columns but the label.
        as_dict
            A tensor for each column, of its own type, instead of one of shape ``(batch, columns)``.
        shuffle
            Mix rows anew for each epoch: the row groups of the files (some 120,000 rows), and the rows of each with those of
            its neighbours. The order depends on ``seed`` and the epoch alone, so it is the same on all ranks.
        dtype
            Of the features, if they are in one tensor.

        Raises
        ------
        UsageError
            If a column is not there, is no number and not asked for as a dictionary, or has values that a tensor cannot
            hold: nulls of whole numbers, truth values, times and texts (of floats they are NaN), lists of different lengths.
        """
        from hops_magic.frameworks.streaming import dataset_of

        if label is not None and label not in self.schema.names:
            raise UsageError(f"label {label[:80]!r} is no column: they are {', '.join(self.schema.names[:30])}")
        asked = self.schema.names if columns is None else [columns] if isinstance(columns, str) else columns
        chosen = [name for name in asked if name != label]
        for name in chosen:
            if name not in self.schema.names:
                raise UsageError(f"{name[:80]!r} is no column: they are {', '.join(self.schema.names[:30])}")
            if chosen.count(name) > 1:
                raise UsageError(f"columns must name each column once, got {name!r} twice")
        if not chosen:
            raise UsageError("no column is left for the features: columns must name one that is not the label")
        return dataset_of(
            self, chosen, label, batch_size=batch_size, as_dict=as_dict, seed=seed if shuffle else None, dtype=dtype
        )

    def __repr__(self) -> str:
        return f"<rows={self.num_rows:,} columns={self.num_columns} files={len(self.files)}>"


def write_parts(reader: pa.RecordBatchReader, folder: Path, rows_per_file: int = ROWS_PER_FILE) -> list[str]:
    """Write rows as Parquet files of at most so many rows; the same rows give the same bytes. Returns their names."""
    import pyarrow.parquet as pq

    names: list[str] = []
    with contextlib.ExitStack() as opened:
        written = 0
        for group in _groups(reader, rows_per_file):
            if not names or written == rows_per_file:
                opened.close()
                names.append(f"part-{len(names):05d}.parquet")
                writer = opened.enter_context(pq.ParquetWriter(folder / names[-1], reader.schema, compression="snappy"))
                written = 0
            writer.write_table(group, row_group_size=_ROW_GROUP)
            written += group.num_rows
    return names


def _groups(reader: pa.RecordBatchReader, rows_per_file: int) -> Iterator[pa.Table]:
    """Yield rows in groups as they are written, of fewer rows the wider they are; none goes over the end of a file."""
    import pyarrow as pa

    most = max(_LEAST_ROWS, min(_ROW_GROUP, _GROUP_BYTES // max(sum(map(_width, reader.schema.types)), 1)))
    pending: list[pa.RecordBatch] = []
    count = before = 0
    for batch in reader:
        rest = batch
        while rest.num_rows:
            room = min(most, rows_per_file - before % rows_per_file)
            taken = rest.slice(0, room - count)
            pending.append(taken)
            count += taken.num_rows
            rest = rest.slice(taken.num_rows)
            if count == room:
                yield pa.Table.from_batches(pending, reader.schema)
                before += count
                pending, count = [], 0
    if pending or not before:
        yield pa.Table.from_batches(pending, reader.schema)


def _width(kind: pa.DataType) -> int:
    """Bytes of a value: by its type alone, so that the same rows are always cut alike."""
    try:
        return (int(kind.bit_width) + 7) // 8
    except ValueError:
        return _VARIABLE_BYTES


class AnswerFiles:
    """Answers in files, kept for a week so that the same question is not answered twice.

    Parameters
    ----------
    folder : Path
        Private folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self, key: Mapping[str, Any], reader: Any) -> StreamedRows:
        """Return the rows that belong to a key; ``reader`` is called for them if they are not there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prune()
        name = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:32]
        place = self._folder / name
        if not place.is_dir():
            beside = self._folder / f".{name}-{secrets.token_hex(4)}"
            beside.mkdir(mode=0o700)
            try:
                write_parts(reader(), beside)
                # another process may have been first; its files are the same
                if not place.is_dir():
                    beside.rename(place)
            except OSError as error:
                raise StoreError(f"the answer cannot be written under {self._folder}: {error.strerror or error}") from error
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        os.utime(place)
        return StreamedRows.of(sorted(str(file) for file in place.glob("*.parquet")))

    def _prune(self) -> None:
        for entry in self._folder.iterdir():
            if time.time() - entry.stat().st_mtime > _KEPT_S:
                shutil.rmtree(entry, ignore_errors=True)
