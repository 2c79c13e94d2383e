"""Tables of the lake: the only user of Delta Lake.

A write is one atomic commit; readers see all of it or nothing, and may go back to any earlier one.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import random
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.features.errors import ConflictError, StoreError
from hops_magic.features.lake_places import Place
from hops_magic.features.model import COMMITTED_AT, Column, Commit, Operation
from hops_magic.features.types import type_name
from hops_magic.settings import redacted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from deltalake import DeltaTable, WriterProperties

_MARK = "hops"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|↳")
_KEPT = {
    # earlier commits stay readable: training datasets refer to them
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.enableExpiredLogCleanup": "false",
}
_ROW_GROUP = 122_880
_ATTEMPTS = 12
# a commit costs 129 ms instead of 21 after 300 tiny appends
_FILES_BEFORE_COMPACTING = 64
_SMALL_FILE_BYTES = 16 * 2**20
_DIGITS_IN_64_BITS = 18


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a commit says of itself; numbers of rows only where the lake's own would mislead."""

    operation: Operation
    author: str = ""
    source: str = ""
    run_id: str = ""
    rows_added: int | None = None
    rows_changed: int | None = None
    rows_removed: int | None = None


class LakeTable:
    """One table at one version.

    Parameters
    ----------
    location : str
        URI or path.
    version : int, optional
        Commit to read; the newest if not given.

    Raises
    ------
    StoreError
        If there is no such table or version, or it cannot be read.
    """

    def __init__(self, location: str, version: int | None = None) -> None:
        from deltalake import DeltaTable

        self.location = location
        self._place = Place.of(location)
        if self._place.is_missing:
            raise _missing(location)
        with _told(location):
            self._delta: DeltaTable = DeltaTable(self._place.uri, version=version, storage_options=self._place.options)

    @staticmethod
    def exists(location: str) -> bool:
        """Whether there is a table."""
        from deltalake import DeltaTable

        place = Place.of(location)
        if place.is_missing:
            return False
        with _told(location):
            return bool(DeltaTable.is_deltatable(place.uri, storage_options=place.options))

    @classmethod
    def create(
        cls,
        location: str,
        rows: pa.RecordBatchReader,
        note: Note,
        *,
        keys: Sequence[str],
        partition_by: Sequence[str] = (),
        description: str = "",
    ) -> LakeTable:
        """Write the first rows of a table, in one commit."""
        from deltalake import write_deltalake

        place = Place.of(location)
        with _told(location):
            write_deltalake(
                place.uri,
                rows,
                mode="error",
                storage_options=place.options,
                partition_by=list(partition_by) or None,
                description=description or None,
                configuration=dict(_KEPT),
                writer_properties=_writer(rows.schema, keys),
                commit_properties=_properties(note),
            )
        return cls(location)

    @property
    def version(self) -> int:
        """Number of the commit."""
        return int(self._delta.version())

    @property
    def schema(self) -> pa.Schema:
        """Columns, the hidden ones included."""
        import pyarrow as pa

        return pa.schema(self._delta.schema().to_arrow())

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns that are shown."""
        return tuple(
            Column(name=item.name, type=type_name(item.type), nullable=item.nullable)
            for item in self.schema
            if item.name != COMMITTED_AT
        )

    @property
    def rows(self) -> int:
        """Rows, by the table's log."""
        import pyarrow as pa

        return sum(count or 0 for count in pa.table(self._delta.get_add_actions(flatten=True))["num_records"].to_pylist())

    def register(self, connection: duckdb.DuckDBPyConnection, view: str) -> None:
        """Make the table readable in an engine under a name."""
        from hops_magic.features.sql import parquet, quoted

        files = self._local_files()
        missing = next((path for path in files if path and not Path(path).exists()), None)
        if missing:
            raise StoreError(
                f"a data file of {self.location} is gone ({Path(missing).name}): restore it, or read an earlier commit"
            )
        if files and not self._delta.metadata().partition_columns and all(files):
            # the engine's own reader: about twice as fast as any other, and prunes by bloom filters
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT * FROM {parquet(filter(None, files))}")
        else:
            self._register_dataset(connection, view)

    def _register_dataset(self, connection: duckdb.DuckDBPyConnection, view: str) -> None:
        from hops_magic.features.sql import quoted

        parts = set(self._delta.metadata().partition_columns)
        with _told(self.location):
            connection.register(f"{view} files", self._delta.to_pyarrow_dataset())
        columns = [
            quoted(item.name) if item.name in parts else f"{_kept(quoted(item.name), item.type)} AS {quoted(item.name)}"
            for item in self.schema
        ]
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT {', '.join(columns)} FROM {quoted(f'{view} files')}"
        )

    def _local_files(self) -> list[str | None]:
        """Paths of the data files; None for those that are elsewhere."""
        return [self._place.file(uri, self._delta.table_uri) for uri in self._delta.file_uris()]

    def append(self, rows: pa.RecordBatchReader, note: Note, *, keys: Sequence[str]) -> None:
        """Add rows in one commit."""
        from deltalake import write_deltalake

        with _told(self.location):
            write_deltalake(
                self._delta,
                rows,
                mode="append",
                writer_properties=_writer(rows.schema, keys),
                commit_properties=_properties(note),
            )

    def overwrite(self, rows: pa.RecordBatchReader, note: Note, *, keys: Sequence[str]) -> None:
        """Replace rows and columns in one commit."""
        from deltalake import write_deltalake

        with _told(self.location):
            write_deltalake(
                self._delta,
                rows,
                mode="overwrite",
                schema_mode="overwrite",
                partition_by=list(self._delta.metadata().partition_columns) or None,
                writer_properties=_writer(rows.schema, keys),
                commit_properties=_properties(note),
            )

    def upsert(self, rows: pa.Table, note: Note, *, keys: Sequence[str]) -> None:
        """Replace the rows that have these keys, and add the others, in one commit; keys must be unique and not null."""
        self._merge(rows, note, keys, delete=False)

    def delete(self, rows: pa.Table, note: Note, *, keys: Sequence[str]) -> None:
        """Delete the rows that have these keys, in one commit."""
        self._merge(rows, note, keys, delete=True)

    def _merge(self, rows: pa.Table, note: Note, keys: Sequence[str], *, delete: bool) -> None:
        from deltalake.exceptions import CommitFailedError

        # identifiers of the lake's SQL take double quotes as ours do
        match = " AND ".join(f't."{_escaped(key)}" = s."{_escaped(key)}"' for key in keys)
        for attempt in range(_ATTEMPTS):
            try:
                with _told(self.location):
                    merger = self._delta.merge(
                        rows,
                        match,
                        source_alias="s",
                        target_alias="t",
                        writer_properties=_writer(self.schema, keys),
                        commit_properties=_properties(note),
                    )
                    if delete:
                        merger.when_matched_delete().execute()
                    else:
                        merger.when_matched_update_all().when_not_matched_insert_all().execute()
                return
            except CommitFailedError:
                time.sleep(random.random() * 0.05 * 2 ** min(attempt, 6))  # noqa: S311 (spreads writers, no secret)
                self._delta.update_incremental()
        raise ConflictError(f"other writers kept changing {self.location}: try again")

    def compact_if_needed(self, *, keys: Sequence[str]) -> None:
        """Rewrite many small files as few large ones; earlier commits stay readable."""
        import pyarrow as pa

        sizes = pa.table(self._delta.get_add_actions(flatten=True))["size_bytes"].to_pylist()
        if sum(size < _SMALL_FILE_BYTES for size in sizes) > _FILES_BEFORE_COMPACTING:
            with _told(self.location):
                self._delta.optimize.compact(
                    writer_properties=_writer(self.schema, keys),
                    commit_properties=_properties(Note(operation=Operation.COMPACT)),
                )

    def destroy(self) -> None:
        """Delete the table and its files for good."""
        with _told(self.location):
            if self._place.folder:
                shutil.rmtree(self._place.folder)
                return
            self._delta.delete()
            self._delta.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)

    def commits(self, after: int = -1) -> list[Commit]:
        """Return the commits with numbers above ``after``, oldest first."""
        with _told(self.location):
            newest = self.version
            entries = sorted(self._delta.history(newest - after), key=lambda entry: int(entry["version"]))
        return [_commit(entry) for entry in entries if int(entry["version"]) > after]


