"""``%%tune`` runs a cell as the trials of a study."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from hops_magic.errors import UsageError
from hops_magic.magics.bodies import require_body
from hops_magic.magics.commands import naming_flags, say_detached
from hops_magic.magics.surroundings import surroundings_of
from hops_magic.options import HelpShown, parser_for
from hops_magic.tuning.inline import parse_assignment, split_line
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.preparing import PreparedStudy, prepare_study
from hops_magic.tuning.results import TunedStudy
from hops_magic.tuning.space import Space

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_ABOUT = """Run the cell's body as trials with different hyperparameters, each a variable of the cell:
name=uniform(low, high), loguniform, quniform(low, high, q), randint, normal, lognormal, choice([...]), grid([...]), or
a constant.
A dictionary of the notebook with a space is named instead: %%tune space --minimize val_loss"""
_SEARCHES = ("auto", "tpe", "anneal", "random", "grid", "optuna")
_RULES = ("median", "asha", "hyperband", "none")


@magics_class
class TuneMagics(Magics):
    """The magic of studies."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @cell_magic
    @naming_flags(TuneOptions)
    def tune(self, line: str, cell: str) -> Any:
        """Run the cell as the trials of a study; ``%%tune -h`` lists the options."""
        try:
            prepared = self._prepare(line, cell)
        except HelpShown:
            return None
        if prepared.options.dry_run:
            for name, described in prepared.space.describe().items():
                sys.stdout.write(f"{name}: {described}\n")
            return prepared.trial.captured.report
        ended = self.session.run_study(prepared, self.shell.user_ns)
        if not isinstance(ended, TunedStudy):
            return say_detached(ended.run_id, prepared.name)
        for name, reason in ended.left_behind.items():
            sys.stderr.write(f"{name} stayed on the cluster: {reason}\n")
        return None

    @line_magic("tune")
    def tune_line(self, line: str) -> None:
        """Show the options; a study needs a cell."""
        if line.strip() not in ("", "-h", "--help"):
            raise UsageError("%tune needs a cell: write %%tune on the first line and the code to be tuned below it")
        parse_line("-h", {})

    def _prepare(self, line: str, cell: str) -> PreparedStudy:
        namespace = self.shell.user_ns
        space, options = parse_line(line, namespace)
        require_body("%%tune", cell)
        search = _named(options.search, _SEARCHES, "--search", namespace, ("ask", "tell"))
        stop = _named(options.stop, _RULES, "--stop", namespace, ("report", "ended"))
        return prepare_study(
            cell, namespace, space, options, surroundings_of(self.shell, self.session), search=search, stop=stop
        )


def parse_line(line: str, namespace: Mapping[str, Any]) -> tuple[Space, TuneOptions]:
    """Parse the magic's line: options, distributions, names of spaces in the notebook.

    Raises
    ------
    UsageError
        For an unknown option, a space that is none, or no space at all.
    """
    words = split_line(line)
    inline = [word for word in words if _ASSIGNMENT.match(word)]
    parser = parser_for(TuneOptions, "%%tune", _ABOUT)
    parser.add_argument("space", nargs="*", help="name of a dictionary or hyperopt space in the notebook")
    parsed = vars(parser.parse_intermixed_args([word for word in words if word not in inline]))
    named: list[str] = parsed.pop("space")
    options = TuneOptions(**parsed)
    spaces = [_space_called(name, namespace) for name in named]
    assigned = _assigned(inline)
    if not spaces and not assigned:
        raise UsageError("%%tune needs a space: name=uniform(0, 1) ... on its line, or the name of a dictionary")
    if len(spaces) == 1 and not assigned:
        return Space.of(spaces[0]), options
    together: dict[str, Any] = {}
    for part in (*spaces, assigned):
        if not isinstance(part, Mapping):
            raise UsageError("%%tune: a hyperopt space that is no dictionary cannot be combined with other distributions")
        together |= part
    return Space.of(together), options


def _assigned(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        name, part = parse_assignment(word)
        if name in found:
            raise UsageError(f"%%tune: {name} is given twice, as {found[name]} and {part}: leave one of them out")
        found[name] = part
    return found


def _space_called(name: str, namespace: Mapping[str, Any]) -> Any:
    if name not in namespace:
        close = get_close_matches(name, namespace, n=1)
        hint = f"did you mean {close[0]}?" if close else "define it in a cell first"
        raise UsageError(f"%%tune: there is no space called {name} in the notebook: {hint}")
    return namespace[name]


def _named(name: str, built_in: tuple[str, ...], flag: str, namespace: Mapping[str, Any], methods: tuple[str, str]) -> Any:
    """Return an object of the notebook that an option names; None if it names a built-in one."""
    if name in built_in:
        return None
    if name not in namespace:
        close = get_close_matches(name, [*built_in, *namespace], n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(built_in)}"
        raise UsageError(f"%%tune {flag}: there is no {name}: {hint}")
    found = namespace[name]
    if not all(callable(getattr(found, method, None)) for method in methods):
        raise UsageError(f"%%tune {flag}: {name} is a {type(found).__name__}, which has no methods {' and '.join(methods)}")
    return found
