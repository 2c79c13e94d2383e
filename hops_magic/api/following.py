"""What a viewer of one run has been told, so that the next answer holds only what changed."""

from __future__ import annotations

import functools
import json
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hops_magic.api.context import Context
from hops_magic.errors import NotFoundError, UsageError
from hops_magic.registry import STUDY_FILE
from hops_magic.registry.records import RunKind
from hops_magic.runs.run import MAX_POINTS, Curve, CurveKey, Run
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study
from hops_magic.runs.summary import fold
from hops_magic.widgets.pace import Pace
from hops_magic.widgets.study_notebook import Weigh, best_as_code
from hops_magic.widgets.study_wire import MAX_TRIALS_AT_ONCE, StudyFeed, opened_trial
from hops_magic.widgets.wire import Feed

if TYPE_CHECKING:
    from hops_magic.api.runs import Live
    from hops_magic.registry.infos import RunInfo

MOST_VIEWERS = 200
MOST_REPLAYED = 4
MOST_CURVES = 60


@dataclass
class _Viewer:
    """One page that shows a run."""

    run_id: str
    feed: Feed | StudyFeed
    answers: int = 0
    weigh: Weigh | None = None
    pace: Pace = field(default_factory=Pace)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Viewers:
    """The pages that show runs; the one that asked least lately is forgotten and begins anew."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Viewer] = OrderedDict()
        self._replayed: OrderedDict[str, Run | Study] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, cursor: str, run_id: str) -> tuple[str, _Viewer] | None:
        """Return the viewer that holds the last answer, if it is that."""
        name, _, answers = cursor.partition(".")
        with self._lock:
            viewer = self._known.get(name)
            if viewer is None or viewer.run_id != run_id or str(viewer.answers) != answers:
                return None
            self._known.move_to_end(name)
            return name, viewer

    def add(self, viewer: _Viewer) -> str:
        """Remember a viewer; return its name."""
        name = secrets.token_hex(8)
        with self._lock:
            self._known[name] = viewer
            while len(self._known) > MOST_VIEWERS:
                self._known.popitem(last=False)
        return name

    def replayed(self, context: Context, info: RunInfo) -> Run | Study:
        """Return a run that is followed no more, from its journal."""
        if not info.state.is_final:
            # it may be on a cluster that this process does not see: what its folder has grows
            return _replay(context, info)
        with self._lock:
            known = self._replayed.get(info.record_id)
        if known is None:
            known = _replay(context, info)
            with self._lock:
                self._replayed[info.record_id] = known
                while len(self._replayed) > MOST_REPLAYED:
                    self._replayed.popitem(last=False)
        return known


def follow(context: Context, run: str, cursor: str) -> Live:
    """Tell a viewer what changed since the cursor; everything if it has none, or one that nobody knows."""
    from hops_magic.api.runs import Live

    summary = summary_of(context, run)
    found = context.viewers.at(cursor, summary.run_id) if cursor else None
    if found is None:
        viewer = _Viewer(summary.run_id, Feed() if isinstance(summary, Run) else StudyFeed())
        found = context.viewers.add(viewer), viewer
    name, viewer = found
    with viewer.lock:
        viewer.answers += 1
        updates = _updates(viewer, summary)
        return Live(
            cursor=f"{name}.{viewer.answers}",
            kind="run" if isinstance(summary, Run) else "study",
            is_final=summary.state.is_final,
            news_at=None if summary.state.is_final else _news_at(context, summary.run_id),
            is_heard=context.live.is_heard(summary.run_id),
            updates=updates,
        )


def _news_at(context: Context, run_id: str) -> float | None:
    return time.time() if context.live.is_heard(run_id) else context.looker.journal_grew_at(run_id)


def summary_of(context: Context, run: str) -> Run | Study:
    """Return a run as it is now: followed on its cluster, else as its record has it.

    Raises
    ------
    NotFoundError
        If neither the cluster in use nor the registry knows it.
    """
    followed = context.live.summary(run)
    if followed is not None:
        return followed
    try:
        info = context.registry.run(run)
    except NotFoundError:
        # one that has just begun lives before it is recorded
        context.live.find()
        summary = context.live.summary(run)
        if summary is None:
            raise
        return summary
    live = context.live.summary(info.run_id)
    if live is not None:
        return live
    replayed = context.viewers.replayed(context, info)
    if replayed.state.is_final:
        context.looker.forget_journal(info.run_id)
    else:
        context.looker.watch_journal(info.run_id)
    return replayed


def opened(context: Context, run: str, number: int) -> dict[str, Any]:
    """Return all that a trial said.

    Raises
    ------
    UsageError
        If the run has no trials.
    """
    from hops_magic.engine.submit import StudyHandle

    study = summary_of(context, run)
    if not isinstance(study, Study):
        raise UsageError(f"{study.name or run} is no study: it has no trials")
    if number not in study.trials:
        raise NotFoundError(f"study {study.name or run} has no trial {number}")
    handle = context.live.handle(study.run_id)
    trial: Run | None = None
    if isinstance(handle, StudyHandle) and not study.state.is_final:
        trial = handle.trial(number)
    if trial is None:
        trial = _trial_of_record(context, study, number)
    told = opened_trial(number, study, trial)
    return {name: told[name] for name in ("trial", "curves", "output", "error")}


def _updates(viewer: _Viewer, summary: Run | Study) -> list[dict[str, Any]]:
    now = time.time()
    if isinstance(viewer.feed, Feed):
        assert isinstance(summary, Run)
        remaining = viewer.pace.remaining_of(summary, now)
        extra = {
            "remaining_s": None if remaining is None else round(remaining),
            "is_stop_requested": False,
            "report_html": "",
        }
        update = viewer.feed.next(summary, now=now, extra=extra)
        return [] if update is None else [dict(update)]
    assert isinstance(summary, Study)
    if viewer.weigh is None:
        from hops_magic.tuning.results import importance_of

        viewer.weigh = Weigh(functools.partial(importance_of, space=None))
    told = {
        "is_stop_requested": False,
        "importance": dict(viewer.weigh(summary, is_last=summary.state.is_final)),
        "report_html": "",
        "best_code": best_as_code(summary),
    }
    updates: list[dict[str, Any]] = []
    while (part := viewer.feed.next(summary, now=now, extra=told)) is not None:
        updates.append(part)
        if len(part.get("trials", ())) < MAX_TRIALS_AT_ONCE:
            break
    return updates


def _replay(context: Context, info: RunInfo) -> Run | Study:
    """Fold the journal of a run; where there is none, such as of runs that other tools recorded, its row must do."""
    from hops_magic.tuning.continuing import study_of

    registry = context.registry
    description = _described(registry.text(info, STUDY_FILE, default=""))
    try:
        events = registry.journal(info)
    except NotFoundError:
        events = []
    summary: Run | Study
    if description is not None:
        summary = study_of(info.run_id, description, events)
    elif info.kind is RunKind.STUDY:
        known = Study(run_id=info.run_id, name=info.name, experiment=info.experiment, created_at=info.created_at)
        summary = fold(known, events)
    else:
        beginning = Run(run_id=info.run_id, name=info.name, experiment=info.experiment, created_at=info.created_at)
        summary = fold(beginning, events)
        summary = replace(summary, world_size=max(1, len(summary.ranks)))
        if not events:
            summary = replace(summary, curves=_curves_of_record(context, info), latest=dict(info.metrics))
    # a study's journal is read for its trials, not for the states that it was in
    if not events or (not summary.state.is_final and (isinstance(summary, Study) or info.state.is_final)):
        summary = replace(summary, state=info.state, reason=info.reason, started_at=info.started_at, ended_at=info.ended_at)
    return summary


def _described(text: str) -> dict[str, Any] | None:
    """Return what a study's record says of it at its beginning; None before it is there, or while it is being written."""
    try:
        described: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return described


def _curves_of_record(context: Context, info: RunInfo) -> dict[CurveKey, Curve]:
    """Return the courses that the registry has, of a run that other tools recorded."""
    curves = {}
    for name, points in context.registry.metrics(info, list(info.metrics)[:MOST_CURVES]).items():
        kept = points[:: -(-len(points) // MAX_POINTS) or 1]
        steps, values = tuple(step for step, _, _ in kept), tuple(value for _, value, _ in kept)
        times = tuple(at for _, _, at in kept)
        curves[name, "user", 1, 0] = Curve(steps=steps, values=values, times=times, count=len(kept))
    return curves


def _trial_of_record(context: Context, study: Study, number: int) -> Run | None:
    from hops_magic.engine.journal import read_journal
    from hops_magic.runs.run import advance_all

    beginning = Run(run_id=f"{study.run_id}-{number}", world_size=study.workers_per_trial, state=RunState.RUNNING)
    folder = context.registry.settings.runs / study.run_id / "trials" / str(number)
    if folder.is_dir():
        return advance_all(beginning, read_journal(folder))
    try:
        return advance_all(beginning, context.registry.journal(context.registry.run(beginning.run_id)))
    except NotFoundError:
        return None
