"""What one kernel or script works with: its cluster, its settings, its registry. The one place that composes the parts."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hops_magic.cells.provenance import Provenance
from hops_magic.errors import HopsError, NotFoundError, UsageError
from hops_magic.options import options_from
from hops_magic.registry import (
    STUDY_FILE,
    RunKind,
    check_reachable_from,
    check_writable,
    open_registry,
    recorder_for,
    study_recorder_for,
)
from hops_magic.runs.events import NO_ANSWER, RECORD_NOT_COMPLETE
from hops_magic.runs.inputs import FeatureInput, merged
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.study import Study
from hops_magic.scripts import Source, as_source, names_read
from hops_magic.settings import Settings
from hops_magic.showing import follow_to_end, run_view, show_ended, study_view
from hops_magic.training import Prepared, Trained, collect, prepare, start, starting
from hops_magic.widgets import detect

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

    from hops_magic.cells.report import CaptureReport
    from hops_magic.engine.cluster import Cluster, Clusters
    from hops_magic.engine.submit import LiveRun, RunHandle, StudyHandle
    from hops_magic.features.store import FeatureStore
    from hops_magic.kept import KeptRun
    from hops_magic.lineage import Use
    from hops_magic.registry import Registry
    from hops_magic.registry.study_recorder import StudyRecorderSpec
    from hops_magic.runs.run import Run
    from hops_magic.tuning.ablation import AblationStudy
    from hops_magic.tuning.preparing import PreparedStudy
    from hops_magic.tuning.results import TunedStudy
    from hops_magic.tuning.space import Space


class Session:
    """A kernel's or script's way to clusters, runs and records."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._is_followed = False
        # by run, what its cell took along, to be updated in place
        self._originals: dict[str, Mapping[int, Any]] = {}
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
        """Load a model into this process: a file of Keras, or a folder in MLflow's format of PyTorch."""
        from hops_magic.frameworks import keras, torch

        return torch.load_model(path) if (path / torch.ML_MODEL).is_file() else keras.load_model(path)

    def train(
        self,
        program: str | Callable[[], Any],
        *,
        cluster: Cluster | None = None,
        namespace: MutableMapping[str, Any] | None = None,
        show: bool = True,
        **options: Any,
    ) -> Trained | RunHandle | CaptureReport:
        """Run a function, or the source of a cell, on the ranks of a cluster; see :func:`hops_magic.running.train`."""
        source, names, surroundings = self._with_inputs(program, as_source(program, namespace))
        prepared = prepare(source, names, options_from(DistributedOptions, options), surroundings)
        if prepared.options.dry_run:
            return prepared.captured.report
        return self.run(prepared, names, cluster=cluster, show=show)

    def run(
        self, prepared: Prepared, namespace: MutableMapping[str, Any], *, cluster: Cluster | None = None, show: bool = True
    ) -> Trained | RunHandle:
        """Start a prepared program; follow it to its end and bring its values back, unless it is detached."""
        self._check_before_start(show=show and not prepared.options.detach)
        with starting(prepared):
            cluster = cluster or self.clusters.current()
            check_reachable_from(self.settings, cluster_is_local=cluster.is_local)
            handle = start(cluster, prepared, recorder_for(self.settings, prepared, cluster))
        self._originals[handle.run_id] = prepared.captured.originals
        if prepared.options.detach:
            return handle
        return self.watch(handle, namespace, report_html=prepared.captured.report.html(), show=show)

    def _check_before_start(self, *, show: bool) -> None:
        """Refuse what would fail when it is too late: before a cluster is started, or a run that nobody would see."""
        check_writable(self.settings)
        if show:
            detect()

    def watch(
        self, handle: RunHandle, namespace: MutableMapping[str, Any], *, report_html: str = "", show: bool = True
    ) -> Trained:
        """Follow a run to its end, shown live, and bring its values back."""
        run = follow_to_end(handle, functools.partial(run_view, handle, report_html), show=show)
        self._complete_record(run)
        return self._collect(handle, namespace, run)

    def _complete_record(self, ended: Run | Study) -> None:
        """Try once more to write a record whose supervisor could not; one that hangs would keep the cell from its end."""
        lacking = [warning for warning in ended.warnings if warning.startswith(RECORD_NOT_COMPLETE)]
        if lacking and not any(NO_ANSWER in warning for warning in lacking):
            try:
                self.reconcile()
            except HopsError as error:
                warnings.warn(f"{RECORD_NOT_COMPLETE}: {error}", stacklevel=2)

    def attach(
        self, run_id: str, namespace: MutableMapping[str, Any], *, show: bool = True
    ) -> Trained | TunedStudy | AblationStudy:
        """Follow a run or study that is on the cluster in use, and bring its values back; see :func:`hops_magic.attach`."""
        from hops_magic.engine.submit import StudyHandle, attach

        try:
            handle = attach(self.clusters.current(start=False).client, run_id)
        except NotFoundError as unknown:
            return self._recall(run_id, namespace, unknown, show=show)
        if isinstance(handle, StudyHandle):
            return self.watch_study(handle, namespace, show=show)
        return self.watch(handle, namespace, show=show)

    def _recall(
        self, wanted: str, namespace: MutableMapping[str, Any], unknown: NotFoundError, *, show: bool
    ) -> Trained | TunedStudy | AblationStudy:
        """Bring back the values of a run that has ended and that no cluster knows any more."""
        from hops_magic.kept import KeptRun

        self.reconcile()
        try:
            kept = KeptRun(self.registry, self.registry.run(wanted))
        except NotFoundError:
            raise unknown from None
        if show:
            show_ended(kept.run)
        if isinstance(kept.run, Study):
            return self._collected(kept, namespace, kept.run)
        return self._collect(kept, namespace, kept.run)

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
    ) -> TunedStudy | StudyHandle | CaptureReport:
        """Tune a function, or the source of a cell; see :func:`hops_magic.running.tune`."""
        from hops_magic.tuning.options import TuneOptions
        from hops_magic.tuning.preparing import prepare_study
        from hops_magic.tuning.space import Space

        for name, value in (("search", search), ("stop", stop)):
            if isinstance(value, str):
                options[name] = value
        if start_with is not None:
            options["start_with"] = start_with if isinstance(start_with, str) else repr(start_with)
        asked = options_from(TuneOptions, options)
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
            start_with=None if isinstance(start_with, str) else start_with,
        )
        if prepared.options.dry_run:
            return prepared.trial.captured.report
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

        self._check_before_start(show=show and not prepared.options.detach)
        cluster = cluster or self.clusters.current()
        check_reachable_from(self.settings, cluster_is_local=cluster.is_local)
        if prepared.options.resume:
            prepared = self._continued(prepared, prepared.options.resume)
        recorder_of = functools.partial(self._study_recorder, prepared, cluster)
        with starting(prepared.trial):
            handle = begin_study(cluster, prepared, recorder_of)
        self._originals[handle.run_id] = prepared.trial.captured.originals
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
    ) -> AblationStudy | StudyHandle | CaptureReport:
        """Leave out components of a function, or of the source of a cell; see :data:`hops_magic.ablate`."""
        from hops_magic.tuning.ablation import AblateOptions
        from hops_magic.tuning.preparing import prepare_ablation

        lists = {n: tuple(v) for n, v in options.items() if n in ("features", "layers", "flags") and not isinstance(v, str)}
        asked = options_from(AblateOptions, options | lists)
        source, names, surroundings = self._with_inputs(program, as_source(program, namespace, parameters=asked.flags))
        prepared = prepare_ablation(source, names, asked, surroundings)
        if asked.dry_run:
            return prepared.trial.captured.report
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
        study = follow_to_end(handle, functools.partial(study_view, handle, space, report_html), show=show)
        self._complete_record(study)
        return self._collected(handle, namespace, study, space)

    def _collect(self, holder: RunHandle | KeptRun, namespace: MutableMapping[str, Any], run: Run) -> Trained:
        return collect(holder, namespace, run, originals=self._originals.pop(holder.run_id, None))

    def _collected(
        self, holder: StudyHandle | KeptRun, namespace: MutableMapping[str, Any], study: Study, space: Space | None = None
    ) -> TunedStudy | AblationStudy:
        from hops_magic.tuning.results import collect_ablation, collect_study

        originals = self._originals.pop(holder.run_id, None)
        if study.is_ablation:
            return collect_ablation(holder, namespace, study)
        return collect_study(holder, namespace, study, space, originals=originals)

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
        from hops_magic.registry.registry import LOST_REASON
        from hops_magic.tuning.continuing import continued, study_of

        self.reconcile()
        info = self.registry.run(wanted)
        if not info.state.is_final:
            raise UsageError(f"study {info.name} still runs: %attach {info.run_id} follows it")
        told = self.registry.text(info, STUDY_FILE, default="")
        if not told:
            if info.kind is RunKind.STUDY:
                raise UsageError(
                    f"study {info.name} was lost before any of it was recorded: begin it anew, without --resume"
                )
            raise UsageError(f"--resume {wanted}: {info.name} is no study")
        description = json.loads(told)
        before = study_of(info.run_id, description, self.registry.journal(info))
        return continued(prepared, before, description, was_lost=info.reason == LOST_REASON)

    def reconcile(self) -> list[str]:
        """Complete the records of runs that have ended, and close those of lost ones; tell which."""
        from hops_magic.reconciling import reconcile

        return reconcile(self.registry, self.clusters.in_use)

    def live_runs(self) -> list[LiveRun]:
        """Return the runs that the cluster in use knows, newest first."""
        from hops_magic.engine.submit import live_runs

        return live_runs(self.clusters.current(start=False).client)

    def runs_to_attach(self) -> list[LiveRun]:
        """Return the runs that the cluster in use knows, and those that have ended and whose values lie on this machine.

        Raises
        ------
        NotFoundError
            If there is no cluster, and no such run either.
        """
        from hops_magic.kept import kept_runs

        kept = kept_runs(self.registry)
        try:
            live = self.live_runs()
        except NotFoundError:
            if not kept:
                raise
            return kept
        known = {run.run_id for run in live}
        return [*live, *(run for run in kept if run.run_id not in known)]


@functools.cache
def session() -> Session:
    """Return this process's session."""
    return Session(Settings.from_environment())
