"""``%cluster`` shows the cluster in use, starts, scales and stops the embedded one, and turns to another."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from IPython.core.magic import Magics, line_magic, magics_class

from hops_magic.errors import NotFoundError, UsageError
from hops_magic.magics.cluster_table import ClusterTable
from hops_magic.magics.commands import Sentence
from hops_magic.options import HelpShown, MagicParser, as_dict, check, option, parser_for

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.engine.cluster import Cluster, Clusters

_COMMANDS = """\
%(prog)s                       show workers, slots, GPUs, memory and runs
%(prog)s start                 start the embedded cluster, or turn back to it
%(prog)s scale WORKERS         change the number of workers
%(prog)s stop [--force]        end the embedded cluster, or leave another
%(prog)s connect PLACE         use the cluster at an address or behind a scheduler file
%(prog)s use NAME              use a distributed.Client or cluster object of the notebook
each but the first has -h"""


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """Options of ``%cluster start``."""

    workers: int | None = option(None, "workers; default: one per GPU, else one per core, 2 to 4", flags=("-n",), at_least=1)
    threads: int | None = option(None, "threads of each worker; default: its share of the cores", at_least=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class StopOptions:
    """Options of ``%cluster stop``."""

    force: bool = option(False, "end it even while runs are going on")


@dataclass(frozen=True, kw_only=True)
class ConnectOptions:
    """Options of ``%cluster connect``."""

    tls_ca: str | None = option(None, "PEM file of the authority that signed the scheduler's certificate", metavar="FILE")
    tls_cert: str | None = option(None, "PEM file of the certificate to show", metavar="FILE")
    tls_key: str | None = option(None, "PEM file of its key, unless it stands in the certificate's file", metavar="FILE")


class ClusterCommand:
    """The words after ``%cluster``, for notebooks and the command line.

    Parameters
    ----------
    prog
        How the user writes the command.
    """

    def __init__(self, clusters: Clusters, prog: str = "%cluster") -> None:
        self._clusters, self._prog = clusters, prog

    def run(self, words: Sequence[str], names: Mapping[str, Any] | None = None) -> ClusterTable | Sentence:
        """Do what the words say; return what to show.

        Parameters
        ----------
        names
            The notebook's names, for ``use``.
        """
        commands = {name: getattr(self, f"_{name}") for name in ("start", "scale", "stop", "connect", "use")}
        if not words:
            return self._status()
        if words[0] in ("-h", "--help"):
            return Sentence(_COMMANDS % {"prog": self._prog})
        if words[0] not in commands:
            raise UsageError(f"{self._prog} {words[0]}: there is no such command; {self._prog} -h lists them")
        shown: ClusterTable | Sentence = commands[words[0]](list(words[1:]), names or {})
        return shown

    def _status(self) -> ClusterTable | Sentence:
        try:
            return ClusterTable(self._clusters.current(start=False).status())
        except NotFoundError:
            return Sentence(f"no cluster is running; the first job starts one, or {self._prog} start")

    def _start(self, words: list[str], _: Mapping[str, Any]) -> ClusterTable:
        options = self._parse(words, "start", StartOptions, "Start the embedded cluster, or turn back to it.")
        chosen = StartOptions(**_given(options, StartOptions))
        return _table(self._clusters.start(**as_dict(chosen)))

    def _scale(self, words: list[str], _: Mapping[str, Any]) -> ClusterTable:
        parser = MagicParser(prog=f"{self._prog} scale", description="Change the number of workers.", allow_abbrev=False)
        parser.add_argument("workers", type=int, help="workers to have")
        return _table(self._clusters.scale(parser.parse_args(words).workers))

    def _stop(self, words: list[str], _: Mapping[str, Any]) -> Sentence:
        options = self._parse(
            words, "stop", StopOptions, "End the embedded cluster, or leave the one in use if it is another."
        )
        before = self._clusters.in_use
        if not self._clusters.stop(**_given(options, StopOptions)):
            return Sentence("no cluster was running")
        other = before is not None and not before.kind.is_ours
        return Sentence(f"left {before.address}, which goes on" if before and other else "the embedded cluster has ended")

    def _connect(self, words: list[str], _: Mapping[str, Any]) -> ClusterTable:
        description = "Use the cluster at an address, such as tls://host:8786, or behind a scheduler file."
        options = self._parse(words, "connect", ConnectOptions, description, "place")
        return _table(self._clusters.connect(options.place, **_given(options, ConnectOptions)))

    def _use(self, words: list[str], names: Mapping[str, Any]) -> ClusterTable:
        parser = MagicParser(prog=f"{self._prog} use", description="Use a client or cluster object.", allow_abbrev=False)
        parser.add_argument("name", help="its name in the notebook")
        name = parser.parse_args(words).name
        if name not in names:
            raise UsageError(f"{self._prog} use {name}: the notebook has no such name")
        return _table(self._clusters.use(names[name]))

    def _parse(
        self, words: list[str], command: str, options_type: type, description: str, *positional: str
    ) -> argparse.Namespace:
        parser = parser_for(options_type, f"{self._prog} {command}", description)
        for name in positional:
            parser.add_argument(name, metavar=name.upper())
        return parser.parse_args(words)


def _given(parsed: argparse.Namespace, options_type: type) -> dict[str, Any]:
    return {name: value for name, value in vars(parsed).items() if name in {item.name for item in fields(options_type)}}


def _table(cluster: Cluster) -> ClusterTable:
    return ClusterTable(cluster.status())


class HasClusters(Protocol):
    """What the magic needs of a session."""

    @property
    def clusters(self) -> Clusters:
        """The session's holder of clusters."""
        ...


@magics_class
class ClusterMagics(Magics):
    """The magic ``%cluster``."""

    def __init__(self, shell: InteractiveShell, session: HasClusters) -> None:
        super().__init__(shell)
        self.session = session

    @line_magic
    def cluster(self, line: str) -> ClusterTable | Sentence | None:
        """Show, start, scale, stop or change the cluster; ``%cluster -h`` lists the commands."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"%cluster {line}: {error}") from error
        try:
            return ClusterCommand(self.session.clusters).run(words, self.shell.user_ns)
        except HelpShown:
            return None