def _commit(entry: Mapping[str, Any]) -> Commit:
    told = json.loads(entry.get(_MARK) or "{}")
    counts = entry.get("operationMetrics") or {}
    operation = Operation(told["operation"]) if "operation" in told else _guess(str(entry.get("operation")))
    added = told.get("rows_added", counts.get("num_added_rows") or counts.get("num_target_rows_inserted") or 0)
    changed = told.get("rows_changed", counts.get("num_target_rows_updated") or 0)
    removed = told.get("rows_removed", counts.get("num_target_rows_deleted") or counts.get("num_deleted_rows") or 0)
    return Commit(
        number=int(entry["version"]),
        at=datetime.datetime.fromtimestamp(int(entry["timestamp"]) / 1000, datetime.UTC),
        author=told.get("author", ""),
        operation=operation,
        rows_added=0 if operation is Operation.COMPACT else int(added),
        rows_changed=int(changed),
        rows_removed=int(removed),
        source=told.get("source", ""),
        run_id=told.get("run_id", ""),
    )


def _guess(operation: str) -> Operation:
    """What a commit did that another program made."""
    known = {"MERGE": Operation.UPSERT, "DELETE": Operation.DELETE, "OPTIMIZE": Operation.COMPACT}
    return known.get(operation, Operation.APPEND)


