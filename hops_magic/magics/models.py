"""``%models`` registers models from runs, lists their versions, names them by alias and loads them into the notebook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class

from hops_magic.errors import NotFoundError, UsageError
from hops_magic.frameworks.torch import is_module
from hops_magic.magics.commands import Sentence, parser, run_line
from hops_magic.widgets.records import model_page, models_table, versions_table
from hops_magic.widgets.tables import Page, Table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session

_COMMANDS = """\
List the registered models. Commands, each with -h:
  %models versions NAME                      versions, with the runs that made them
  %models show NAME[@ALIAS|/VERSION]         one version: its run, and the features behind it
  %models register NAME --run RUN            make a run's model the next version
  %models load NAME[@ALIAS|/VERSION] --as x  load a version into the notebook
  %models alias NAME ALIAS VERSION           let an alias mean a version
  %models delete NAME[/VERSION] --yes        take a version, or a model, out of the registry for good"""


@magics_class
class ModelsMagics(Magics):
    """The magic of models."""

    def __init__(self, shell: InteractiveShell | None, session: Session) -> None:
        super().__init__(shell)
        self._session = session

    @line_magic
    def models(self, line: str) -> Any:
        """List models; ``%models -h`` tells the other commands."""
        commands = {
            "list": self._list,
            "versions": self._versions,
            "show": self._show,
            "register": self._register,
            "load": self._load,
            "alias": self._alias,
            "delete": self._delete,
        }
        return run_line("%models", line, commands, self._list)

    def _list(self, words: list[str]) -> Table:
        parser("%models", _COMMANDS).parse_args(words)
        return models_table(self._session.registry.models())

    def _versions(self, words: list[str]) -> Table:
        wanted = parser("%models versions", "List the versions of a model, newest first.")
        wanted.add_argument("name", help="the model")
        return versions_table(self._session.registry.versions(wanted.parse_args(words).name))

    def _show(self, words: list[str]) -> Page:
        wanted = parser("%models show", "Show a version: the run that made it, and the features that this run read.")
        wanted.add_argument("name", metavar="NAME[@ALIAS|/VERSION]", help="the model; the newest version if none is said")
        registry = self._session.registry
        version = registry.version(*split_reference(wanted.parse_args(words).name))
        try:
            made_by = registry.run(version.run_id) if version.run_id else None
        except NotFoundError:
            # the run was deleted for good with MLflow's own tools
            made_by = None
        return model_page(version, made_by)

    def _register(self, words: list[str]) -> Table:
        wanted = parser("%models register", "Make a run's model the next version of a model, which is made if need be.")
        wanted.add_argument("name", help="the model")
        wanted.add_argument("--run", required=True, help="id, beginning of an id, or name of the run")
        wanted.add_argument("--var", help="name in the notebook of the trained model, if the record has none")
        wanted.add_argument("--path", help="file of the trained model, if the record has none")
        chosen = wanted.parse_args(words)
        model = self._variable(chosen.var) if chosen.var else None
        version = self._session.registry.register(chosen.run, chosen.name, chosen.path, model=model)
        return versions_table([version])

    def _load(self, words: list[str]) -> Sentence:
        wanted = parser("%models load", "Load a version into the notebook; without alias or version, the newest.")
        wanted.add_argument("name", metavar="NAME[@ALIAS|/VERSION]", help="the model")
        wanted.add_argument("--as", dest="variable", default="model", help="name in the notebook (default: model)")
        chosen = wanted.parse_args(words)
        if not chosen.variable.isidentifier():
            raise UsageError(f"--as must be a name of Python, got {chosen.variable[:80]!r}")
        name, which = split_reference(chosen.name)
        registry = self._session.registry
        version = registry.version(name, which)
        self._names()[chosen.variable] = registry.load(name, version.version, loader=self._session.load_model)
        return Sentence(f"{chosen.variable} is {name} version {version.version}, made by run {version.run_name}")

    def _alias(self, words: list[str]) -> Table:
        wanted = parser("%models alias", "Let an alias mean a version; it moves there from any other.")
        wanted.add_argument("name", help="the model")
        wanted.add_argument("alias", help="e.g. champion")
        wanted.add_argument("version", help="a number, or another alias")
        chosen, registry = wanted.parse_args(words), self._session.registry
        registry.set_alias(chosen.name, chosen.alias, chosen.version)
        return versions_table(registry.versions(chosen.name))

    def _delete(self, words: list[str]) -> Sentence:
        wanted = parser("%models delete", "Take a version, or a model with all its versions, out of the registry for good.")
        wanted.add_argument("name", metavar="NAME[@ALIAS|/VERSION]", help="the model, or one version of it")
        wanted.add_argument("--yes", action="store_true", help="do it; without this, only say what would be deleted")
        chosen, registry = wanted.parse_args(words), self._session.registry
        name, which = split_reference(chosen.name)
        found = registry.versions(name) if which is None else [registry.version(name, which)]
        what = f"model {name} with {len(found)} versions" if which is None else f"version {found[0].version} of {name}"
        if not chosen.yes:
            return Sentence(f"this would delete {what} for good: say so with --yes")
        if which is None:
            registry.delete_model(name)
        else:
            registry.delete_version(name, found[0].version)
        return Sentence(f"deleted {what}; the files stay with their runs")

    def _variable(self, name: str) -> Any:
        names = self._names()
        if name not in names:
            raise UsageError(f"--var {name[:80]}: there is no such name in the notebook")
        if not hasattr(names[name], "save") and not is_module(names[name]):
            raise UsageError(f"--var {name} must be a model that can be saved, got {type(names[name]).__name__}")
        return names[name]

    def _names(self) -> dict[str, Any]:
        names: dict[str, Any] = self.shell.user_ns
        return names


def split_reference(reference: str) -> tuple[str, str | None]:
    """``digits@champion`` -> ``("digits", "champion")``; ``digits/3`` -> ``("digits", "3")``."""
    found = re.fullmatch(r"([^@/]+)(?:[@/]([^@/]+))?", reference)
    if found is None:
        raise UsageError(f"a model is written NAME, NAME@ALIAS or NAME/VERSION, got {reference[:80]!r}")
    return found.group(1), found.group(2)
