"""What one kernel or script works with: its cluster, its settings, its registry. The one place that composes the parts."""

from __future__ import annotations

import functools
import inspect
import json
import socket
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from hops_magic.cells.provenance import Provenance
from hops_magic.errors import OptionError, UsageError
from hops_magic.registry import (
    STUDY_FILE,
    check_reachable_from,
    check_writable,
    open_registry,
    recorder_for,
    study_recorder_for,
)
from hops_magic.runs.inputs import FeatureInput, merged
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.runs.summary import Summary
from hops_magic.scripts import Source, as_source, names_read
from hops_magic.settings import Settings
from hops_magic.training import Prepared, Trained, collect, follow, prepare, start
from hops_magic.widgets import StudyView, detect, open_study_view, open_view
from hops_magic.widgets.view import View

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

    from hops_magic.engine.cluster import Cluster, Clusters
    from hops_magic.engine.submit import Handle, LiveRun, RunHandle, StudyHandle
    from hops_magic.features.store import FeatureStore
    from hops_magic.lineage import Use
    from hops_magic.registry import Registry
    from hops_magic.registry.infos import RunInfo
    from hops_magic.registry.study_recorder import StudyRecorderSpec
    from hops_magic.tuning.ablation import AblationStudy
    from hops_magic.tuning.preparing import PreparedStudy
    from hops_magic.tuning.results import TunedStudy
    from hops_magic.tuning.space import Space

Options = TypeVar("Options")


