"""Experiments and runs from Python: ``hops.experiments.runs(text="digits")``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hops_magic.registry import CapturedName, Registry
    from hops_magic.registry.infos import Comparison, ExperimentInfo, Point, RunInfo

__all__ = [
    "captured",
    "compare",
    "delete",
    "error",
    "experiments",
    "metrics",
    "output",
    "restore",
    "run",
    "runs",
    "source",
    "tag",
    "trials",
]


def experiments() -> list[ExperimentInfo]:
    """Return the experiments, last changed first."""
    return _registry().experiments()


def runs(experiment: str | None = None, **query: Any) -> list[RunInfo]:
    """Return a page of runs, newest first; see :meth:`~hops_magic.registry.registry.Registry.runs` for what can be asked."""
    return _registry().runs(experiment, **query)


def run(wanted: str) -> RunInfo:
    """Return one run by its id, the beginning of its id, or its name."""
    return _registry().run(wanted)


def trials(wanted: str) -> list[RunInfo]:
    """Return the trials of a study, in the order of their start."""
    return _registry().children(wanted)


def metrics(wanted: str, names: Iterable[str] | None = None) -> dict[str, list[Point]]:
    """Return the courses of metrics as ``(step, value, seconds since the epoch)``, by name."""
    return _registry().metrics(wanted, names)


def source(wanted: str) -> str:
    """Return the cell of a run."""
    return _registry().source(wanted)


def captured(wanted: str) -> tuple[CapturedName, ...]:
    """Return the names that travelled from the notebook, with type, size and content hash."""
    return _registry().captured(wanted)


def output(wanted: str, rank: int = 0) -> str:
    """Return what a rank wrote."""
    return _registry().output(wanted, rank)


def error(wanted: str) -> str:
    """Return the tracebacks of a run that failed."""
    return _registry().error(wanted)


def compare(*wanted: str) -> Comparison:
    """Tell how runs differ."""
    return _registry().compare(*wanted)


def delete(wanted: Sequence[str]) -> list[RunInfo]:
    """Delete runs; :func:`restore` brings them back, within a week with their checkpoints and values."""
    from hops_magic.pruning import delete_runs

    return delete_runs(_registry(), wanted)


def restore(wanted: Sequence[str] = ()) -> list[RunInfo]:
    """Bring deleted runs back; without names, those that were deleted last."""
    return _registry().restore(wanted)


def note(wanted: str, text: str) -> None:
    """Keep a note with a run, in the place of an earlier one."""
    _registry().note(wanted, text)


def untag(wanted: str, name: str) -> None:
    """Take a tag of your own from a run."""
    _registry().untag(wanted, name)


def tag(wanted: str, name: str, value: str) -> None:
    """Give a run a tag of your own."""
    _registry().tag(wanted, name, value)


def _registry() -> Registry:
    from hops_magic.session import session

    # what has ended unrecorded is completed, or told as incomplete, before anybody reads it
    session().reconcile()
    return session().registry
