"""Runs, studies and trials as lists show them: what the record says, and what the cluster knows since."""

from __future__ import annotations

from typing import Literal

from hops_magic.api.context import Context
from hops_magic.api.leading import Leading, leading_of, of_summary
from hops_magic.api.plain import Number, shortened
from hops_magic.api.routing import Payload
from hops_magic.registry.infos import RunInfo
from hops_magic.registry.records import RunKind
from hops_magic.runs.run import Run
from hops_magic.runs.study import Study

MOST_NAMES = 60
"""Metrics, or parameters, of a run in a list."""
MOST_PARAM_CHARS = 200


class RunRow(Payload):
    """A run, a study or a trial, as lists show it; times are seconds since the epoch.

    ``progress`` and ``fraction`` are those of a run that lives on the cluster in use; ``incomplete`` says how much
    of what was said the record has, if it lacks some of it. ``by_epoch`` are metrics whose steps are epochs; ``note``
    and ``tags`` are users' own.
    """

    run_id: str
    name: str
    experiment: str
    kind: Literal["run", "study", "trial"]
    state: str
    is_final: bool
    can_stop: bool
    is_deleted: bool
    reason: str
    incomplete: str
    user: str
    parent: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    duration_s: float | None
    progress: str
    fraction: Number
    leading: Leading | None
    metrics: dict[str, Number]
    by_epoch: list[str]
    params: dict[str, str]
    note: str
    tags: dict[str, str]


def run_row(context: Context, info: RunInfo) -> RunRow:
    """Return a run as lists show it, with what is known of it on the cluster."""
    from hops_magic.widgets import study_words, words

    live = context.live.summary(info.run_id) if not info.state.is_final else None
    state = live.state if live is not None else info.state
    progress, fraction = "", None
    metrics = dict(info.metrics)
    if isinstance(live, Run):
        progress, fraction = words.queue(live) or words.progress(live), live.fraction_done()
        metrics |= live.latest
    elif isinstance(live, Study):
        ended = len(live.ended())
        progress = study_words.queue(live) or f"{ended} of {live.trials_wanted or '?'} trials"
        fraction = ended / live.trials_wanted if live.trials_wanted else None
    leading = leading_of(live, info.direction) if live is not None else of_summary(info.curve, info.direction)
    plain = {name: value for name, value in metrics.items() if not name.startswith("batch/")}
    return RunRow(
        run_id=info.run_id,
        name=shortened(info.name, 300),
        experiment=info.experiment,
        kind="trial" if info.parent else "study" if info.kind is RunKind.STUDY else "run",
        state=state.value,
        is_final=state.is_final,
        can_stop=live is not None and state.can_stop,
        is_deleted=info.is_deleted,
        reason=shortened(_reason(info), 500),
        incomplete=info.incomplete,
        user=info.user,
        parent=info.parent,
        created_at=info.created_at,
        started_at=info.started_at if live is None else live.started_at or info.started_at,
        ended_at=info.ended_at,
        duration_s=info.duration_s,
        progress=progress,
        fraction=fraction,
        leading=leading,
        metrics=dict(list(plain.items())[:MOST_NAMES]),
        # what steps said of a metric is there beside that of epochs
        by_epoch=[name for name in list(plain)[:MOST_NAMES] if f"batch/{name.removeprefix('val_')}" in metrics],
        params={name: shortened(value, MOST_PARAM_CHARS) for name, value in list(info.params.items())[:MOST_NAMES]},
        note=info.note,
        tags={name: shortened(value, 300) for name, value in list(info.own_tags.items())[:MOST_NAMES]},
    )


def _reason(info: RunInfo) -> str:
    """Return why a run ended as it did, with what its record lacks: all screens show it."""
    lacking = f"record incomplete: {info.incomplete}" if info.incomplete else ""
    return "; ".join(filter(None, (info.reason, lacking)))