def _properties(note: Note) -> Any:
    from deltalake import CommitProperties

    told = {key: value for key, value in asdict(note).items() if value not in ("", None)}
    return CommitProperties(custom_metadata={_MARK: json.dumps(told)})


def _writer(schema: pa.Schema, keys: Sequence[str]) -> WriterProperties:
    import pyarrow as pa
    from deltalake import BloomFilterProperties, ColumnProperties, WriterProperties

    # values that seldom repeat gain nothing from a dictionary, and building it is most of the cost of writing them
    unlike = {item.name for item in schema if pa.types.is_floating(item.type)}
    if len(keys) == 1:
        unlike.add(keys[0])
    # bloom filters let a look-up by key skip all but a few row groups, however the rows lie
    bloom = BloomFilterProperties(set_bloom_filter_enabled=True, fpp=0.001, ndv=_ROW_GROUP)
    columns = {
        name: ColumnProperties(
            dictionary_enabled=False if name in unlike else None,
            bloom_filter_properties=bloom if name in keys[:2] else None,
        )
        for name in unlike.union(keys[:2])
    }
    return WriterProperties(max_row_group_size=_ROW_GROUP, column_properties=columns)


def _kept(column: str, kind: pa.DataType) -> str:
    """Return an expression with a column's own values that the engine does not hand to Arrow as a condition.

    A merge writes texts and bytes as views, which Arrow fails to compare; and the log of the lake cuts bounds of long
    decimals at 64 bits, so that Arrow would pass over the files that hold them.
    """
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view":
        return f"substring({column}, 1)"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or str(kind) == "binary_view":
        return f"from_hex(hex({column}))"
    if pa.types.is_decimal(kind) and kind.precision > _DIGITS_IN_64_BITS:
        return f"coalesce({column}, {column})"
    return column


def _escaped(name: str) -> str:
    return name.replace('"', '""')


@contextlib.contextmanager
def _told(location: str) -> Iterator[None]:
    """Tell failures of the lake as sentences, without secrets."""
    from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

    place = redacted(location)
    try:
        yield
    except CommitFailedError:
        raise
    except TableNotFoundError as error:
        raise _missing(location) from error
    except (DeltaError, OSError) as error:
        raise StoreError(f"the table at {place} cannot be used: {_reason(error)}") from error


def _missing(location: str) -> StoreError:
    return StoreError(f"there is no table at {redacted(location)}: it was deleted, or the feature store is another one")


def _reason(error: Exception) -> str:
    # what follows is a stack of the library's own
    text = redacted(" ".join(_COLOURS.sub("", str(error)).split(" 0: ")[0].split()))
    for mark, reason in (
        (
            "Unknown scheme: fs.",
            "the installed deltalake cannot name such a folder: update it, or set HOPS_FEATURES to another",
        ),
        ("No space left", "the disk is full"),
        ("os error 28", "the disk is full"),
        ("Permission denied", "this user may not read or write there"),
        ("Read-only file system", "it is read-only"),
        ("loading credentials", "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the like"),
        ("InvalidAccessKeyId", "the credentials are wrong"),
        ("SignatureDoesNotMatch", "the credentials are wrong"),
        ("AccessDenied", "the credentials do not allow it"),
        ("403 Forbidden", "the credentials do not allow it"),
        ("NoSuchBucket", "there is no such bucket"),
        ("error sending request", "the server does not answer"),
        ("File too large", "a file may not grow any more (a quota or limit)"),
        ("Failed to fetch metadata", "a data file is gone or damaged: restore it from a copy"),
        ("Invalid JSON in log", "a file of its log is damaged: restore it from a copy"),
        ("Json error", "a file of its log is damaged: restore it from a copy"),
    ):
        if mark in text:
            return reason
    return text[:240]