class Session:
    """A kernel's or script's way to clusters, runs and records."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._is_followed = False
        self._script_read: tuple[FeatureInput, ...] = ()

    @functools.cached_property
    def clusters(self) -> Clusters:
        """The cluster in use, and ways to another."""
        from hops_magic.engine.cluster import Clusters

        return Clusters()

    @functools.cached_property
    def registry(self) -> Registry:
        """Experiments, runs and models."""
        return open_registry(self.settings)

    @functools.cached_property
    def features(self) -> FeatureStore:
        """The feature store."""
        from hops_magic.features import default_store

        return default_store()

    @functools.cached_property
    def provenance(self) -> Provenance:
        """Which features the notebook's names come from."""
        return Provenance()

    def cell_ran(self, result: ExecutionResult) -> None:
        """Follow the features that the cell's names come from; registered with the shell."""
        self._is_followed = True
        self.provenance.cell_ran(str(result.info.raw_cell or ""), self.inputs_read())

    def _with_inputs(self, program: str | Callable[..., Any], made: Source) -> Source:
        """Add the features that a script's names come from: where no cells are followed, all that it has read so far."""
        source, names, surroundings = made
        self._script_read = merged([*self._script_read, *([] if self._is_followed else self.inputs_read())])
        inputs = {**dict.fromkeys(names, self._script_read), **self.provenance.by_name}
        if callable(program):
            inputs["program"] = merged([*self._script_read, *self.provenance.of(names_read(program))])
        return source, names, replace(surroundings, inputs=inputs)

    def inputs_read(self) -> tuple[FeatureInput, ...]:
        """Return what has been read of the feature store since this was last asked."""
        from hops_magic import features

        # a store that was never opened has not been read
        return self.features.take_reads() if features.default_store.cache_info().currsize else ()

    def uses_of(self, name: str) -> list[Use]:
        """Return the training datasets, runs and models that were made from a group, feature or dataset."""
        from hops_magic.lineage import uses_of

        return uses_of(name, self.features, self.registry)

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
        source, names, surroundings = self._with_inputs(program, as_source(program, namespace))
        prepared = prepare(source, names, _options_of(DistributedOptions, options), surroundings)
        return self.run(prepared, names, cluster=cluster, show=show)

    def run(
        self, prepared: Prepared, namespace: MutableMapping[str, Any], *, cluster: Cluster | None = None, show: bool = True
    ) -> Trained | RunHandle:
        """Start a prepared program; follow it to its end and bring its values back, unless it is detached."""
        check_writable(self.settings)  # before a cluster is started for a run that cannot be recorded
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
        return collect(handle, namespace, _follow_to_end(handle, view))

    def attach(
        self, run_id: str, namespace: MutableMapping[str, Any], *, show: bool = True
    ) -> Trained | TunedStudy | AblationStudy:
        """Follow a run or study that is on the cluster in use, and bring its values back."""
        from hops_magic.engine.submit import StudyHandle, attach

        handle = attach(self.clusters.current(start=False).client, run_id)
        if isinstance(handle, StudyHandle):
            return self.watch_study(handle, namespace, show=show)
        return self.watch(handle, namespace, show=show)

    def tune(
        self,
        program: str | Callable[[], Any],
        space: Any,
        *,
        cluster: Cluster | None = None,
        namespace: MutableMapping[str, Any] | None = None,
        show: bool = True,
        search: Any = None,
        stop: Any = None,
        start_with: Any = None,
        **options: Any,
    ) -> TunedStudy | StudyHandle:
        """Tune a function, or the source of a cell; see :func:`tune`."""
        from hops_magic.tuning.options import TuneOptions
        from hops_magic.tuning.preparing import prepare_study
        from hops_magic.tuning.space import Space

        for name, value in (("search", search), ("stop", stop)):
            if isinstance(value, str):
                options[name] = value
        if start_with is not None:
            options["start_with"] = start_with if isinstance(start_with, str) else repr(start_with)
        asked = _options_of(TuneOptions, options)
        given = space if isinstance(space, Space) else Space.of(space)
        source, names, surroundings = self._with_inputs(program, as_source(program, namespace, parameters=given.names))
        prepared = prepare_study(
            source,
            names,
            given,
            asked,
            surroundings,
            search=None if isinstance(search, str) else search,
            stop=None if isinstance(stop, str) else stop,
        )
        return cast("TunedStudy | StudyHandle", self.run_study(prepared, names, cluster=cluster, show=show))

    def run_study(
        self,
        prepared: PreparedStudy,
        namespace: MutableMapping[str, Any],
        *,
        cluster: Cluster | None = None,
        show: bool = True,
    ) -> TunedStudy | AblationStudy | StudyHandle:
        """Start a prepared study; follow it to its end and bring the best values back, unless it is detached."""
        from hops_magic.tuning.preparing import begin_study

        check_writable(self.settings)  # before a cluster is started for a run that cannot be recorded
        cluster = cluster or self.clusters.current()
        check_reachable_from(self.settings, cluster_is_local=cluster.is_local)
        if prepared.options.resume:
            prepared = self._continued(prepared, prepared.options.resume)
        recorder_of = functools.partial(self._study_recorder, prepared, cluster)
        handle = begin_study(cluster, prepared, recorder_of)
        if prepared.options.detach:
            return handle
        from hops_magic.tuning.space import Space

        report_html = prepared.trial.captured.report.html()
        space = prepared.space if isinstance(prepared.space, Space) else None
        return self.watch_study(handle, namespace, space=space, report_html=report_html, show=show)

    def ablate(
        self,
        program: str | Callable[[], Any],
        *,
        cluster: Cluster | None = None,
        namespace: MutableMapping[str, Any] | None = None,
        show: bool = True,
        **options: Any,
    ) -> AblationStudy | StudyHandle:
        """Leave out components of a function, or of the source of a cell; see :data:`hops_magic.ablate`."""
        from hops_magic.tuning.ablation import AblateOptions
        from hops_magic.tuning.preparing import prepare_ablation

        lists = {n: tuple(v) for n, v in options.items() if n in ("features", "layers", "flags") and not isinstance(v, str)}
        asked = _options_of(AblateOptions, options | lists)
        source, names, surroundings = self._with_inputs(program, as_source(program, namespace, parameters=asked.flags))
        prepared = prepare_ablation(source, names, asked, surroundings)
        return cast("AblationStudy | StudyHandle", self.run_study(prepared, names, cluster=cluster, show=show))

    def watch_study(
        self,
        handle: StudyHandle,
        namespace: MutableMapping[str, Any],
        *,
        space: Space | None = None,
        report_html: str = "",
        show: bool = True,
    ) -> TunedStudy | AblationStudy:
        """Follow a study to its end, shown live, and bring its best values back."""
        from hops_magic.tuning.results import collect_ablation, collect_study

        study = _follow_to_end(handle, _study_view(handle, space, report_html)) if show else follow(handle)
        if study.is_ablation:
            return collect_ablation(handle, namespace, study)
        return collect_study(handle, namespace, study, space)

    def _study_recorder(self, prepared: PreparedStudy, cluster: Cluster, beginning: Study) -> StudyRecorderSpec:
        from hops_magic.tuning.preparing import options_for_record

        return study_recorder_for(
            self.settings,
            prepared.trial,
            cluster,
            beginning,
            options=options_for_record(prepared),
            space=prepared.space.describe(),
            description=prepared.description(),
        )

    def _continued(self, prepared: PreparedStudy, wanted: str) -> PreparedStudy:
        from hops_magic.tuning.preparing import continued, study_of

        self.reconcile()
        info = self.registry.run(wanted)
        if not info.state.is_final:
            raise UsageError(f"study {info.name} still runs: %attach {info.run_id} follows it")
        told = self.registry.text(info, STUDY_FILE, default="")
        if not told:
            raise UsageError(f"--resume {wanted}: {info.name} is no study")
        description = json.loads(told)
        return continued(prepared, study_of(info.run_id, description, self.registry.journal(info)), description)

    def reconcile(self) -> list[str]:
        """Mark runs as lost that the record calls live although their cluster is gone, or knows them no more; tell which."""
        unfinished = self.registry.unfinished()
        if not unfinished:
            return []
        from hops_magic.engine.submit import live_runs

        cluster = self.clusters.in_use
        live = (
            {run.run_id for run in live_runs(cluster.client) if not run.is_final} if cluster and cluster.is_usable else set()
        )
        lost = []
        for info in unfinished:
            if info.parent:
                continue
            address = str(info.facts.get("cluster", {}).get("address", ""))
            if cluster is not None and address == cluster.address:
                is_lost = info.run_id not in live
            else:
                is_local = bool(info.facts.get("cluster", {}).get("is_local"))
                is_lost = is_local and not _answers(address) and self._was_here(info)
            if is_lost:
                lost.append(info.run_id)
        # trials are lost with their study, which may have been found lost before
        still = {info.run_id for info in unfinished} - set(lost)
        lost += [info.run_id for info in unfinished if info.parent and info.parent not in still]
        return [info.run_id for info in self.registry.mark_lost(lost)] if lost else []

    def _was_here(self, info: RunInfo) -> bool:
        """Whether a run's local cluster was on this machine: homes are shared among machines, whose ports are not."""
        return str(self.registry.environment(info).get("host", "")) in ("", socket.gethostname())

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


