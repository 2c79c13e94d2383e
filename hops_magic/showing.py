"""Runs and studies shown live, in whatever environment this process has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study
from hops_magic.runs.summary import Summary
from hops_magic.training import follow
from hops_magic.widgets import StudyView, detect, open_study_view, open_view
from hops_magic.widgets.view import RunView, View

if TYPE_CHECKING:
    from hops_magic.engine.submit import Handle, RunHandle, StudyHandle
    from hops_magic.tuning.space import Space


def run_view(handle: RunHandle, report_html: str = "") -> RunView:
    """Open the view of a run."""
    return open_view(handle.follower.run, report_html=report_html, on_stop=handle.stop)


def study_view(handle: StudyHandle, space: Space | None = None, report_html: str = "") -> StudyView:
    """Open the view of a study."""
    from hops_magic.tuning.results import importance_of

    return open_study_view(
        handle.follower.run,
        on_stop=handle.stop,
        on_stop_trial=handle.stop_trial,
        fetch_trial=handle.trial,
        importance=functools.partial(importance_of, space=space),
        report_html=report_html,
    )


def show_ended(run: Run | Study) -> None:
    """Show how a run or study went that nobody can stop any more."""
    if isinstance(run, Run):
        open_view(run, on_stop=_nothing).close(run)
        return
    from hops_magic.tuning.results import importance_of

    view = open_study_view(
        run,
        on_stop=_nothing,
        on_stop_trial=_nothing,
        fetch_trial=_nothing,
        importance=functools.partial(importance_of, space=None),
    )
    view.close(run)


def _nothing(_: object = None) -> None:
    return None


def follow_to_end(handle: Handle[Summary], open_one: Callable[[], View[Summary]], *, show: bool) -> Summary:
    """Follow a run or study until it is final, shown live if that is wanted."""
    if not show:
        return follow(handle)
    try:
        view = open_one()
    except KeyboardInterrupt:
        return follow(handle, interrupted=True)
    return _followed(handle, view)


def watch_live(handle: Handle[Summary], open_one: Callable[[], View[Summary]]) -> Summary:
    """Follow a run or study until it is final, where cells block what they show from a thread: then it returns at once."""
    view = open_one()
    if detect().is_blocked_by_cells:
        Thread(target=_followed, args=(handle, view), name=f"hops-watch-{handle.run_id}", daemon=True).start()
        return handle.follower.run
    return _followed(handle, view)


def _followed(handle: Handle[Summary], view: View[Summary]) -> Summary:
    try:
        return follow(handle, view.update)
    finally:
        view.close(handle.follower.run)
