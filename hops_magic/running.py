"""The verbs of ``hops`` that start and follow runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from hops_magic.session import session
from hops_magic.showing import run_view, study_view, watch_live
from hops_magic.training import Trained, follow

if TYPE_CHECKING:
    from hops_magic.cells.report import CaptureReport
    from hops_magic.engine.submit import LiveRun, RunHandle, StudyHandle
    from hops_magic.runs.run import Run
    from hops_magic.runs.study import Study
    from hops_magic.tuning.ablation import AblationStudy
    from hops_magic.tuning.results import TunedStudy


def train(program: str | Callable[[], Any], **options: Any) -> Trained | RunHandle | CaptureReport:
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
        For a function, ``value`` is what it returned on rank 0. With ``detach=True`` a handle of the run instead, whose
        values :func:`attach` brings; with ``dry_run=True`` the report of what would travel.
    """
    return session().train(program, **options)


def tune(program: str | Callable[..., Any], space: Any, **options: Any) -> TunedStudy | StudyHandle | CaptureReport:
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
        With ``detach=True`` a handle of the study instead, with ``dry_run=True`` the report of what would travel.
    """
    return session().tune(program, space, **options)


def live_runs() -> list[LiveRun]:
    """Return the runs that the cluster in use knows, newest first."""
    return session().live_runs()


def attach(
    run_id: str | None = None, *, namespace: MutableMapping[str, Any] | None = None, show: bool = True
) -> Trained | TunedStudy | AblationStudy | list[LiveRun]:
    """Follow a run or study to its end, shown live, and bring its values back.

    Parameters
    ----------
    run_id
        Its id, the beginning of its id, or its name. One that has ended need not be on a cluster any more. None: only tell
        which there are.
    namespace
        Where its values go besides into what is returned.

    Returns
    -------
    Trained, TunedStudy or AblationStudy
        Without a run, those on the cluster in use, and those that have ended and whose values lie on this machine.

    Raises
    ------
    NotFoundError
        If neither the cluster nor the record knows it.
    RunFailedError, RunStoppedError
        If it did not come to its end.
    ClusterError
        If its values have been brought back before.
    """
    if run_id is None:
        return session().runs_to_attach()
    return session().attach(run_id, {} if namespace is None else namespace, show=show)


def watch(run_id: str, *, show: bool = True) -> Run | Study:
    """Follow a run or study on the cluster in use until it is final, shown live; its values stay there for :func:`attach`.

    On a voila page it returns at once, with the run as it is, since such a page is shown only when its cells have ended.
    """
    from hops_magic.engine.submit import StudyHandle
    from hops_magic.engine.submit import attach as attach_to

    handle = attach_to(session().clusters.current(start=False).client, run_id)
    if isinstance(handle, StudyHandle):
        return watch_live(handle, functools.partial(study_view, handle)) if show else follow(handle)
    return watch_live(handle, functools.partial(run_view, handle)) if show else follow(handle)
