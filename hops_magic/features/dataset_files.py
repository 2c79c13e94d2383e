"""Files of training datasets, on a disk or in an object store."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import FeatureError, StoreError
from hops_magic.features.folders import file_system
from hops_magic.features.model import Column
from hops_magic.features.readers import as_form
from hops_magic.features.streaming import StreamedRows, write_parts
from hops_magic.features.training_dataset import Dataset
from hops_magic.settings import redacted

if TYPE_CHECKING:
    import pyarrow as pa

FILE_FORMATS = ("parquet", "csv", "npy", "tfrecord")
_SPINE = "spine.parquet"
# a row must fit into one
_CSV_BLOCK_BYTES = 16 * 2**20


class DatasetFolder:
    """The folder of one version of a dataset; ``location`` is a path or a URI."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._system, self._root = file_system(location)

    def put(self, folder: Path, inside: str) -> dict[str, str]:
        """Copy files into the dataset; returns their checksums by path."""
        sums = {}
        with self._told("written"):
            self._system.create_dir(f"{self._root}/{inside}", recursive=True)
            for file in sorted(folder.iterdir()):
                name = f"{inside}/{file.name}"
                with file.open("rb") as source, self._system.open_output_stream(f"{self._root}/{name}") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                with file.open("rb") as source:
                    sums[name] = hashlib.file_digest(source, "sha256").hexdigest()
        return sums

    def check(self, inside: str, checksums: Collection[str]) -> None:
        """Refuse to read a split of which files are gone.

        Raises
        ------
        StoreError
            With the first of them.
        """
        there = {file.rsplit("/", 1)[-1] for file in self.files(inside)}
        gone = sorted(name for name in checksums if name.startswith(f"{inside}/") and name.rsplit("/", 1)[-1] not in there)
        if gone:
            raise StoreError(
                f"the file {gone[0]} of the dataset is gone from {redacted(self.location)}: recreate makes it anew"
            )

    def files(self, inside: str) -> list[str]:
        """Return the files of a split, as paths or URIs."""
        from pyarrow.fs import FileSelector

        try:
            found = self._system.get_file_info(FileSelector(f"{self._root}/{inside}"))
        except OSError as error:
            raise StoreError(
                f"the files of the dataset are not at {redacted(self.location)}: recreate makes them anew"
            ) from error
        names = sorted(info.base_name for info in found if info.is_file)
        return [f"{self.location}/{inside}/{name}" for name in names]

    def local(self, inside: str, into: Path) -> list[Path]:
        """Copy the files of a split to this machine, if they are elsewhere; returns their paths."""
        files = self.files(inside)
        if "://" not in self.location:
            return [Path(file) for file in files]
        for file in files:
            name = file.rsplit("/", 1)[-1]
            with self._system.open_input_stream(f"{self._root}/{inside}/{name}") as source, (into / name).open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        return sorted(into.iterdir())

    def write_spine(self, spine: pa.Table) -> None:
        """Keep the rows that the dataset's features were found for."""
        import pyarrow.parquet as pq

        with self._told("written"), self._system.open_output_stream(f"{self._root}/{_SPINE}") as sink:
            pq.write_table(spine, sink)

    def read_spine(self) -> pa.Table:
        """Return these rows."""
        import pyarrow.parquet as pq

        try:
            with self._system.open_input_file(f"{self._root}/{_SPINE}") as source:
                return pq.read_table(source)
        except OSError as error:
            raise StoreError(
                f"the spine of the dataset is gone from {redacted(self.location)}: create a new version"
            ) from error

    def replace_with(self, other: DatasetFolder) -> None:
        """Take the files of another folder of the same file system."""
        from pyarrow.fs import FileSelector

        with self._told("written"):
            for info in other._system.get_file_info(FileSelector(other._root, recursive=True)):
                if info.is_file:
                    name = info.path[len(other._root) :].lstrip("/")
                    self._system.create_dir(f"{self._root}/{name}".rsplit("/", 1)[0], recursive=True)
                    self._system.copy_file(info.path, f"{self._root}/{name}")

    def destroy(self) -> None:
        """Delete the folder with all that is in it."""
        from pyarrow.fs import FileType

        with self._told("deleted"):
            if self._system.get_file_info(self._root).type is not FileType.NotFound:
                self._system.delete_dir(self._root)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the files of the dataset at {redacted(self.location)} cannot be {what}: {_first_line(error)}"
            ) from error


def write_split(
    folder: DatasetFolder, split: str, file_format: str, rows: pa.RecordBatchReader, label: str | None, scratch: Path
) -> tuple[int, dict[str, str]]:
    """Write the rows of a split, by way of a scratch folder; returns their number, and the checksums of files."""
    with tempfile.TemporaryDirectory(prefix="dataset-", dir=scratch) as inside:
        place = Path(inside)
        counted = _Counted(rows)
        {"parquet": _write_parquet, "csv": _write_csv, "npy": _write_npy, "tfrecord": _write_records}[file_format](
            counted, place, label
        )
        return counted.rows, folder.put(place, split)


