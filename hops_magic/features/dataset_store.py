"""Training datasets: joined features, split, materialised in files that never change, with the recipe that made them."""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hops_magic.features import column_statistics, engine
from hops_magic.features.catalog import Catalog
from hops_magic.features.dataset_files import FILE_FORMATS, DatasetFolder, read_split, write_split
from hops_magic.features.dataset_streams import streamed_split
from hops_magic.features.errors import ConflictError, FeatureError, StoreError, UnknownNameError
from hops_magic.features.folders import again_beside, new_folder, sweep
from hops_magic.features.model import Column
from hops_magic.features.names import DATASETS, GroupName, nearest, parse_group
from hops_magic.features.origin import tell_run
from hops_magic.features.query import Terms
from hops_magic.features.readers import STREAMED, as_streamed
from hops_magic.features.reading import Reader, Request, reads_of
from hops_magic.features.splits import SplitByShare, SplitByTime, ends_of, parts_of, shares_of
from hops_magic.features.streaming import AnswerFiles
from hops_magic.features.tables import incoming
from hops_magic.features.training_dataset import Dataset, Recipe
from hops_magic.features.types import in_utc
from hops_magic.runs.inputs import FeatureInput
from hops_magic.settings import FeatureSettings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from hops_magic.features.distribution_drift import Drift

ALL = "all"
"""Name of the only split of a dataset that is not split."""


