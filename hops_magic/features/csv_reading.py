"""CSV files as tables: read once, every value looked at, then brought to the types that all values of a column have."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.errors import counted
from hops_magic.features import csv_records
from hops_magic.features.csv_hints import hints, remedy, why_text
from hops_magic.features.csv_options import CsvOptions, arrow_name
from hops_magic.features.csv_source import CsvSource
from hops_magic.features.csv_types import ColumnTypes
from hops_magic.features.csv_values import Taker, taker_of
from hops_magic.features.errors import FeatureError
from hops_magic.features.model import Column
from hops_magic.features.names import nearest
from hops_magic.features.types import UnusableTypeError, arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

# of texts that are held in memory; what goes beyond is put into a file
_MOST_HELD_BYTES = 256 * 2**20
_SHOWN = 40
_MOST_HINTS = 20
Tell = Callable[[str], None]


@dataclass
class CsvRows:
    """The rows of CSV files, of known types, that can be read several times.

    Attributes
    ----------
    is_large : bool
        Whether they may not fit into memory.
    """

    columns: list[ColumnTypes]
    texts: _Texts
    rows: int

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        import pyarrow as pa

        return pa.schema([(column.name, column.type) for column in self.columns])

    @property
    def is_large(self) -> bool:
        return self.texts.is_large

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows part by part."""
        import pyarrow as pa

        schema = self.schema
        return pa.RecordBatchReader.from_batches(schema, (self._typed(batch, schema) for batch in self.texts.batches()))

    def _typed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        import pyarrow as pa

        arrays = [column.values(texts) for column, texts in zip(self.columns, batch.columns, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextlib.contextmanager
def csv_rows(
    files: Mapping[Path, Mapping[str, str]],
    options: CsvOptions,
    tell: Tell,
    *,
    known: Sequence[Column] = (),
    folder: Path | None = None,
) -> Iterator[CsvRows]:
    """Read CSV files whose columns have the same names, for a ``with`` block.

    Parameters
    ----------
    files
        Files, and what the names of folders above each say.
    options
        How they are written.
    tell
        Takes sentences on columns that may be meant as something else than they are kept as.
    known
        Columns whose types are taken where all values fit.
    folder
        For what does not fit into memory; by default that of the system's temporary files.

    Raises
    ------
    FeatureError
        If a file cannot be read, a row is not whole, or a value is not of the type that was said.
    """
    with tempfile.TemporaryDirectory(prefix="csv-", dir=folder) as inside, _Texts(Path(inside) / "texts.arrow") as texts:
        rows = _Reading(options, {column.name: column for column in known}, texts).read(files)
        told = list(hints(rows.columns, options)) if rows.rows else []
        for hint in told[:_MOST_HINTS]:
            tell(hint)
        if len(told) > _MOST_HINTS:
            tell(f"there are {len(told) - _MOST_HINTS:,} more such remarks on columns: look at some rows")
        yield rows


@dataclass
class _Reading:
    """Reads files one after the other."""

    options: CsvOptions
    known: Mapping[str, Column]
    texts: _Texts
    columns: dict[str, ColumnTypes] = field(default_factory=dict)
    rows: int = 0

    def read(self, files: Mapping[Path, Mapping[str, str]]) -> CsvRows:
        for path, folders in files.items():
            source = CsvSource(path, self.options)
            before = source.stamp()
            layout = csv_records.layout_of(source)
            if layout is not None:
                self._begin(source, layout, folders)
                self._read(source, layout, folders)
            elif len(files) == 1:
                raise FeatureError(f"{source.name} is empty: there is nothing to read")
            if source.stamp() != before:
                raise FeatureError(f"{source.name} was changed while it was read: import it again when it is complete")
        if not self.columns:
            raise FeatureError(f"all {counted(len(files), 'file')} are empty: there is nothing to read")
        self._check_date_format()
        return CsvRows(list(self.columns.values()), self.texts, self.rows)

    def _begin(self, source: CsvSource, layout: csv_records.Layout, folders: Mapping[str, str]) -> None:
        """Take the columns of the first file; those of others must be the same."""
        both = next((name for name in folders if name in layout.names), None)
        if both is not None:
            raise FeatureError(
                f"{source.name} has a column {both[:_SHOWN]!r}, and a folder above it gives one of that name: leave "
                f"{self.options.name('path_columns')} out"
            )
        names = [*layout.names, *folders]
        if not self.columns:
            self.columns = {name: self._column(name) for name in names}
            self._check_said(names)
        elif set(names) != set(self.columns):
            other = sorted(set(names) ^ set(self.columns))
            raise FeatureError(
                f"{source.name} has not the columns of the files before it: {', '.join(other)[:200]} in one of them alone; "
                "import files of one kind together"
            )

    def _column(self, name: str) -> ColumnTypes:
        said = self.options.types.get(name)
        if said is not None:
            return ColumnTypes(name, self.options, taker_of(arrow_type(arrow_name(said)), self.options), is_said=True)
        return ColumnTypes(name, self.options, self._known(name))

    def _known(self, name: str) -> Taker | None:
        if name not in self.known:
            return None
        # lists, bytes and the like have no texts
        with contextlib.suppress(ValueError, UnusableTypeError):
            return taker_of(arrow_type(self.known[name].type), self.options, exact=True)
        return None

    def _check_said(self, names: Sequence[str]) -> None:
        for name in self.options.types:
            if name not in names:
                close = nearest(name, names)
                remedy = f"did you mean {' or '.join(close)}?" if close else f"the columns are {', '.join(names)[:200]}"
                raise FeatureError(
                    f"{self.options.name('types')} names a column {name[:_SHOWN]!r} that is not there: {remedy}"
                )

    def _read(self, source: CsvSource, layout: csv_records.Layout, folders: Mapping[str, str]) -> None:
        import pyarrow as pa

        first = 0
        for batch in csv_records.batches(source, layout):
            arrays = dict(zip(layout.names, batch.columns, strict=True))
            for name, value in folders.items():
                arrays[name] = pa.repeat(pa.scalar(value, pa.string()), batch.num_rows)
            for at, (name, array) in enumerate(arrays.items()):
                misfit = self.columns[name].look(array)
                if misfit is not None:
                    raise FeatureError(self._misfit(source, layout, at, name, misfit, first + array.index(misfit).as_py()))
            self.texts.keep(pa.RecordBatch.from_pydict({name: arrays[name] for name in self.columns}))
            first += batch.num_rows
        self.rows += first

    def _misfit(self, source: CsvSource, layout: csv_records.Layout, at: int, name: str, misfit: str, row: int) -> str:
        options, column = self.options, self.columns[name]
        shown = misfit if len(misfit) <= _SHOWN else f"{misfit[:_SHOWN]}…"
        where = source.name
        if at < len(layout.names):
            where += f", line {csv_records.line_of(source, layout, row, at):,}"
        words = column.wanted.words if column.wanted is not None else "value"
        return f"{where}, column {name[:_SHOWN]}: {shown!r} is no {words}: {remedy(misfit, column, options)}"

    def _check_date_format(self) -> None:
        form, columns = self.options.date_format, self.columns.values()
        if form is None or not self.rows or any(column.has_form for column in columns):
            return
        why = next((f" (column {hint})" for hint in why_text(columns, self.options) if form in hint), "")
        raise FeatureError(
            f"no column has dates of the form {form}{why}: mend {self.options.name('date_format')}, or leave it out"
        )


class _Texts:
    """Parts of a table of texts, in memory or in a file if they are many.

    Parameters
    ----------
    path : Path
        Where the file would be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._writer: Any = None

    def __enter__(self) -> _Texts:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def is_large(self) -> bool:
        return self._path.exists()

    def keep(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        self._bytes += batch.nbytes
        self._held.append(batch)
        if self._writer is None and self._bytes > _MOST_HELD_BYTES:
            self._writer = pa.ipc.new_file(str(self._path), batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
        if self._writer is not None:
            for held in self._held:
                self._writer.write_batch(held)
            self._held.clear()

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        self._end()
        if not self.is_large:
            yield from self._held
            return
        with pa.OSFile(str(self._path)) as file:
            reader = pa.ipc.open_file(file)
            for at in range(reader.num_record_batches):
                yield reader.get_batch(at)

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
