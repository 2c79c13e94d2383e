"""The boards by what they show."""

from __future__ import annotations

from hops_magic.api.context import Context
from hops_magic.api.rights import Kind
from hops_magic.boards.board import Board, kernel_context
from hops_magic.errors import NotFoundError, UsageError
from hops_magic.registry.records import RunKind


class RunBoard(Board):
    """A run: its progress while it lives, and its record; of any kernel, live until it ends.

    Parameters
    ----------
    run : str, optional
        Its id, the beginning of its id, or its name; by default the newest run.
    read_only : bool
        Without it, the board can stop, delete and restore this run, and no other.

    Raises
    ------
    NotFoundError
        If there is no such run.

    Examples
    --------
    >>> hops.RunBoard("20261123-101500-ab12")  # doctest: +SKIP
    """

    def __init__(self, run: str | None = None, *, read_only: bool = True, context: Context | None = None) -> None:
        asked = context or kernel_context()
        run_id, kind = _found(asked, run)
        screen = "study" if kind is RunKind.STUDY else "run"
        super().__init__(screen, run_id, kind=Kind.RUN, read_only=read_only, context=asked)


class StudyBoard(Board):
    """A study: its trials, curves, best values and what mattered.

    Parameters
    ----------
    study : str
        Its name, its id, or the beginning of its id.
    read_only : bool
        Without it, the board can stop, delete and restore this study, and stop single trials of it.

    Raises
    ------
    NotFoundError
        If there is no such study.
    UsageError
        If it is a run.
    """

    def __init__(self, study: str, *, read_only: bool = True, context: Context | None = None) -> None:
        asked = context or kernel_context()
        run_id, kind = _found(asked, _text(study, "a study"))
        if kind is not RunKind.STUDY:
            raise UsageError(f"{study} is no study but a single run: RunBoard({study!r}) shows it")
        super().__init__("study", run_id, kind=Kind.RUN, read_only=read_only, context=asked)


class ExperimentBoard(Board):
    """Runs and studies, newest first: to filter, sort, open and compare.

    Parameters
    ----------
    experiment : str, optional
        Show the runs of this experiment first; by default those of all.
    read_only : bool
        Without it, runs can be stopped and deleted.
    """

    def __init__(self, experiment: str | None = None, *, read_only: bool = True, context: Context | None = None) -> None:
        thing = "" if experiment is None else _text(experiment, "an experiment")
        super().__init__("experiments", thing, kind=Kind.RUN, read_only=read_only, context=context)


class FeatureBoard(Board):
    """The feature store: groups, their features, statistics, rows and history.

    Parameters
    ----------
    group : str, optional
        Show this feature group, as ``name`` or ``name@version``; by default a list of all.
    read_only : bool
        Without it, descriptions can be changed: of this group, or of all.

    Raises
    ------
    UnknownNameError
        If there is no such group.
    """

    def __init__(self, group: str | None = None, *, read_only: bool = True, context: Context | None = None) -> None:
        asked = context or kernel_context()
        if group is None:
            super().__init__("features", "", kind=Kind.GROUP, read_only=read_only, context=asked)
            return
        found = asked.features.group(_text(group, "a feature group"))
        super().__init__("group", f"{found.name}@{found.version}", kind=Kind.GROUP, read_only=read_only, context=asked)


class ModelBoard(Board):
    """Registered models, their versions, aliases and metrics, and where they come from.

    Parameters
    ----------
    model : str, optional
        Show this model; by default a list of all.
    read_only : bool
        Without it, aliases can be set and versions deleted: of this model, or of all.

    Raises
    ------
    NotFoundError
        If there is no such model.
    """

    def __init__(self, model: str | None = None, *, read_only: bool = True, context: Context | None = None) -> None:
        asked = context or kernel_context()
        if model is None:
            super().__init__("models", "", kind=Kind.MODEL, read_only=read_only, context=asked)
            return
        asked.registry.versions(_text(model, "a model"))
        super().__init__("model", model, kind=Kind.MODEL, read_only=read_only, context=asked)


def _found(context: Context, run: str | None) -> tuple[str, RunKind]:
    if run is None:
        newest = context.registry.runs(limit=1)
        if not newest:
            raise UsageError("nothing has run yet, so there is no newest run to show: give a run's id later")
        return newest[0].run_id, newest[0].kind
    try:
        found = context.registry.run(_text(run, "a run"))
    except NotFoundError:
        if begun := _begun(context, run):
            return begun
        raise
    return found.run_id, found.kind


def _begun(context: Context, run: str) -> tuple[str, RunKind] | None:
    """Find a run that lives and is not recorded yet."""
    from hops_magic.engine.submit import live_runs

    with context.cluster_lock:
        cluster = context.cluster()
        known = [] if cluster is None else live_runs(cluster.client)
    for each in known:
        if each.run_id.startswith(run) or each.name == run:
            return each.run_id, RunKind.STUDY if each.is_study else RunKind.RUN
    return None


def _text(given: object, what: str) -> str:
    if not isinstance(given, str) or not given:
        raise UsageError(f"{what} is told by a text such as its name, not by {given!r}")
    return given
