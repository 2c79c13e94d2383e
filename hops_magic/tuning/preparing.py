"""Prepare a study: the program of its trials, its plan, and what is known at its beginning. Nothing is started here."""

from __future__ import annotations

import ast
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from hops_magic.errors import OptionError, UnsupportedError, UsageError
from hops_magic.frameworks import settings_of_notebook
from hops_magic.frameworks.ablating import AblationSpec
from hops_magic.options import as_dict
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.study import Study
from hops_magic.training import Prepared, Surroundings, prepare
from hops_magic.tuning.ablation import AblateOptions, AblationPlan, AblationSearch, NoSpace
from hops_magic.tuning.continuing import data_of, how_of
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.plan import StudyPlan, objects_of
from hops_magic.tuning.reading import check_flags, check_space
from hops_magic.tuning.search import Point

if TYPE_CHECKING:
    from collections.abc import Callable

    from hops_magic.engine.cluster import Cluster
    from hops_magic.engine.job import Recorder
    from hops_magic.engine.submit import StudyHandle
    from hops_magic.tuning.space import Space


MOST_TRIALS = 100_000
"""What ends an ablation is that every component has been left out."""
_SHARED = frozenset(
    {"minimize", "maximize", "score", "parallel", "workers_per_trial", "gpus_per_trial", "retries", "seed"}
) | {
    "framework",
    "name",
    "experiment",
    "detach",
    "dry_run",
}


@dataclass(frozen=True, kw_only=True)
class PreparedStudy:
    """A study that can travel.

    Attributes
    ----------
    trial : Prepared
        The program of every trial and its options.
    space : Space or NoSpace
    options : TuneOptions
    search, stop
        Names, or objects of the user's own.
    warnings : tuple of str
        What the user should know before it starts.
    before : Study or None
        The study that is continued.
    ablation : AblationSpec or None
        What can be left out, if this is an ablation.
    """

    trial: Prepared
    space: Space | NoSpace
    options: TuneOptions
    search: Any
    stop: Any
    start_with: tuple[Point, ...]
    warnings: tuple[str, ...] = ()
    before: Study | None = None
    ablation: AblationSpec | None = None

    @property
    def run_id(self) -> str:
        """The study's id."""
        return self.trial.run_id

    @property
    def name(self) -> str:
        """The study's name."""
        return self.trial.name

    def description(self) -> dict[str, Any]:
        """Return what is needed to continue the study: source, space and metric must not differ then, data should not."""
        return {
            "name": self.name,
            "experiment": self.trial.experiment,
            "names": list(self.space.names),
            "log_names": list(self.space.log_names),
            "is_ablation": self.ablation is not None,
            "source": self.trial.captured.program.source,
            "space": self.space.describe(),
            "metric": self.options.metric,
            "direction": self.options.direction.value,
            "object_names": list(objects_of(self.space)),
            "data": data_of(self.trial.captured.report),
            "how": how_of(self.search, self.stop, self.options, self.trial.seed),
        }


def prepare_study(
    source: str,
    namespace: Mapping[str, Any],
    space: Space,
    options: TuneOptions,
    surroundings: Surroundings,
    *,
    search: Any = None,
    stop: Any = None,
    start_with: Any = None,
) -> PreparedStudy:
    """Capture the program of a study's trials and check what was asked for.

    Parameters
    ----------
    search, stop
        Objects of the user's own, in place of those that the options name.
    start_with
        Known points, in place of those that the options write.

    Raises
    ------
    UsageError
        For impossible options, or a program that cannot travel.
    """
    trial = _trial(source, namespace, options, surroundings, provided=space.names, kind="study")
    overwritten = check_space(space, trial.captured, namespace, surroundings.origin.label)
    known = _known(options.start_with) if start_with is None else start_with
    _check_names(options, search, stop)
    for flag, own in (("--search", search), ("--stop", stop)):
        _check_travels(flag, own)
    _check_grid(options, space)
    return PreparedStudy(
        trial=trial,
        space=space,
        options=options,
        search=options.search if search is None else search,
        stop=options.stop if stop is None else stop,
        start_with=_points(known, space),
        warnings=(*_hidden(space, namespace, surroundings), *overwritten),
    )


