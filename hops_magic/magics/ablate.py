"""``%%ablate`` leaves out one component of a cell at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from hops_magic.errors import UsageError
from hops_magic.magics.bodies import require_body
from hops_magic.magics.commands import naming_flags, parse_options, say_detached
from hops_magic.magics.surroundings import surroundings_of
from hops_magic.options import HelpShown
from hops_magic.tuning.ablation import AblateOptions, AblationStudy
from hops_magic.tuning.preparing import prepare_ablation

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session

_ABOUT = """Run the cell once as it is, and once without each of its components: features, layers, flags, or what the
cell marks with hops.ablate.on("name"), hops.ablate.features([...]) and hops.ablate.layer("name", layer)."""


@magics_class
class AblateMagics(Magics):
    """The magic of ablations."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @cell_magic
    @naming_flags(AblateOptions)
    def ablate(self, line: str, cell: str) -> Any:
        """Leave out one component of the cell at a time; ``%%ablate -h`` lists the options."""
        try:
            options = parse_options(AblateOptions, "%%ablate", line, _ABOUT)
        except HelpShown:
            return None
        require_body("%%ablate", cell)
        prepared = prepare_ablation(cell, self.shell.user_ns, options, surroundings_of(self.shell, self.session))
        if options.dry_run:
            return prepared.trial.captured.report
        ended = self.session.run_study(prepared, self.shell.user_ns)
        if not isinstance(ended, AblationStudy):
            return say_detached(ended.run_id, prepared.name)
        return None  # the view has shown what each component is worth

    @line_magic("ablate")
    def ablate_line(self, line: str) -> None:
        """Show the options; an ablation needs a cell."""
        if line.strip() not in ("", "-h", "--help"):
            raise UsageError("%ablate needs a cell: write %%ablate on the first line and the code below it")
        parse_options(AblateOptions, "%%ablate", "-h", _ABOUT)