def read_split(folder: DatasetFolder, split: str, file_format: str, columns: Sequence[Column], form: str) -> Any:
    """Read a split in a form of tables in memory."""
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix="hops-dataset-") as scratch:
        files = folder.local(split, Path(scratch))
        names = [column.name for column in columns]
        # numbers that are cut off are told by all kinds of errors
        with _damage_told(folder.location, (OSError, pa.ArrowInvalid, ValueError, EOFError)):
            if file_format == "parquet":
                rows = StreamedRows.of([str(file) for file in files]).to_arrow()
            elif file_format == "csv":
                rows = pa.concat_tables([csv_reader(file, columns).read_all() for file in files])
            else:
                rows = pa.table(dict(zip(names, _read_numbers(files, file_format, names), strict=True)))
    return as_form(rows, form)


@contextlib.contextmanager
def _damage_told(location: str, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise StoreError(
            f"a file of the dataset at {redacted(location)} is damaged ({_first_line(error)}): recreate makes it anew"
        ) from error


class _Counted:
    """Batches of a reader, counted as they pass."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.schema = reader.schema
        self.rows = 0
        self._reader = reader

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._reader:
            self.rows += batch.num_rows
            yield batch


def _write_parquet(rows: Any, place: Path, label: str | None) -> None:  # noqa: ARG001 (one signature for all formats)
    write_parts(rows, place)


def _write_csv(rows: Any, place: Path, label: str | None) -> None:  # noqa: ARG001
    import pyarrow as pa
    from pyarrow import csv

    for item in rows.schema:
        if pa.types.is_nested(item.type) or pa.types.is_binary(item.type):
            raise FeatureError(
                f"--format csv holds numbers, times and strings, and column {item.name} is of type {item.type}: leave it "
                "out, or use parquet"
            )
    with csv.CSVWriter(str(place / "part-00000.csv"), rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)


def csv_reader(file: Path, columns: Sequence[Column]) -> pa.RecordBatchReader:
    """Read, part by part, what ``_write_csv`` wrote: it quotes all strings, so only what is empty and not quoted is null."""
    from pyarrow import csv

    from hops_magic.features.types import arrow_type

    return csv.open_csv(
        file,
        read_options=csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
        # a row of one column that is null is an empty line
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types={column.name: arrow_type(column.type) for column in columns},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _write_npy(rows: Any, place: Path, label: str | None) -> None:
    """One array of features in float32, of shape ``(rows, features)``, and one of the label."""
    import numpy as np

    names = list(rows.schema.names)
    features = [at for at, name in enumerate(names) if name != label]
    parts = {"features": features, **({} if label is None else {"label": names.index(label)})}
    raw = {name: place / f"{name}.raw" for name in parts}
    with contextlib.ExitStack() as opened:
        sinks = {name: opened.enter_context(path.open("wb")) for name, path in raw.items()}
        for batch in rows:
            values = _matrix(batch, names)
            for name, chosen in parts.items():
                sinks[name].write(np.ascontiguousarray(values[:, chosen]).tobytes())
    for name, path in raw.items():
        shape = (rows.rows, len(features)) if name == "features" else (rows.rows,)
        # the header says how many rows there are, which is known at the end
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with path.open("rb") as source, (place / f"{name}.npy").open("wb") as sink:
            np.lib.format.write_array_header_1_0(sink, header)
            shutil.copyfileobj(source, sink, 1 << 20)
        path.unlink()
    (place / "columns.txt").write_text("\n".join([*(names[at] for at in features), *([label] if label else [])]))


def _write_records(rows: Any, place: Path, label: str | None) -> None:  # noqa: ARG001
    from hops_magic.frameworks.streaming import write_records

    write_records(iter(rows), list(rows.schema.names), place / "part-00000.tfrecord")


def _read_numbers(files: Sequence[Path], file_format: str, names: Sequence[str]) -> list[Any]:
    import numpy as np

    if file_format == "npy":
        by_name = {file.name: file for file in files}
        stored = by_name["columns.txt"].read_text().split("\n")
        values = np.load(by_name["features.npy"])
        if "label.npy" in by_name:
            values = np.column_stack([values, np.load(by_name["label.npy"])])
        return [values[:, stored.index(name)] for name in names]
    from hops_magic.frameworks.streaming import read_records

    values = np.concatenate(list(read_records([str(file) for file in files], len(names))))
    return [values[:, at] for at in range(len(names))]


def _matrix(batch: pa.RecordBatch, names: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow as pa

    columns = []
    for name in names:
        kind = batch.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise FeatureError(
                f"--format npy holds numbers, and column {name} is of type {kind}: leave it out, or use parquet"
            )
        columns.append(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.stack(columns, axis=1).astype("float32")


def _first_line(error: Exception) -> str:
    return redacted(next(iter(str(error).strip().splitlines()), type(error).__name__)[:200])


def some_rows(dataset: Dataset, split: str, limit: int, offset: int = 0) -> pa.Table:
    """Return rows of a split in the order of its files; of Parquet files, those before them are counted, not read."""
    folder = DatasetFolder(dataset.location)
    if dataset.recipe.file_format != "parquet":
        found: pa.Table = read_split(folder, split, dataset.recipe.file_format, dataset.columns, "arrow")
        return found.slice(offset, limit)
    import pyarrow as pa
    from pyarrow import dataset as arrow_dataset

    files = arrow_dataset.dataset(folder.files(split), format="parquet")
    parts = [files.schema.empty_table()]
    for fragment in files.get_fragments():
        rows = fragment.count_rows()
        if offset < rows and limit > 0:
            part = fragment.head(offset + limit).slice(offset)
            parts.append(part)
            limit -= part.num_rows
        offset = max(0, offset - rows)
    return pa.concat_tables(parts)
