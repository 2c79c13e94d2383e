"""The commands of ``%features`` that read: get, explain, search, describe, history, diff, drift."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError
from hops_magic.features.answers import AnswerRows
from hops_magic.features.moments import moment_of
from hops_magic.features.readers import FORMS
from hops_magic.features.reading import Request
from hops_magic.features.store import request_of
from hops_magic.magics import feature_words as words_of
from hops_magic.magics.commands import Command, Sentence, naming_flags, parser
from hops_magic.options import MagicParser, add_options
from hops_magic.widgets import features as pages
from hops_magic.widgets.answers import Answer
from hops_magic.widgets.feature_statistics import drift_page, statistics_page
from hops_magic.widgets.tables import Page, Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.features.store import FeatureStore
    from hops_magic.session import Session

COMMANDS = """\
list the feature groups. Commands, each with -h:
  %features get NAME ...          features by name, joined, at a point in time if asked
  %features explain NAME ...      how they would be joined: groups, keys, commits, SQL
  %features search TEXT           groups and features by name, tag or description
  %features describe GROUP        columns, keys, rules, and statistics as pictures
  %features save VARIABLE --group GROUP --key COLUMN     write rows, in one atomic commit
  %features delete-rows GROUP, edit GROUP, rule GROUP, drop GROUP, import FILE, export FILE
  %features history GROUP         its commits; diff and drift compare two of them
  %features quarantined GROUP     rows that broke a rule and were put aside
  %features dataset               training datasets
  %features used-by NAME          the datasets, runs and models made from a group or feature
NAME is FEATURE, GROUP.FEATURE, GROUP@VERSION.FEATURE or GROUP.*"""

_NAMES = {"df": "df", "polars": "df", "arrow": "table", "dask": "ddf", "tf": "rows"}
_FORM_WORDS = {"df": "pandas DataFrame", "polars": "polars DataFrame", "arrow": "Arrow table", "dask": "Dask DataFrame"}


class Reading:
    """Commands that read, for one line."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        self._shell = shell
        self._session = session

    @property
    def commands(self) -> dict[str, Command]:
        """Commands by name."""
        return {
            "list": self.groups,
            "get": self._get,
            "explain": self._explain,
            "search": self._search,
            "describe": self._describe,
            "history": self._history,
            "diff": self._diff,
            "drift": self._drift,
            "quarantined": self._quarantined,
            "used-by": self._used_by,
        }

    @property
    def _store(self) -> FeatureStore:
        return self._session.features

    def groups(self, words: list[str]) -> Table:
        """List the feature groups; its help tells all commands."""
        wanted = parser("%features", COMMANDS)
        wanted.add_argument("-n", "--limit", type=int, default=50, help="groups to show (default: 50)")
        wanted.add_argument("--offset", type=int, default=0, help="groups to leave out before them")
        chosen = wanted.parse_args(words)
        _check_page(chosen)
        found = self._store.groups(limit=chosen.limit + 1, offset=chosen.offset)
        more = f"more with --offset {chosen.offset + chosen.limit}" if len(found) > chosen.limit else ""
        return pages.groups_table(found[: chosen.limit], note=more)

    @naming_flags(Request)
    def _get(self, words: list[str]) -> Any:
        wanted = request_parser("%features get", "Features by name, joined; columns come back in the order asked.")
        wanted.add_argument("--as", dest="form", metavar="FORM", help=f"put them into a variable as {', '.join(FORMS)}")
        wanted.add_argument("--out", metavar="NAME", help="name of the variable; by default after the form, e.g. df")
        chosen = wanted.parse_args(words)
        if chosen.form is not None:
            words_of.check_form(chosen.form)
        if chosen.out is not None:
            words_of.check_name(chosen.out, "--out")
        request = self._request(chosen)
        if chosen.form is None and chosen.out is None:
            # what may be long goes into files, of which a page at a time is read
            return Answer(self._store.shown(request), ", ".join(request.names), widget=_live_table)
        form = chosen.form or "df"
        return put(self._shell, self._session, chosen.out or _NAMES[form], self._store.answer(request, form), form)

    @naming_flags(Request)
    def _explain(self, words: list[str]) -> Page:
        wanted = request_parser("%features explain", "How features would be joined.")
        return pages.explanation_page(self._store.explain(self._request(wanted.parse_args(words))))

    def _search(self, words: list[str]) -> Table:
        wanted = parser("%features search", "Groups and features whose name, tags or description contain all words.")
        wanted.add_argument("text", nargs="+", help="words")
        wanted.add_argument("-n", "--limit", type=int, default=50, help="matches to show (default: 50)")
        wanted.add_argument("--offset", type=int, default=0, help="matches to leave out before them")
        chosen = wanted.parse_args(words)
        _check_page(chosen)
        return pages.matches_table(self._store.search(" ".join(chosen.text), limit=chosen.limit, offset=chosen.offset))

    def _describe(self, words: list[str]) -> Page:
        wanted = parser("%features describe", "A group's columns, keys, rules, and statistics as pictures.")
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
        wanted.add_argument("--commit", metavar="TIME|COMMIT", help="statistics as they were then")
        wanted.add_argument("--no-stats", action="store_true", help="without statistics")
        chosen = wanted.parse_args(words)
        group = self._store.group(chosen.group)
        parts = [*pages.group_page(group, self._store.versions(group.name)).parts]
        if not chosen.no_stats:
            commit = moment_of(chosen.commit) if chosen.commit else None
            statistics = self._store.statistics(chosen.group, commit)
            parts += statistics_page("Statistics", statistics, group.columns).parts
        return Page(parts)

    def _history(self, words: list[str]) -> Table:
        wanted = parser("%features history", "The commits of a group, newest first.")
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
        return pages.history_table(self._store.history(wanted.parse_args(words).group))

    def _diff(self, words: list[str]) -> Page:
        wanted = _two_commits("%features diff", "Rows that were added, changed and removed between two commits.")
        wanted.add_argument("-n", "--limit", type=int, default=20, help="rows of each kind to show (default: 20)")
        chosen = wanted.parse_args(words)
        return pages.difference_page(
            self._store.diff(chosen.group, moment_of(chosen.a), _second(chosen), limit=chosen.limit)
        )

    def _drift(self, words: list[str]) -> Page:
        wanted = _two_commits("%features drift", "How the distributions of features moved between two commits.")
        chosen = wanted.parse_args(words)
        return drift_page(self._store.drift(chosen.group, moment_of(chosen.a), _second(chosen)))

    def _quarantined(self, words: list[str]) -> Answer:
        wanted = parser("%features quarantined", "Rows of a group that broke a rule and were put aside.")
        wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
        group = wanted.parse_args(words).group
        found = self._store.quarantined(group, "arrow")
        return Answer(AnswerRows(found), f"put aside from {group}", widget=_live_table)

    def _used_by(self, words: list[str]) -> Table:
        wanted = parser("%features used-by", "The training datasets, runs and models that come from a group or feature.")
        wanted.add_argument("name", metavar="NAME", help="GROUP, GROUP@VERSION, GROUP.FEATURE, FEATURE or DATASET")
        return pages.uses_table(self._session.uses_of(wanted.parse_args(words).name))

    def _request(self, chosen: Namespace) -> Request:
        return requested(chosen, self._shell.user_ns)


