"""``%%distributed`` trains a cell on the cluster; ``%attach`` follows a run that is already there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, magics_class

from hops_magic.errors import UsageError
from hops_magic.magics.bodies import accept_without_body, require_body
from hops_magic.magics.commands import Sentence, naming_flags, parse_options, say_detached
from hops_magic.magics.surroundings import surroundings_of
from hops_magic.options import HelpShown
from hops_magic.runs.options import DistributedOptions
from hops_magic.training import Trained, prepare
from hops_magic.widgets.tables import Cell, Column, Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session

_ATTACH = """\
%attach                        list the runs on the cluster, and those that have ended and whose values wait
%attach RUN                    follow a run or study to its end and bring its values into the notebook
RUN is an id, the beginning of an id, or a name."""


@magics_class
class DistributedMagics(Magics):
    """Magics that start and follow runs."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    def register(self) -> None:
        """Register the magics; beside another extension that owns ``%%distributed``, as ``%%hops_distributed`` only."""
        accept_without_body(self.shell)
        manager = self.shell.magics_manager
        other = self.shell.find_cell_magic("distributed")
        manager.register_function(self.distributed, "cell", "hops_distributed")
        manager.register_function(self.attach, "line", "attach")
        if other is None or _is_ours(other):
            manager.register_function(self.distributed, "cell", "distributed")
        else:
            owner = getattr(other, "__module__", "another extension")
            sys.stderr.write(f"%%distributed belongs to {owner} here: use %%hops_distributed\n")

    @naming_flags(DistributedOptions)
    def distributed(self, line: str, cell: str) -> Any:
        """Run the cell's body on the ranks of the cluster; ``%%distributed -h`` lists the options."""
        try:
            options = parse_options(DistributedOptions, "%%distributed", line)
        except HelpShown:
            return None
        require_body("%%distributed", cell)
        namespace = self.shell.user_ns
        prepared = prepare(cell, namespace, options, surroundings_of(self.shell, self.session))
        if options.dry_run:
            return prepared.captured.report
        ended = self.session.run(prepared, namespace)
        if not isinstance(ended, Trained):
            return say_detached(prepared.run_id, prepared.name)
        return self._show(ended)

    def attach(self, line: str) -> Any:
        """List the runs whose values wait, or follow one: ``%attach [RUN]``; it may have ended with its cluster."""
        wanted = line.strip()
        if wanted in ("-h", "--help"):
            return Sentence(_ATTACH)
        if wanted.startswith("-"):
            raise UsageError(f"%attach has no option {wanted[:80]}: %attach -h tells what it does")
        if wanted:
            ended = self.session.attach(wanted, self.shell.user_ns)
            return self._show(ended) if isinstance(ended, Trained) else ended
        heads = ["Run", "Name", "Experiment", "State"]
        return Table(
            columns=[*(Column(title=head) for head in heads), Column(title="Ranks", is_number=True)],
            rows=[
                [
                    Cell(run.run_id, is_strong=True),
                    Cell(run.name),
                    Cell(run.experiment),
                    Cell(f"{run.state.value}, its values wait" if run.is_final and run.has_values else run.state.value),
                    Cell(str(run.world_size)),
                ]
                for run in self.session.runs_to_attach()
            ],
            empty="no runs on this cluster, and no values that wait",
        )

    def _show(self, trained: Trained) -> Any:
        for name, why in trained.left_behind.items():
            sys.stderr.write(f"{name} stayed on the cluster: {why}\n")
        if trained.has_value:
            return trained.value
        if trained.display:
            from IPython.display import display

            display(dict(trained.display), raw=True)
        return None


def _is_ours(magic: Any) -> bool:
    return bool(type(getattr(magic, "__self__", None)).__name__ == DistributedMagics.__name__)
