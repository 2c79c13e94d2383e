"""The commands of ``%features`` that write: save, delete-rows, edit, rule, drop, import, export."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError, counted
from hops_magic.features.csv_options import CsvOptions
from hops_magic.features.errors import FeatureError
from hops_magic.features.exchange import export_file, known_columns, open_file
from hops_magic.features.foreign_keys import foreign_key
from hops_magic.features.reading import Request
from hops_magic.features.rules import Rule
from hops_magic.features.store import FeatureStore
from hops_magic.features.writing import ON_FAIL, SaveOptions, Written
from hops_magic.magics import feature_words as words_of
from hops_magic.magics.commands import Command, Sentence, naming_flags, parser
from hops_magic.magics.feature_reading import request_parser, requested
from hops_magic.magics.surroundings import surroundings_of
from hops_magic.options import MagicParser, add_options
from hops_magic.widgets import features as pages
from hops_magic.widgets.tables import Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session


class Writing:
    """Commands that write, for one line.

    Parameters
    ----------
    line : str
        The line as it was written: regular expressions of rules keep their backslashes.
    """

    def __init__(self, shell: InteractiveShell, session: Session, line: str) -> None:
        self._shell = shell
        self._session = session
        self._line = line

    @property
    def commands(self) -> dict[str, Command]:
        """Commands by name."""
        return {
            "save": self._save,
            "import": self._import,
            "export": self._export,
            "delete-rows": self._delete_rows,
            "edit": self._edit,
            "rule": self._rule,
            "drop": self._drop,
        }

    @property
    def _store(self) -> FeatureStore:
        return self._session.features

    @property
    def _source(self) -> str:
        return surroundings_of(self._shell, self._session).notebook

    def _save(self, words: list[str]) -> Sentence:
        wanted = _save_parser("%features save", "Write the rows of a table to a group, in one atomic commit.")
        wanted.add_argument("variable", metavar="VARIABLE", help="a table of pandas, polars, Arrow, Dask or DuckDB")
        chosen = vars(wanted.parse_args(words))
        data = words_of.variable(self._shell.user_ns, chosen.pop("variable"), "the table")
        group, options = _target(chosen)
        return _told(self._store.write(data, group, options, source=self._source))

    def _import(self, words: list[str]) -> Sentence:
        wanted = _save_parser("%features import", "Write the rows of files, or of a query, to a group.")
        wanted.add_argument(
            "file",
            metavar="FILE|QUERY",
            help="a CSV or Parquet file, a folder or pattern of them, or SQL over such files and groups, in quotes",
        )
        add_options(wanted, CsvOptions)
        chosen = vars(wanted.parse_args(words))
        file = chosen.pop("file")
        notes: list[str] = []
        said = {item.name: chosen.pop(item.name) for item in fields(CsvOptions) if item.name in chosen}
        with naming_flags(CsvOptions):
            options = CsvOptions(**said, flags=True)
        group, how = _target(chosen)
        known = known_columns(group, how.mode, self._store)
        try:
            with open_file(file, options, notes.append, store=self._store, known=known) as rows:
                written = self._store.write(rows, group, how, source=self._source)
        except FeatureError:
            # they may tell why
            for note in notes:
                warnings.warn(note, stacklevel=2)
            raise
        return Sentence("\n".join([_told(written), *notes]))

    @naming_flags(Request)
    def _export(self, words: list[str]) -> Sentence:
        wanted = request_parser("%features export", "Write features to a CSV or Parquet file.")
        wanted.add_argument("--to", required=True, metavar="FILE", help="where to: FILE.csv, FILE.csv.gz or FILE.parquet")
        chosen = wanted.parse_args(words)
        notes: list[str] = []
        answer = self._store.answer(requested(chosen, self._shell.user_ns), "tf")
        rows = export_file(answer, chosen.to, tell=notes.append)
        return Sentence("\n".join([f"{chosen.to}: {counted(rows, 'row')} of {', '.join(chosen.names)}", *notes]))

    def _delete_rows(self, words: list[str]) -> Sentence:
        wanted = parser("%features delete-rows", "Delete rows by key or by a condition, in one atomic commit.")
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
        wanted.add_argument("--keys", nargs="+", metavar="KEY=A,B", help="keys, or a variable that holds them")
        wanted.add_argument("--where", metavar="CONDITION", help="of SQL, over the group's columns: 'season < 2010'")
        chosen = wanted.parse_args(words)
        keys = words_of.keys(self._shell.user_ns, chosen.keys) if chosen.keys else None
        return _told(self._store.delete_rows(chosen.group, keys=keys, where=chosen.where, source=self._source))

    def _edit(self, words: list[str]) -> Sentence:
        wanted = parser("%features edit", "Change what is said of a group; its rows stay.")
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
        wanted.add_argument("--describe", metavar="TEXT", help="what the group is")
        wanted.add_argument("--tags", metavar="TAG,...", help="words to find the group by, instead of the present ones")
        wanted.add_argument("--describe-column", action="append", default=[], metavar="COLUMN=TEXT", help="what a column is")
        wanted.add_argument(
            "--foreign-key", action="append", metavar="COLUMN=GROUP.KEY", help="columns that hold another group's key"
        )
        wanted.add_argument("--no-foreign-keys", action="store_true", help="take away those that it has")
        wanted.add_argument("--on-fail", choices=ON_FAIL, help="what writes do whose rows break a rule")
        chosen = wanted.parse_args(words)
        group = self._store.edit(
            chosen.group,
            description=chosen.describe,
            tags=None if chosen.tags is None else [tag.strip() for tag in chosen.tags.split(",") if tag.strip()],
            column_descriptions=words_of.described(chosen.describe_column),
            foreign_keys=chosen.foreign_key or ([] if chosen.no_foreign_keys else None),
            on_fail=chosen.on_fail,
        )
        return Sentence(f"{group.full_name} is changed")

    def _rule(self, words: list[str]) -> Sentence | Table:
        wanted = parser("%features rule", "Rules that the rows of a group keep; without more, list them.", _RULES)
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
        wanted.add_argument("action", nargs="?", choices=("list", "add", "remove"), default="list", help="what to do")
        wanted.add_argument("rule", nargs="*", metavar="RULE", help="the rule, as below")
        chosen, rest = wanted.parse_known_args(words)
        group = self._store.group(chosen.group)
        rules = [Rule.from_json(rule) for rule in group.rules]
        if chosen.action == "list":
            return pages.rules_table(rules, group)
        if not (chosen.rule or rest):
            raise UsageError(
                f"%features rule {group.name} {chosen.action} needs a rule, e.g. not_null {group.columns[0].name}"
            )
        # as it was written: splitting into words would eat the backslashes of a regular expression
        text = self._line.split(maxsplit=3)[3].strip()
        if chosen.action == "add":
            rule = Rule.from_text(text)
            kept = [each for each in rules if each.name != rule.name] + [rule]
        else:
            kept = [each for each in rules if each.name != text]
            if len(kept) == len(rules):
                known = "; ".join(each.name for each in rules) or "none"
                raise UsageError(f"{group.full_name} has no rule {text[:200]!r}: its rules are {known[:1_000]}")
        self._store.edit(chosen.group, rules=kept)
        return pages.rules_table(kept, self._store.group(chosen.group))

    def _drop(self, words: list[str]) -> Sentence:
        wanted = parser("%features drop", "Delete a group, or one version of it, for good, with its rows and their past.")
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group; all its versions if none is said")
        wanted.add_argument("--yes", action="store_true", help="do it; without this, only say what would be deleted")
        chosen = wanted.parse_args(words)
        group = self._store.group(chosen.group)
        gone = [group] if "@" in chosen.group else self._store.versions(group.name)
        told = ", ".join(f"{each.full_name} ({counted(each.rows, 'row')})" for each in gone)
        if not chosen.yes:
            return Sentence(f"this would delete {told} for good: say so with --yes")
        self._store.drop(chosen.group)
        return Sentence(f"deleted {told}")


_RULES = """\
  not_null COLUMN     unique COLUMN,...     range COLUMN LOW HIGH (- for open)     one_of COLUMN A,B
  matches COLUMN REGEX     predicate "CONDITION"     fresh 2d     rows LEAST MOST (- for open)"""


def _save_parser(prog: str, about: str) -> MagicParser:
    wanted = parser(prog, about)
    wanted.add_argument(
        "--group", "-g", required=True, metavar="GROUP[@VERSION]", help="the group, which is made if need be"
    )
    add_options(wanted, SaveOptions)
    wanted.add_argument("--describe-column", action="append", default=[], metavar="COLUMN=TEXT", help="what a column is")
    wanted.add_argument(
        "--foreign-key",
        action="append",
        default=[],
        metavar="COLUMN=GROUP.KEY",
        help="columns that hold another group's key",
    )
    return wanted


def _target(chosen: dict[str, Any]) -> tuple[str, SaveOptions]:
    """Return the group that a line names, and how it is written."""
    group = chosen.pop("group")
    columns = words_of.described(chosen.pop("describe_column"))
    foreign_keys = tuple(map(foreign_key, chosen.pop("foreign_key")))
    return group, SaveOptions(**chosen, column_descriptions=columns, foreign_keys=foreign_keys)


def _told(written: Written) -> Sentence:
    commit = written.commit
    changes = [
        f"{counted(count, 'row')} {what}"
        for count, what in ((commit.rows_added, "added"), (commit.rows_changed, "changed"), (commit.rows_removed, "removed"))
        if count
    ]
    sentence = f"{written.group.full_name}: {', '.join(changes) or 'nothing changed'}; {counted(commit.rows, 'row')} in all"
    sentence += f", commit {commit.number}"
    if written.quarantined:
        sentence += f"; {counted(written.quarantined, 'row')} put aside: %features quarantined {written.group.name}"
    return Sentence("; ".join([sentence, *written.warnings]))