def _options_of(kind: Callable[..., Options], given: dict[str, Any]) -> Options:
    known = list(inspect.signature(kind).parameters)
    for name, value in given.items():
        if name not in known:
            raise OptionError(name, "is no option of this call", value, f"the options are {', '.join(known)}")
    return kind(**given)


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


def tune(program: str | Callable[..., Any], space: Any, **options: Any) -> TunedStudy | StudyHandle:
    """Run a function, or the source of a cell, as many trials with different hyperparameters; return the study.

    Parameters
    ----------
    program : callable or str
        A function of hyperparameters, or source code that reads them as variables. The metric is what it returns (a number,
        or a dictionary), or else what ``model.fit`` or ``hops.report`` says on the way.
    space : mapping or hyperopt graph
        Distribution by variable: :func:`uniform`, :func:`loguniform`, :func:`choice` ..., constants, or ``hp.*``.
    search, stop : str or object, optional
        Names, or objects with ``ask`` and ``tell``, and with ``report`` and ``ended``.
    start_with : mapping or sequence of mappings, optional
        Known points to try first.
    cluster, namespace, show
        As for :func:`train`.
    **options
        Fields of :class:`~hops_magic.tuning.options.TuneOptions`; one of ``minimize`` and ``maximize`` names the metric.

    Returns
    -------
    TunedStudy
        With ``detach=True`` a handle of the study instead.
    """
    return session().tune(program, space, **options)


def live_runs() -> list[LiveRun]:
    """Return the runs that the cluster in use knows, newest first."""
    return session().live_runs()


def watch(run_id: str, *, show: bool = True) -> Run | Study:
    """Follow a run or study on the cluster in use until it is final, shown live; its values stay there for ``%attach``.

    On a voila page it returns at once, with the run as it is, since such a page is shown only when its cells have ended.
    """
    from hops_magic.engine.submit import StudyHandle, attach

    handle = attach(session().clusters.current(start=False).client, run_id)
    if isinstance(handle, StudyHandle):
        return _watch(handle, functools.partial(_study_view, handle), show=show)
    return _watch(handle, lambda: open_view(handle.follower.run, on_stop=handle.stop), show=show)


def _study_view(handle: StudyHandle, space: Space | None = None, report_html: str = "") -> StudyView:
    from hops_magic.tuning.results import importance_of

    return open_study_view(
        handle.follower.run,
        on_stop=handle.stop,
        on_stop_trial=handle.stop_trial,
        fetch_trial=handle.trial,
        importance=functools.partial(importance_of, space=space),
        report_html=report_html,
    )


def _watch(handle: Handle[Summary], open_one: Callable[[], View[Summary]], *, show: bool) -> Summary:
    if not show:
        return follow(handle)
    view = open_one()
    if detect().is_blocked_by_cells:
        Thread(target=_follow_to_end, args=(handle, view), name=f"hops-watch-{handle.run_id}", daemon=True).start()
        return handle.follower.run
    return _follow_to_end(handle, view)


def _follow_to_end(handle: Handle[Summary], view: View[Summary]) -> Summary:
    try:
        return follow(handle, view.update)
    finally:
        view.close(handle.follower.run)
