"""``%experiments`` lists the runs of the record, shows, compares, deletes and restores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class

from hops_magic.errors import counted
from hops_magic.magics.commands import Sentence, parser, run_line
from hops_magic.options import as_dict, check, option, parser_for
from hops_magic.pruning import delete_runs
from hops_magic.runs.states import RunState
from hops_magic.widgets.records import comparison_page, experiments_table, run_page, runs_table
from hops_magic.widgets.tables import Page, Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session

_COMMANDS = """\
list runs, newest first. Commands, each with -h:
  %experiments names                 the experiments
  %experiments show RUN              one run in full
  %experiments compare RUN RUN ...   what differs between runs
  %experiments delete RUN ... --yes  delete runs
  %experiments restore [RUN ...]     bring deleted runs back, by default the last ones
RUN is an id, the beginning of an id, or a name."""


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of the list."""

    experiment: str | None = option(None, "only runs of this experiment", flags=("-e",), metavar="NAME")
    state: str | None = option(None, "only runs in this state", choices=[state.value for state in RunState])
    text: str | None = option(None, "only runs whose name, id, user, notebook or experiment contains this")
    filter: str | None = option(None, "only runs for which this holds, e.g. 'metrics.val_loss < 0.3'", metavar="CONDITION")
    sort: str = option(
        "-started", "started, ended, name, state, user or a metric; - before it for descending", metavar="KEY"
    )
    limit: int = option(20, "runs to show", flags=("-n",), at_least=1)
    offset: int = option(0, "runs to leave out before them", at_least=0)
    trials: bool = option(False, "the trials of studies too, which are else shown with their study")

    def __post_init__(self) -> None:
        check(self)


@magics_class
class ExperimentsMagics(Magics):
    """The magic of experiments."""

    def __init__(self, shell: InteractiveShell | None, session: Session) -> None:
        super().__init__(shell)
        self._session = session

    @line_magic
    def experiments(self, line: str) -> Any:
        """List runs; ``%experiments -h`` tells the options and the other commands."""
        commands = {
            "names": self._names,
            "show": self._show,
            "compare": self._compare,
            "delete": self._delete,
            "restore": self._restore,
        }
        return run_line("%experiments", _with_negative_sort(line), commands, self._list)

    def _list(self, words: list[str]) -> Table:
        options = ListOptions(**vars(parser_for(ListOptions, "%experiments", _COMMANDS).parse_args(words)))
        self._session.reconcile()
        runs = self._session.registry.runs(**as_dict(options))
        more = f"more with --offset {options.offset + options.limit}" if len(runs) == options.limit else ""
        return runs_table(runs, note=more)

    def _names(self, words: list[str]) -> Table:
        parser("%experiments names", "List the experiments.").parse_args(words)
        return experiments_table(self._session.registry.experiments())

    def _show(self, words: list[str]) -> Page:
        wanted = parser("%experiments show", "Show one run in full.")
        wanted.add_argument("run", nargs="+", help="id, beginning of an id, or name")
        registry = self._session.registry
        info = registry.run(" ".join(wanted.parse_args(words).run))
        return run_page(
            info,
            source=registry.text(info, "cell.py", default=""),
            captured=registry.captured(info),
            error=registry.error(info),
            output=registry.output(info),
            trials=registry.children(info),
        )

    def _compare(self, words: list[str]) -> Page:
        wanted = parser("%experiments compare", "Show what differs between runs.")
        wanted.add_argument("runs", nargs="+", help="ids, beginnings of ids, or names")
        return comparison_page(self._session.registry.compare(*wanted.parse_args(words).runs))

    def _delete(self, words: list[str]) -> Sentence:
        wanted = parser("%experiments delete", "Delete runs, a study with its trials; restore brings them back.")
        wanted.add_argument("runs", nargs="+", help="ids, beginnings of ids, or names")
        wanted.add_argument("--yes", action="store_true", help="do it; without this, only say what would be deleted")
        chosen, registry = wanted.parse_args(words), self._session.registry
        if not chosen.yes:
            names = ", ".join(f"{info.name} ({info.run_id})" for info in map(registry.run, chosen.runs))
            return Sentence(f"this would delete {names}: say so with --yes")
        gone = delete_runs(registry, chosen.runs)
        return Sentence(f"deleted {counted(len(gone), 'run')}: %experiments restore brings them back")

    def _restore(self, words: list[str]) -> Sentence | Table:
        wanted = parser("%experiments restore", "Bring deleted runs back; without names, those that were deleted last.")
        wanted.add_argument("runs", nargs="*", help="ids, beginnings of ids, or names")
        back = self._session.registry.restore(wanted.parse_args(words).runs)
        return runs_table(back) if back else Sentence("there is nothing to restore")


def _with_negative_sort(line: str) -> str:
    """Let ``--sort -val_loss`` be what it looks like: argparse takes ``-val_loss`` for an option."""
    return line.replace("--sort -", "--sort=-")
