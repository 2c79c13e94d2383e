"""From a study to what is written of it and of its trials: parameters, tags, courses. Pure: no clock, no store."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hops_magic.registry import layout
from hops_magic.registry.ending import end_tags
from hops_magic.registry.records import RunKind, RunRecord
from hops_magic.registry.rows import MetricSummary, Row
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study, Trial


def trial_record(record: RunRecord, study: Study, trial: Trial) -> RunRecord:
    """Return what is recorded of a trial at its beginning, by the record of its study."""
    return RunRecord(
        run_id=f"{record.run_id}-{trial.number}",
        name=f"{record.name}-{trial.number}",
        experiment=record.experiment,
        source="",
        created_at=trial.started_at,
        kind=RunKind.TRIAL,
        parent=record.run_id,
        notebook=record.notebook,
        folder=record.folder,
        options={"workers": study.workers_per_trial},
        params={**_fitted(trial), **trial.values},
        user=record.user,
    )


def _fitted(trial: Trial) -> dict[str, int | float | str]:
    """What its fits were called with; one of the name of a hyperparameter or option gets a name of its own, as in runs."""
    taken = {*trial.values, "workers"}
    return {f"fit.{name}" if name in taken else name: value for name, value in trial.parameters.items()}


def trial_tags(study: Study, trial: Trial) -> dict[str, str]:
    """Return the tags of a trial as it is now."""
    state = RunState(trial.state.value)
    run = Run(
        run_id=f"{study.run_id}-{trial.number}",
        world_size=study.workers_per_trial,
        state=state,
        reason=trial.reason,
        started_at=trial.started_at,
        ended_at=trial.ended_at,
        attempt=trial.attempt,
        restarts=trial.retries,
    )
    tags = end_tags(run) if state.is_final else {layout.TAG_STATE: state.value}
    tags |= aim_tags(study) | {layout.TAG_PLACE: trial.place, layout.TAG_NAMES: _names_tag([study.metric, *trial.latest])}
    if trial.value is not None:
        tags[layout.TAG_VALUE] = json.dumps({"name": study.metric, "value": trial.value, "step": trial.value_step})
    tags[layout.TAG_CURVE] = _tag_of(_summary_of_trial(study, trial))
    return {name: text for name, text in tags.items() if text}


def trial_value_row(study: Study, trial: Trial) -> Row | None:
    """Return the point of a value that the cell returned, None where the value was reported: that is among the reports."""
    if trial.value is None or trial.value_step is not None or trial.ended_at is None:
        return None
    if trial.curve.values and trial.curve.values[-1] == trial.value:
        return None
    return Row(layout.key_of(study.metric), trial.value, int(trial.ended_at * 1000), trial.step)


def study_tags(study: Study) -> dict[str, str]:
    """Return the tags of a study that has ended."""
    run = Run(
        run_id=study.run_id,
        world_size=study.workers_per_trial,
        state=study.state,
        reason=study.reason,
        started_at=study.started_at,
        ended_at=study.ended_at,
        restarts=study.restarts,
        warnings=study.warnings,
        result=study.result,
    )
    tags = end_tags(run) | aim_tags(study)
    tags |= {layout.TAG_CURVE: _tag_of(summary_of_study(study)), layout.TAG_NAMES: _names_tag([_best_name(study)])}
    if (best := study.best) is not None:
        told = {"trial": best.number, "value": best.value, "step": best.value_step, "values": dict(best.values)}
        tags[layout.TAG_BEST] = layout.as_json(told)
    return {name: layout.shortened(text, layout.MAX_TAG, layout.JOURNAL) for name, text in tags.items() if text}


def summary_of_study(study: Study) -> MetricSummary:
    """Return the course of a study's best value, each point of it an improvement."""
    summary = MetricSummary(name=study.metric, is_lower_better=study.direction.is_lower_better)
    for _, value in study.best_so_far():
        summary.add(value)
    return summary


def best_rows(study: Study) -> list[Row]:
    """Return the improvements of a study's best value; their steps count the trials that had ended.

    With the trials' own numbers the last point would be that of the highest number, not the best one.
    """
    ended = sorted(study.ended(), key=lambda trial: (trial.ended_at or 0.0, trial.number))
    place = {trial.number: count for count, trial in enumerate(ended, 1)}
    key = layout.key_of(_best_name(study))
    return [
        Row(key, value, int((trial.ended_at or 0.0) * 1000), place[trial.number]) for trial, value in study.best_so_far()
    ]


def aim_tags(study: Study) -> dict[str, str]:
    """Return the tags that say what a study is about, by which lists know what is better."""
    return {layout.TAG_METRIC: study.metric[: layout.MAX_NAME], layout.TAG_DIRECTION: study.direction.value}


def _best_name(study: Study) -> str:
    return f"best/{study.metric}"


def _summary_of_trial(study: Study, trial: Trial) -> MetricSummary:
    summary = MetricSummary(name=study.metric, is_lower_better=study.direction.is_lower_better)
    for value in trial.curve.values:
        summary.add(value)
    if trial.value is not None:
        if not trial.curve.count:
            summary.add(trial.value)
        # of a trial that is over, the value that counts is the best that it has: it is what the study compares
        summary.best = trial.value
    return summary


def _tag_of(summary: MetricSummary) -> str:
    return summary.as_tag() if summary.count else ""


def _names_tag(names: Iterable[str]) -> str:
    """Return the names that MLflow accepts only in another spelling, by that; empty if there are none."""
    other = {layout.key_of(name): name[:100] for name in names if layout.key_of(name) != name}
    text = json.dumps(other) if other else ""
    return text if len(text) <= layout.MAX_TAG else ""