def prepare_ablation(
    source: str, namespace: Mapping[str, Any], options: AblateOptions, surroundings: Surroundings
) -> PreparedStudy:
    """Capture the program of an ablation's trials and check what was asked for.

    Raises
    ------
    UsageError
        For impossible options, or a program that cannot travel.
    """
    asked = TuneOptions(
        trials=MOST_TRIALS,
        stop="none",
        search="leave one component out",
        fail_fast=0,
        **{name: value for name, value in as_dict(options).items() if name in _SHARED},
    )
    trial = _trial(source, namespace, asked, surroundings, provided=options.flags, kind="ablation")
    check_flags(options.flags, trial.captured, namespace, surroundings.origin.label)
    return PreparedStudy(
        trial=trial,
        space=NoSpace(),
        options=asked,
        search=AblationSearch(options.components, options.repeats),
        stop="none",
        start_with=(),
        ablation=AblationSpec(features=options.features, layers=options.layers, flags=options.flags),
    )


def _trial(
    source: str,
    namespace: Mapping[str, Any],
    options: TuneOptions,
    surroundings: Surroundings,
    *,
    provided: tuple[str, ...],
    kind: str,
) -> Prepared:
    """Capture the program of every trial; names that are provided are not taken from the notebook."""
    _ = options.metric  # before anything else: what to tune for must be named
    trial_options = DistributedOptions(
        workers=options.workers_per_trial,
        gpus_per_rank=_gpus_per_rank(options),
        framework=options.framework,
        checkpoint_s=options.checkpoint_s,
        seed=options.seed,
        name=options.name,
        experiment=options.experiment,
        register=options.register,
        detach=options.detach,
        no_out=not options.keep_model,
    )
    # the very namespace: functions of the notebook must find their names, hyperparameters too, where the cell does
    try:
        trial = prepare(source, namespace, trial_options, surroundings, provided=provided)
    except UnsupportedError as error:
        ranks, gpus = options.workers_per_trial, options.gpus_per_trial
        rule = f"must be {ranks}, one for each of --workers-per-trial {ranks}"
        raise OptionError("--gpus-per-trial", rule, gpus, f"--workers-per-trial {gpus} trains the same model") from error
    return trial if options.name else replace(trial, name=f"{kind}-{trial.name}")


def _gpus_per_rank(options: TuneOptions) -> int | None:
    gpus, ranks = options.gpus_per_trial, options.workers_per_trial
    if not gpus:
        return gpus
    if gpus % ranks:
        rule = f"must be a multiple of {ranks} (--workers-per-trial), since ranks share no GPU"
        raise OptionError("--gpus-per-trial", rule, gpus)
    return gpus // ranks


