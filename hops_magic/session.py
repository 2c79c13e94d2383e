"""What one kernel or script works with: its cluster, its settings, its registry. The one place that composes the parts."""

from __future__ import annotations

import functools
import inspect
import socket
from collections.abc import Callable, MutableMapping
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import OptionError
from hops_magic.registry import check_reachable_from, open_registry, recorder_for
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.settings import Settings
from hops_magic.training import Prepared, Surroundings, Trained, collect, follow, prepare, start
from hops_magic.widgets import RunView, detect, open_view

if TYPE_CHECKING:
    from hops_magic.engine.cluster import Cluster, Clusters
    from hops_magic.engine.submit import LiveRun, RunHandle
    from hops_magic.registry import Registry


class Session:
    """A kernel's or script's way to clusters, runs and records."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @functools.cached_property
    def clusters(self) -> Clusters:
        """The cluster in use, and ways to another."""
        from hops_magic.engine.cluster import Clusters

        return Clusters()

    @functools.cached_property
    def registry(self) -> Registry:
        """Experiments, runs and models."""
        return open_registry(self.settings)

    def load_model(self, path: Path) -> Any:
        """Load a model file into this process."""
        from hops_magic.frameworks.keras import load_model

        return load_model(path)

    def train(
        self,
        program: str | Callable[[], Any],
        *,
        cluster: Cluster | None = None,
        namespace: MutableMapping[str, Any] | None = None,
        show: bool = True,
        **options: Any,
    ) -> Trained | RunHandle:
        """Run a function, or the source of a cell, on the ranks of a cluster; see :func:`train`."""
        source, names, surroundings = _as_source(program, namespace)
        prepared = prepare(source, names, _options(options), surroundings)
        return self.run(prepared, names, cluster=cluster, show=show)

    def run(
        self, prepared: Prepared, namespace: MutableMapping[str, Any], *, cluster: Cluster | None = None, show: bool = True
    ) -> Trained | RunHandle:
        """Start a prepared program; follow it to its end and bring its values back, unless it is detached."""
        cluster = cluster or self.clusters.current()
        check_reachable_from(self.settings, cluster_is_local=cluster.is_local)
        handle = start(cluster, prepared, recorder_for(self.settings, prepared, cluster))
        if prepared.options.detach:
            return handle
        return self.watch(handle, namespace, report_html=prepared.captured.report.html(), show=show)

    def watch(
        self, handle: RunHandle, namespace: MutableMapping[str, Any], *, report_html: str = "", show: bool = True
    ) -> Trained:
        """Follow a run to its end, shown live, and bring its values back."""
        if not show:
            return collect(handle, namespace, follow(handle))
        view = open_view(handle.follower.run, report_html=report_html, on_stop=handle.stop)
        run = handle.follower.run
        try:
            run = follow(handle, view.update)
        finally:
            view.close(run)
        return collect(handle, namespace, run)

    def attach(self, run_id: str, namespace: MutableMapping[str, Any], *, show: bool = True) -> Trained:
        """Follow a run that is on the cluster in use, and bring its values back."""
        from hops_magic.engine.submit import attach

        return self.watch(attach(self.clusters.current(start=False).client, run_id), namespace, show=show)

    def reconcile(self) -> None:
        """Mark runs as lost that the record calls live although their cluster is gone, or knows them no more."""
        unfinished = self.registry.unfinished()
        if not unfinished:
            return
        from hops_magic.engine.submit import live_runs

        cluster = self.clusters.in_use
        live = (
            {run.run_id for run in live_runs(cluster.client) if not run.is_final} if cluster and cluster.is_usable else set()
        )
        lost = []
        for info in unfinished:
            address = str(info.facts.get("cluster", {}).get("address", ""))
            if cluster is not None and address == cluster.address:
                is_lost = info.run_id not in live
            else:
                is_lost = bool(info.facts.get("cluster", {}).get("is_local")) and not _answers(address)
            if is_lost:
                lost.append(info.run_id)
        if lost:
            self.registry.mark_lost(lost)

    def live_runs(self) -> list[LiveRun]:
        """Return the runs that the cluster in use knows, newest first."""
        from hops_magic.engine.submit import live_runs

        return live_runs(self.clusters.current(start=False).client)


def _answers(address: str) -> bool:
    """Whether a scheduler still listens at an address of this machine; True when that cannot be told."""
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        return True
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=1.0).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def _options(given: dict[str, Any]) -> DistributedOptions:
    known = DistributedOptions.__dataclass_fields__
    for name, value in given.items():
        if name not in known:
            raise OptionError(name, "is no option of a run", value, f"the options are {', '.join(known)}")
    return DistributedOptions(**given)


def _as_source(
    program: str | Callable[[], Any], namespace: MutableMapping[str, Any] | None
) -> tuple[str, MutableMapping[str, Any], Surroundings]:
    if isinstance(program, str):
        origin = CellOrigin(label="script", first_line=1)
        return program, {} if namespace is None else namespace, Surroundings(origin=origin)
    if not callable(program):
        raise OptionError("program", "must be a function without arguments or source code", program)
    name = getattr(program, "__name__", "program")
    file = inspect.getsourcefile(program) if inspect.isfunction(program) else None
    folder = Path(file).parent if file and Path(file).is_file() else Path.cwd()
    surroundings = Surroundings(origin=CellOrigin(label=name, first_line=1), folder=folder)
    return "program()", {"program": program}, surroundings


@functools.cache
def session() -> Session:
    """Return this process's session."""
    return Session(Settings.from_environment())


def train(program: str | Callable[[], Any], **options: Any) -> Trained | RunHandle:
    """Run a function, or the source of a cell, on the ranks of a cluster.

    Parameters
    ----------
    program : callable or str
        A function without arguments, or source code whose free names are looked up in ``namespace``.
    cluster : Cluster, optional
        Default: the one in use, or the embedded one, which is started if need be.
    namespace : mapping, optional
        Where source code finds its names and leaves its results.
    show : bool
        Show progress in the notebook or terminal.
    **options
        Fields of :class:`~hops_magic.runs.options.DistributedOptions`.

    Returns
    -------
    Trained
        For a function, ``value`` is what it returned on rank 0. With ``detach=True`` a handle of the run instead.
    """
    return session().train(program, **options)


def live_runs() -> list[LiveRun]:
    """Return the runs that the cluster in use knows, newest first."""
    return session().live_runs()


def watch(run_id: str, *, show: bool = True) -> Run:
    """Follow a run on the cluster in use until it is final, shown live; its values stay there for ``%attach``.

    On a voila page it returns at once, with the run as it is, since such a page is shown only when its cells have ended.
    """
    from hops_magic.engine.submit import attach

    current = session()
    handle = attach(current.clusters.current(start=False).client, run_id)
    if not show:
        return follow(handle)
    view = open_view(handle.follower.run, on_stop=handle.stop)
    if detect().is_blocked_by_cells:
        Thread(target=_follow_to_end, args=(handle, view), name=f"hops-watch-{run_id}", daemon=True).start()
        return handle.follower.run
    return _follow_to_end(handle, view)


def _follow_to_end(handle: RunHandle, view: RunView) -> Run:
    try:
        return follow(handle, view.update)
    finally:
        view.close(handle.follower.run)
