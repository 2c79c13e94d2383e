"""Outputs of cells that show a run: whether it is known here, and the page that stays when it has ended."""

from __future__ import annotations

import functools
import time
from typing import Literal

from pydantic import Field

from hops_magic.api import following
from hops_magic.api.context import Context
from hops_magic.api.routing import Name, Payload, table
from hops_magic.errors import NotFoundError
from hops_magic.runs.run import Run
from hops_magic.runs.study import Study


class RunOutput(Payload):
    """What an output needs to know to choose how it shows its run.

    ``is_heard`` tells that news come from the run's cluster itself, so that it can be stopped from here; ``data`` has the
    page of a run that has ended, by MIME type.
    """

    is_known: bool
    kind: Literal["run", "study"] | None = None
    is_final: bool = False
    is_heard: bool = False
    data: dict[str, str] = Field(default_factory=dict)


@table.route("GET", "/outputs/{run}", tag="experiments")
def show_output(context: Context, run: Name) -> RunOutput:
    """Tell how an output of a notebook can show its run; one that nobody here knows is no error."""
    context.looker.watch()
    try:
        summary = following.summary_of(context, run)
    except NotFoundError:
        return RunOutput(is_known=False)
    is_final = summary.state.is_final
    return RunOutput(
        is_known=True,
        kind="run" if isinstance(summary, Run) else "study",
        is_final=is_final,
        is_heard=context.live.is_heard(summary.run_id),
        data=page_of(summary) if is_final else {},
    )


def page_of(summary: Run | Study) -> dict[str, str]:
    """Return a run or study as a notebook keeps it."""
    if isinstance(summary, Run):
        from hops_magic.widgets.rendering import static_html, static_text

        return {"text/html": static_html(summary), "text/plain": static_text(summary)}
    from hops_magic.tuning.results import importance_of
    from hops_magic.widgets.study_notebook import Weigh
    from hops_magic.widgets.study_rendering import study_html
    from hops_magic.widgets.study_text import study_text

    shares = Weigh(functools.partial(importance_of, space=None))(summary, is_last=True)
    return {
        "text/html": study_html(summary, now=time.time(), importance=shares),
        "text/plain": study_text(summary),
    }
