"""What is sent to the browser of a study: only what it does not know yet; mirrored by ``labextension/src/study.ts``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hops_magic.runs.run import Run
from hops_magic.runs.study import Study, Trial
from hops_magic.tuning.ablation import effects_of, words_of
from hops_magic.widgets import study_words, words
from hops_magic.widgets.plain import clean

MAX_TRIALS_AT_ONCE = 500
MAX_LOG_CHARS = 20_000
MAX_METRICS = 20
"""Beside the study's own, which a user may look at."""
_NO_POINTS: tuple[int, int] = (0, 0)


class StudyFeed:
    """Tells a study in updates: the head whenever it changed, the trials that changed, their curves' new points."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next update tells everything."""
        self._seq = 0
        self._head: dict[str, Any] = {}
        self._trials: dict[int, Trial] = {}
        self._points: dict[int, tuple[int, int]] = {}

    def next(self, study: Study, *, now: float, extra: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the next update, None if nothing changed; a large one comes in several parts."""
        head = {**_head(study, now), **extra}
        changed = {name: value for name, value in head.items() if name not in self._head or self._head[name] != value}
        # objects of trials are never changed: what is the same object is what the browser knows
        fresh = [t for t in study.trials.values() if self._trials.get(t.number) is not t][:MAX_TRIALS_AT_ONCE]
        if not changed and not fresh:
            return None
        update: dict[str, Any] = {"type": "update", "seq": self._seq, "reset": self._seq == 0, "now": now, "head": changed}
        if fresh:
            update["trials"] = [_row(trial) for trial in fresh]
            update["curves"] = [part for part in map(self._curve, fresh) if part is not None]
        self._head = head
        self._trials.update({trial.number: trial for trial in fresh})
        self._seq += 1
        return update

    def _curve(self, trial: Trial) -> dict[str, Any] | None:
        """The points that are new, and where they begin."""
        curve = trial.curve
        count, stride = self._points.get(trial.number, _NO_POINTS)
        at = count
        before = self._trials.get(trial.number)
        if stride not in (0, curve.stride) or before is None or before.curve.steps[:count] != curve.steps[:count]:
            at = 0  # thinned, or begun again
        elif count:
            at = count - 1  # the last point is provisional in a thinned curve
        if len(curve.steps) == count and at == max(0, count - 1) and before is not None and before.curve == curve:
            return None
        self._points[trial.number] = (len(curve.steps), curve.stride)
        if not curve.steps:
            return None
        return {
            "trial": trial.number,
            "at": at,
            "steps": list(curve.steps[at:]),
            "values": [_number(value) for value in curve.values[at:]],
            # seconds since the trial began
            "times": [round(said_at - trial.started_at, 1) for said_at in curve.times[at:]],
        }


def _head(study: Study, now: float) -> dict[str, Any]:
    best = study.best
    left = study_words.remaining_s(study, now)
    pace = study_words.per_minute(study, now)
    return {
        "run_id": study.run_id,
        "name": study_words.title(study),
        "experiment": study.experiment,
        "metric": study.metric,
        "direction": study.direction.value,
        "is_ablation": study.is_ablation,
        "search": study.search,
        "stopping": study.stopping,
        "state": study.state.value,
        "is_final": study.state.is_final,
        "can_stop": study.state.can_stop,
        "effects": [
            {
                "component": clean(e.component),
                "text": clean(words_of(e)),
                "difference": e.difference,
                "low": e.low,
                "high": e.high,
            }
            for e in (effects_of(study) if study.is_ablation else ())
        ],
        "reason": study.reason,
        "queue": study_words.waiting(study),
        "wanted": study.trials_wanted,
        "counts": {state.value: number for state, number in study.counts.items()},
        "stopped_by_hand": study.stopped_by_hand,
        "places": study.places,
        "places_wanted": study.places_wanted,
        "names": list(study.names),
        "log_names": list(study.log_names),
        "metrics": [clean(name) for name in study.metric_names if name != study.metric][:MAX_METRICS],
        "step_name": study.step_name,
        "created_at": study.created_at,
        "started_at": study.started_at,
        "ended_at": study.ended_at,
        "best": None if best is None else best.number,
        # in steps that are worth a message
        "per_minute": None if pace is None else float(f"{pace:.2g}"),
        "remaining_s": None if left is None else round(left),
        "warnings": [clean(text) for text in study.warnings[-10:]],
        "restarts": [clean(text) for text in study.restarts],
        "failures": [
            {"trials": study_words.trials(numbers), "reason": clean(reason)}
            for reason, numbers in list(study_words.failures(study).items())[:3]
        ],
    }


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.value,
        "value": _number(trial.newest),
        "values": {name: _value(value) for name, value in trial.values.items()},
        "step": trial.shown_step,
        "metrics": {name: _number(value) for name, value in list(trial.latest.items())[: MAX_METRICS + 1]},
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "retries": trial.attempt,
        "place": trial.place,
        "reason": clean(trial.reason),
    }


def opened_trial(number: int, study: Study, run: Run | None) -> dict[str, Any]:
    """Return all that a user who opens a trial sees: curves of its metrics, the end of its output, its error."""
    trial = study.trials[number]
    curves = []
    output: list[list[str]] = []
    if run is not None:
        curves = [
            {
                "metric": key[0],
                "unit": "epoch" if key[1] == "epoch" else "step",
                "steps": list(curve.steps),
                "values": [_number(value) for value in curve.values],
            }
            for key, curve in run.curves.items()
            if key[1] != "batch" and key[3] == 0
        ]
        for rank, view in sorted(run.ranks.items()):
            text = "".join(part for _, part in view.output)[-MAX_LOG_CHARS:]
            if text:
                output.append([words.ranks([rank]), clean(text)])
    error = clean(trial.error)
    if not error and run is not None:
        error = "\n\n".join(clean(group.traceback) for group in words.errors(run))
    told: dict[str, Any] = {"type": "trial", "trial": number, "curves": curves, "output": output, "error": error}
    if trial.parameters:
        told["parameters"] = {clean(name): clean(str(value)) for name, value in trial.parameters.items()}
    return told


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _value(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return _number(value)
    return clean(str(value))[:200]