def put(shell: InteractiveShell, session: Session, name: str, value: Any, form: str) -> Sentence:
    """Give an answer a name in the notebook, and say so."""
    shell.user_ns[name] = value
    session.provenance.named(name, session.inputs_read())
    return Sentence(f"{name}: {pages.shape_of(value, _FORM_WORDS.get(form, 'streamed'))}")


def _live_table(rows: AnswerRows, title: str) -> Any:
    # half a second of imports, paid only where a table is shown
    from hops_magic.boards.answer_table import AnswerTable

    return AnswerTable(rows, title)


def requested(chosen: Namespace, names: Mapping[str, Any]) -> Request:
    """Return the request that a line with the options of :func:`request_parser` makes."""
    return request_of(
        *chosen.names,
        spine=words_of.variable(names, chosen.spine, "--spine") if chosen.spine else None,
        event_time=chosen.event_time,
        keys=words_of.keys(names, chosen.keys) if chosen.keys else None,
        on=getattr(chosen, "on", ()),
        as_of=moment_of(chosen.as_of) if chosen.as_of else None,
        max_age=words_of.ages(chosen.max_age),
        exclude_late=chosen.exclude_late,
        allow_fanout=chosen.allow_fanout,
        with_keys=chosen.with_keys,
        limit=chosen.limit,
    )


def request_parser(prog: str, about: str) -> MagicParser:
    """Return a parser for a line that asks for features."""
    wanted = parser(prog, about)
    wanted.add_argument("names", nargs="+", metavar="NAME", help="FEATURE, GROUP.FEATURE, GROUP@VERSION.FEATURE, GROUP.*")
    wanted.add_argument(
        "--spine", metavar="VARIABLE", help="rows to find features for; the answer is these rows, in their order"
    )
    wanted.add_argument("--event-time", metavar="COLUMN", help="column of the spine: when values must have been known")
    wanted.add_argument("--keys", nargs="+", metavar="KEY=A,B", help="look up present values: KEY=VALUE,... or a variable")
    add_options(wanted, Request)
    wanted.add_argument("--as-of", metavar="TIME|COMMIT", help="read the groups as they were then")
    wanted.add_argument("--max-age", action="append", default=[], metavar="[GROUP=]7d", help="older values count as unknown")
    wanted.add_argument("--exclude-late", action="store_true", help="leave out rows written after the moment asked for")
    wanted.add_argument("--allow-fanout", action="store_true", help="accept a join that gives a row several times")
    wanted.add_argument("--with-keys", action="store_true", help="put the key of the base group before the features")
    wanted.add_argument("-n", "--limit", type=int, help="rows to return at most")
    return wanted


def _two_commits(prog: str, about: str) -> MagicParser:
    wanted = parser(prog, about)
    wanted.add_argument("group", metavar="GROUP[@VERSION]", help="the group")
    wanted.add_argument("a", metavar="A", help="a commit, or a time")
    wanted.add_argument("b", metavar="B", nargs="?", help="a later one; the newest if not said")
    return wanted


def _second(chosen: Namespace) -> Any:
    return moment_of(chosen.b) if chosen.b else None


def _check_page(chosen: Namespace) -> None:
    if chosen.limit < 1 or chosen.offset < 0:
        raise UsageError(f"--limit must be at least 1 and --offset at least 0, got {chosen.limit} and {chosen.offset}")
