"""What viewers follow: the summary of a run or of a study, changed by the events of either."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from hops_magic.runs.events import Event
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.study import Study, advance_study_all

Summary = TypeVar("Summary", Run, Study)


def fold(summary: Summary, events: Iterable[Event]) -> Summary:
    """Return the summary after some events, in order."""
    changed: Run | Study = advance_study_all(summary, events) if isinstance(summary, Study) else advance_all(summary, events)
    return cast("Summary", changed)