def _hidden(space: Space, namespace: Mapping[str, Any], surroundings: Surroundings) -> tuple[str, ...]:
    cell = surroundings.origin.label
    return tuple(
        f"in {cell} the hyperparameter {name} hides the notebook's variable {name} ({_short(namespace[name])})"
        for name in space.names
        if name in namespace
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _known(text: str | None) -> Any:
    try:
        return () if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise OptionError("--start-with", "must be a dictionary or a list of them", text) from error


def _points(known: Any, space: Space) -> tuple[Point, ...]:
    found: Sequence[Any] = known if isinstance(known, list | tuple) else [known]
    if not all(isinstance(values, Mapping) for values in found):
        raise OptionError("--start-with", "must be a dictionary or a list of them", known)
    return tuple(space.point(values) for values in found)


def _check_travels(flag: str, own: Any) -> None:
    """Refuse an object of the user's own that cannot be sent to where the study lives."""
    try:
        cloudpickle.dumps(own)
    # whatever its own methods raise
    except Exception as error:
        raise UsageError(
            f"{flag}: the object of type {type(own).__name__} cannot be sent to the cluster "
            f"({type(error).__name__}: {error}): make locks, files and connections in its methods"
        ) from error


def _check_names(options: TuneOptions, search: Any, stop: Any) -> None:
    """Refuse here what would otherwise fail where the study lives: searches and rules that are none, options they ignore."""
    from hops_magic.tuning.searches import check_search
    from hops_magic.tuning.stopping import check_unused, make_rule

    if search is None:
        check_search(options.search)
    grace, reduction, max_steps = options.grace, options.reduction, options.max_steps
    if stop is None:
        make_rule(options.stop, grace=grace, reduction=reduction, max_steps=max_steps)
    else:
        check_unused("a rule of your own", grace=grace, reduction=reduction, max_steps=max_steps)


def _check_grid(options: TuneOptions, space: Space) -> None:
    if options.search != "grid":
        return
    size = len(space.grid(options.trials + 1))
    if size > options.trials:
        whole = len(space.grid(1_000_000))
        raise OptionError("--trials", f"must be at least {whole} (the points of the grid)", options.trials, "or use random")


def begin_study(
    cluster: Cluster,
    prepared: PreparedStudy,
    recorder_of: Callable[[Study], Callable[[Path], Recorder]] | None = None,
) -> StudyHandle:
    """Submit a prepared study to a cluster and return at once.

    Parameters
    ----------
    recorder_of
        Returns what opens the study's record, given the study as it begins.

    Raises
    ------
    OptionError
        If a trial needs more slots than the cluster has.
    """
    from hops_magic.engine.job import Job, StudyJob
    from hops_magic.engine.submit import submit_study, trials_at_once

    options, trial = prepared.options, prepared.trial
    created_at = time.time()
    job = Job(
        run_id=trial.run_id,
        name=trial.name,
        experiment=trial.experiment,
        program=trial.captured.program,
        options=trial.options,
        framework=trial.framework,
        strategy=trial.strategy,
        seed=trial.seed,
        created_at=created_at,
        folder=str(trial.surroundings.folder),
        framework_settings=settings_of_notebook(),
    )
    parallel = trials_at_once(cluster.client, options.workers_per_trial * job.slots_per_rank, options.parallel)
    workers = max(1, len(cluster.status().workers))
    plan = _plan(prepared, parallel=min(parallel, options.trials), workers=workers)
    beginning = prepared.before or Study(
        run_id=trial.run_id,
        name=trial.name,
        experiment=trial.experiment,
        metric=options.metric,
        direction=options.direction,
        created_at=created_at,
        names=("left_out", "repeat") if prepared.ablation else prepared.space.names,
        log_names=prepared.space.log_names,
        object_names=objects_of(prepared.space),
        is_ablation=prepared.ablation is not None,
    )
    beginning = replace(
        beginning,
        trials_wanted=0 if prepared.ablation else options.trials,
        workers_per_trial=options.workers_per_trial,
        search=options.search if prepared.ablation or isinstance(prepared.search, str) else type(prepared.search).__name__,
        stopping=prepared.stop if isinstance(prepared.stop, str) else type(prepared.stop).__name__,
        places_wanted=plan.parallel,
        warnings=(*beginning.warnings, *(text for text in prepared.warnings if text not in beginning.warnings)),
    )
    return submit_study(
        cluster.client,
        StudyJob(
            beginning=beginning,
            trial=job,
            conduct=plan,
            open_recorder=recorder_of(beginning) if recorder_of else None,
        ),
        trial.captured.buffers,
    )


def _plan(prepared: PreparedStudy, *, parallel: int, workers: int) -> StudyPlan:
    options = prepared.options
    kind = functools.partial(AblationPlan, spec=prepared.ablation) if prepared.ablation else StudyPlan
    return kind(
        options=options,
        space=prepared.space,
        search=prepared.search,
        stop=prepared.stop,
        start_with=prepared.start_with,
        seed=prepared.trial.seed,
        parallel=parallel,
        standby=-(-parallel * options.workers_per_trial // workers),
    )


def options_for_record(prepared: PreparedStudy) -> dict[str, Any]:
    """Return the options of a study as they are recorded."""
    options, aim = (
        as_dict(prepared.options),
        {"metric": prepared.options.metric, "direction": prepared.options.direction.value},
    )
    if prepared.ablation is None or not isinstance(prepared.search, AblationSearch):
        return options | aim
    # as they were asked for: how an ablation is carried out as a study is no option of its own
    asked = {name: value for name, value in options.items() if name in _SHARED}
    kinds = {kind: list(getattr(prepared.ablation, kind)) for kind in ("features", "layers", "flags")}
    named = {kind: names for kind, names in kinds.items() if names}
    return asked | named | {"repeats": prepared.search.repeats} | aim
