"""The metric that stands for a run in lists, and its course."""

from __future__ import annotations

from collections.abc import Iterable

from hops_magic.api.plain import Number
from hops_magic.api.routing import Payload
from hops_magic.registry.rows import MetricSummary, leading_name
from hops_magic.runs.run import Run
from hops_magic.runs.study import Study


class Leading(Payload):
    """Course of a run's leading metric in at most 40 points; of a study, how the best value improved."""

    name: str
    best: Number
    last: Number
    values: list[Number]


def leading_of(live: Run | Study) -> Leading | None:
    """Return the course so far of a run that has no record of it yet; None before there is any."""
    if isinstance(live, Study):
        course = [value for _, value in live.best_so_far()]
        # each value is better than the one before, whatever the metric's name says
        return _leading(MetricSummary(name=live.metric), course, best=course[-1]) if course else None
    newest: dict[str, tuple[int, tuple[float, ...]]] = {}
    for (name, scope, series, rank), curve in live.curves.items():
        if rank == 0 and scope != "batch" and curve.values and series >= newest.get(name, (0, ()))[0]:
            newest[name] = series, curve.values
    leading = leading_name(newest)
    return None if leading is None else _leading(MetricSummary(name=leading), newest[leading][1])


def of_summary(summary: MetricSummary | None, *, best: float | None = None) -> Leading | None:
    """Return what a record says of the course."""
    if summary is None:
        return None
    best = summary.best if best is None else best
    return Leading(name=summary.name, best=best, last=summary.last, values=list(summary.values))


def _leading(summary: MetricSummary, course: Iterable[float], *, best: float | None = None) -> Leading | None:
    for value in course:
        summary.add(value)
    return of_summary(summary, best=best)