class Datasets:
    """What a feature store does with training datasets."""

    def __init__(
        self, settings: FeatureSettings, catalog: Catalog, reader: Reader, clock: Callable[[], datetime.datetime]
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self._reader = reader
        self._clock = clock
        self._reads: list[FeatureInput] = []

    def create_dataset(
        self,
        name: str,
        request: Request,
        *,
        label: str | None = None,
        split: Mapping[str, float] | None = None,
        split_by_time: Mapping[str, datetime.datetime | str | None] | None = None,
        time_column: str | None = None,
        seed: int = 0,
        file_format: str = "parquet",
        description: str = "",
        statistics: bool = True,
    ) -> Dataset:
        """Materialise features as the next version of a training dataset, which never changes.

        Parameters
        ----------
        request
            Features, spine and terms, as for ``FeatureStore.answer``; :func:`request_of` makes one of names.
        label
            Column that is to be predicted.
        split
            Share of each split; they sum to one. Which row goes where depends on ``seed`` alone.
        split_by_time, time_column
            End of each split, exclusive: a time, or a text such as ``"2024-05-01"``; None for the last. By default of the
            base's or spine's event time.
        file_format
            ``parquet``, ``csv``, ``npy`` (arrays in float32) or ``tfrecord`` (tensors of 1,024 rows).

        Raises
        ------
        FeatureError
            If the shares do not sum to one, a split has no rows, or the format cannot hold a column.
        """
        wanted = parse_group(name)
        if file_format not in FILE_FORMATS:
            raise FeatureError(f"--format must be one of {', '.join(FILE_FORMATS)}, got {file_format!r}")
        if split and split_by_time:
            raise FeatureError("--split and --split-by-time exclude each other: rows are split by share or by time")
        if request.keys is not None:
            raise FeatureError(
                "--keys looks up present rows, and a training dataset is made for a --spine: give them as one"
            )
        ends = ends_of(split_by_time) if split_by_time else {}
        shares = shares_of(split) if split else {} if ends else {ALL: 1.0}
        spine = None if request.spine is None else incoming(request.spine, name="the spine")
        with self.catalog.writing(f"dataset {wanted.name}"):
            version = self._next_version(wanted)
            place = f"{self.settings.lake}/{DATASETS}/{wanted.name}"
            sweep(place, self.catalog.id, [known.location for known in self.catalog.datasets.versions(wanted.name)])
            folder = DatasetFolder(new_folder(place, version, self.catalog.id))
            ordered = replace(request, spine=spine, terms=replace(request.terms, is_ordered=True))
            with self._reader.answering(ordered) as (connection, plan, sql, sources):
                moment = time_column or (plan.event_time if split_by_time else None)
                recipe = Recipe(
                    names=plan.names,
                    commits={source.group.full_name: source.table.version for source in sources.values()},
                    file_format=file_format,
                    label=label,
                    shares=shares,
                    ends=ends,
                    time_column=moment,
                    seed=seed,
                    event_time=request.event_time,
                    on=request.on,
                    max_age_s={group: age.total_seconds() for group, age in request.terms.max_age.items()},
                    exclude_late=request.terms.exclude_late,
                    allow_fanout=request.allow_fanout,
                    with_keys=request.terms.with_keys,
                    limit=request.terms.limit,
                    has_spine=spine is not None,
                )
                made = self._materialise(connection, sql, recipe, folder, spine, with_statistics=statistics)
                dataset = Dataset(
                    name=wanted.name,
                    version=version,
                    location=folder.location,
                    recipe=recipe,
                    sources=tuple(reads_of(plan, sources)),
                    description=description,
                    author=getpass.getuser(),
                    created_at=self._clock(),
                    **made,
                )
            # the catalog makes it visible: files that it does not name are nobody's
            self.catalog.datasets.add(dataset)
        return dataset

    def dataset(self, reference: str) -> Dataset:
        """Return a dataset, its latest version if none is said."""
        wanted = parse_group(reference)
        found = self.catalog.datasets.get(wanted.name, wanted.version)
        if found is None:
            known = {dataset.name for dataset in self.catalog.datasets.all()}
            raise UnknownNameError("training dataset", str(wanted), nearest(wanted.name, known) or tuple(sorted(known)[:5]))
        return found

    def datasets(self) -> list[Dataset]:
        """Return all versions of all datasets, by name, newest first."""
        return self.catalog.datasets.all()

    def read_dataset(self, reference: str, split: str | None = None, form: str = "df") -> Any:
        """Return the rows of a split in a form."""
        dataset = self.dataset(reference)
        if split is None and len(dataset.rows) > 1:
            raise FeatureError(f"{dataset.full_name} is split: say which of {', '.join(dataset.rows)}")
        part = split or next(iter(dataset.rows))
        if part not in dataset.rows:
            raise UnknownNameError("split", part, nearest(part, dataset.rows) or tuple(dataset.rows), dataset.full_name)
        self._note([dataset.input_of()])
        if form not in STREAMED:
            return _read(dataset, part, form)
        rows = streamed_split(
            _folder(dataset, part),
            part,
            dataset.recipe.file_format,
            dataset.columns,
            AnswerFiles(self.settings.home / "answers"),
        )
        return as_streamed(rows, form)

    def delete_dataset(self, reference: str) -> list[Dataset]:
        """Delete a version with its files; all versions if none is said."""
        wanted = parse_group(reference)
        first = self.dataset(reference)
        gone = [first] if wanted.version is not None else self.catalog.datasets.versions(first.name)
        with self.catalog.writing(f"dataset {first.name}"):
            for dataset in gone:
                self.catalog.datasets.remove(dataset)
                DatasetFolder(dataset.location).destroy()
        return gone

    def recreate_dataset(self, reference: str) -> Dataset:
        """Make the files of a dataset anew from its recipe, where they are gone or damaged.

        Raises
        ------
        StoreError
            If the recipe does not give the same bytes: a group's past is gone, or a library writes files in another way.
        """
        dataset = self.dataset(reference)
        recipe, folder = dataset.recipe, DatasetFolder(dataset.location)
        spine = folder.read_spine() if recipe.has_spine else None
        request = _request(recipe, spine, recipe.commits)
        beside = DatasetFolder(again_beside(dataset.location))
        try:
            with (
                self.catalog.writing(f"dataset {dataset.name}"),
                self._reader.answering(request) as (connection, _, sql, _),
            ):
                made = self._materialise(connection, sql, recipe, beside, spine, with_statistics=False)
                if made["checksums"] != dataset.checksums:
                    changed = [file for file, found in made["checksums"].items() if dataset.checksums.get(file) != found]
                    told = ", ".join(changed[:3])
                    raise StoreError(
                        f"the recipe of {dataset.full_name} does not give the same files any more ({told}): create a "
                        "new version"
                    )
                folder.replace_with(beside)
        finally:
            beside.destroy()
        return dataset

    def dataset_drift(self, reference: str) -> Drift:
        """Compare the features of a training dataset with what the same request gives today."""
        import pyarrow as pa

        from hops_magic.features.distribution_drift import drift

        dataset = self.dataset(reference)
        recipe = dataset.recipe
        spine = DatasetFolder(dataset.location).read_spine() if recipe.has_spine else None
        splits = [_read(dataset, split, "arrow") for split in dataset.rows]
        with self._reader.answering(_request(recipe, spine, None)) as (connection, _, sql, _):
            connection.register("earlier", pa.concat_tables(splits, promote_options="permissive"))
            connection.execute(f"CREATE TEMP VIEW later AS {sql}")
            return drift(connection, "earlier", "later", dataset.columns)

    # the parts

    def _note(self, reads: Sequence[FeatureInput]) -> None:
        """Keep what was read for whoever follows it, and tell the run."""
        self._reads += reads
        tell_run(reads)

    def _next_version(self, wanted: GroupName) -> int:
        following = self.catalog.datasets.next_version(wanted.name)
        if wanted.version is not None and wanted.version != following:
            if self.catalog.datasets.get(wanted.name, wanted.version) is not None:
                raise ConflictError(f"{wanted} exists, and training datasets never change: the next version is {following}")
            raise FeatureError(f"the next version of training dataset {wanted.name} is {following}, got {wanted.version}")
        return following

    def _materialise(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql: str,
        recipe: Recipe,
        folder: DatasetFolder,
        spine: pa.Table | None,
        *,
        with_statistics: bool,
    ) -> dict[str, Any]:
        """Write the files of a recipe; returns what is known of them."""
        rule = SplitByTime(recipe.ends, recipe.time_column) if recipe.ends else SplitByShare(recipe.shares, recipe.seed)
        # rows keep the order of the query: the same recipe gives the same bytes
        connection.execute("SET preserve_insertion_order=true")
        schema = in_utc(connection.sql(f"SELECT * FROM ({sql}) LIMIT 0").to_arrow_reader()).schema
        columns = tuple(Column(name=item.name, type=str(item.type)) for item in schema)
        names = [column.name for column in columns]
        if recipe.label is not None and recipe.label not in names:
            raise UnknownNameError("column", recipe.label, nearest(recipe.label, names), "the dataset (--label)")
        if recipe.ends and recipe.time_column not in names:
            raise FeatureError(
                f"--split-by-time reads {recipe.time_column}, which is not among the features: ask for it too, or "
                "say --time-column"
            )
        scratch = engine.spill_folder(self.settings.home)
        rows, checksums, statistics = {}, {}, {}
        for part, query in parts_of(connection, sql, rule).items():
            reader = in_utc(engine.reader_of(connection, query))
            written, sums = write_split(folder, part, recipe.file_format, reader, recipe.label, scratch)
            rows[part] = written
            checksums.update(sums)
            if with_statistics and written:
                connection.execute(f"CREATE OR REPLACE TEMP VIEW part_rows AS {query}")
                statistics[part] = column_statistics.compute(connection, "part_rows", columns).to_json()
        if spine is not None:
            folder.write_spine(spine)
        return {"columns": columns, "rows": rows, "checksums": checksums, "statistics": statistics}


def _read(dataset: Dataset, split: str, form: str) -> Any:
    return read_split(_folder(dataset, split), split, dataset.recipe.file_format, dataset.columns, form)


def _folder(dataset: Dataset, split: str) -> DatasetFolder:
    """Return where a dataset's files are, after a look that those of a split are all there."""
    folder = DatasetFolder(dataset.location)
    folder.check(split, dataset.checksums)
    return folder


def _request(recipe: Recipe, spine: pa.Table | None, commits: Mapping[str, int] | None) -> Request:
    """Return what a recipe asks for, at some commits or as it is now."""
    return Request(
        names=recipe.names,
        terms=Terms(
            max_age={group: datetime.timedelta(seconds=age) for group, age in recipe.max_age_s.items()},
            exclude_late=recipe.exclude_late,
            with_keys=recipe.with_keys,
            limit=recipe.limit,
            is_ordered=True,
        ),
        spine=spine,
        event_time=recipe.event_time,
        on=recipe.on,
        as_of=commits,
        allow_fanout=recipe.allow_fanout,
    )
