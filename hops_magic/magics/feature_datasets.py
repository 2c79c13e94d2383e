"""The commands of ``%features dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError, counted
from hops_magic.features.column_statistics import Statistics
from hops_magic.features.dataset_files import FILE_FORMATS
from hops_magic.features.readers import FORMS
from hops_magic.features.reading import Request
from hops_magic.magics import feature_words as words_of
from hops_magic.magics.commands import Command, Sentence, naming_flags, parser, run_words
from hops_magic.magics.feature_reading import put, request_parser, requested
from hops_magic.widgets import features as pages
from hops_magic.widgets.feature_statistics import drift_page, statistics_page
from hops_magic.widgets.tables import Page, Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.features.store import FeatureStore
    from hops_magic.session import Session

_COMMANDS = """\
List the training datasets. Commands, each with -h:
  %features dataset create NAME FEATURE ...    materialise features, split
  %features dataset read NAME[@VERSION]        put a split into a variable
  %features dataset describe NAME[@VERSION]    recipe, sources and statistics of the splits
  %features dataset drift NAME[@VERSION]       how the features have moved since
  %features dataset recreate NAME[@VERSION]    make its files anew from the recipe
  %features dataset delete NAME[@VERSION]"""


class DatasetCommands:
    """Commands of training datasets, for one line."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        self._shell = shell
        self._session = session

    @property
    def commands(self) -> dict[str, Command]:
        """The command by its name."""
        return {"dataset": self._dataset}

    @property
    def _store(self) -> FeatureStore:
        return self._session.features

    def _dataset(self, words: list[str]) -> Any:
        commands = {
            "list": self._list,
            "create": self._create,
            "read": self._read,
            "describe": self._describe,
            "drift": self._drift,
            "recreate": self._recreate,
            "delete": self._delete,
        }
        return run_words("%features dataset", words, commands, self._list)

    def _list(self, words: list[str]) -> Table:
        parser("%features dataset", _COMMANDS).parse_args(words)
        return pages.datasets_table(self._store.datasets())

    @naming_flags(Request)
    def _create(self, words: list[str]) -> Sentence:
        wanted = request_parser("%features dataset create", "Materialise features, joined and split.")
        wanted.add_argument("--label", metavar="COLUMN", help="what is to be predicted")
        wanted.add_argument("--split", metavar="NAME=SHARE,...", help="e.g. train=.8,test=.2")
        wanted.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
        wanted.add_argument("--split-by-time", metavar="NAME=END,...", help="exclusive, e.g. train=2024-05-01,test=")
        wanted.add_argument("--time-column", metavar="COLUMN", help="its times (default: the event time)")
        wanted.add_argument("--format", choices=FILE_FORMATS, default="parquet", help="of the files (default: parquet)")
        wanted.add_argument("--describe", default="", metavar="TEXT", help="what it is")
        wanted.add_argument("--no-stats", action="store_true", help="do not compute statistics of the splits")
        chosen = wanted.parse_args(words)
        if chosen.time_column and not chosen.split_by_time:
            raise UsageError("--time-column says by which times --split-by-time splits: say that too, or leave it out")
        name, *chosen.names = chosen.names
        if not chosen.names:
            raise UsageError(f"%features dataset create {name[:80]} needs features: NAME FEATURE ...")
        made = self._store.create_dataset(
            name,
            requested(chosen, self._shell.user_ns),
            label=chosen.label,
            split=words_of.shares(chosen.split) if chosen.split else None,
            split_by_time=words_of.ends(chosen.split_by_time) if chosen.split_by_time else None,
            time_column=chosen.time_column,
            seed=chosen.seed,
            file_format=chosen.format,
            description=chosen.describe,
            statistics=not chosen.no_stats,
        )
        rows = ", ".join(f"{counted(count, 'row')} {split}" for split, count in made.rows.items())
        return Sentence(f"{made.full_name}: {rows}; {counted(len(made.columns), 'column')}")

    def _read(self, words: list[str]) -> Sentence:
        wanted = parser("%features dataset read", "Put a split of a training dataset into a variable.")
        wanted.add_argument("name", metavar="NAME[@VERSION]", help="the dataset")
        wanted.add_argument("--split", metavar="NAME", help="which split, if it has several")
        wanted.add_argument("--as", dest="form", default="df", metavar="FORM", help=f"{', '.join(FORMS)} (default: df)")
        wanted.add_argument("--out", metavar="NAME", help="name of the variable; by default the split's, or the dataset's")
        chosen = wanted.parse_args(words)
        words_of.check_form(chosen.form)
        dataset = self._store.dataset(chosen.name)
        name = chosen.out or (chosen.split if len(dataset.rows) > 1 else dataset.name) or "df"
        words_of.check_name(name, "--out")
        value = self._store.read_dataset(chosen.name, chosen.split, chosen.form)
        return put(self._shell, self._session, name, value, chosen.form)

    def _describe(self, words: list[str]) -> Page:
        wanted = parser("%features dataset describe", "The recipe and sources of a training dataset, and its statistics.")
        wanted.add_argument("name", metavar="NAME[@VERSION]", help="the dataset")
        dataset = self._store.dataset(wanted.parse_args(words).name)
        parts = [*pages.dataset_page(dataset).parts]
        for split, statistics in dataset.statistics.items():
            parts += statistics_page(split, Statistics.from_json(statistics), dataset.columns).parts
        return Page(parts)

    def _drift(self, words: list[str]) -> Page:
        wanted = parser("%features dataset drift", "How the features of a training dataset have moved since it was made.")
        wanted.add_argument("name", metavar="NAME[@VERSION]", help="the dataset")
        return drift_page(self._store.dataset_drift(wanted.parse_args(words).name))

    def _recreate(self, words: list[str]) -> Sentence:
        wanted = parser("%features dataset recreate", "Make the files of a training dataset anew, byte by byte the same.")
        wanted.add_argument("name", metavar="NAME[@VERSION]", help="the dataset")
        made = self._store.recreate_dataset(wanted.parse_args(words).name)
        return Sentence(f"{made.full_name} has its {counted(len(made.checksums), 'file')} again")

    def _delete(self, words: list[str]) -> Sentence:
        wanted = parser("%features dataset delete", "Delete a version with its files; all versions if none is said.")
        wanted.add_argument("name", metavar="NAME[@VERSION]", help="the dataset")
        wanted.add_argument("--yes", action="store_true", help="do it; without this, only say what would be deleted")
        chosen = wanted.parse_args(words)
        dataset = self._store.dataset(chosen.name)
        if not chosen.yes:
            what = dataset.full_name if "@" in chosen.name else f"all versions of {dataset.name}"
            return Sentence(f"this would delete {what} for good: say so with --yes")
        gone = self._store.delete_dataset(chosen.name)
        return Sentence(f"deleted {', '.join(each.full_name for each in gone)}")
