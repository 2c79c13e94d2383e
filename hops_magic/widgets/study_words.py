"""How a study is told in words and figures, the same in every text and static view."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, Trial
from hops_magic.widgets import words
from hops_magic.widgets.plain import one_line

_BEGUN_ONE_BY_ONE = 200


def title(study: Study) -> str:
    """The name that a user knows the study by."""
    return study.name or study.run_id


def counts(study: Study) -> str:
    """``12 of 50 trials, 2 running, 3 stopped early, 1 stopped by hand, 1 failed``."""
    number = study.counts
    ended = sum(number[state] for state in TrialState if state.is_final)
    of = f" of {study.trials_wanted}" if study.trials_wanted else ""
    by_hand = study.stopped_by_hand
    told = {
        "running": number[TrialState.RUNNING],
        "stopped early": number[TrialState.STOPPED] - by_hand,
        "stopped by hand": by_hand,
        "failed": number[TrialState.FAILED],
    }
    return ", ".join([f"{ended}{of} trials", *(f"{count} {word}" for word, count in told.items() if count)])


def best(study: Study) -> str:
    """``best val_loss 0.123 in trial 7, after 1:15``; empty before there is one."""
    trial = study.best
    if trial is None or trial.value is None or study.is_ablation:
        return ""
    found = None if trial.ended_at is None or study.started_at is None else trial.ended_at - study.started_at
    after = f", after {words.duration(found)}" if found is not None else ""
    return f"best {one_line(study.metric, 40)} {words.figure(trial.value)} in trial {trial.number}{after}"


def values(given: Mapping[str, Any]) -> str:
    """``lr=0.00123, units=64``."""
    return ", ".join(f"{one_line(name, 40)}={value(number)}" for name, number in given.items())


def value(given: Any) -> str:
    """A hyperparameter's value, short."""
    if isinstance(given, float):
        return f"{given:.4g}"
    return one_line(str(given), 60)


def queue(study: Study) -> str:
    """``waiting for slots, 2nd in the queue``; empty when the study does not wait."""
    if study.state is not RunState.QUEUED or study.queue_position is None:
        return ""
    place = "next" if study.queue_position == 1 else words.ordinal(study.queue_position)
    return f"waiting for slots, {place} in the queue"


def waiting(study: Study) -> str:
    """What a study of which no trial has said anything yet waits for; empty once one has."""
    if study.state is RunState.SUBMITTED:
        return "waits for the cluster to take it"
    if study.state is RunState.QUEUED:
        return queue(study)
    if study.state is not RunState.RUNNING or any(t.latest or t.state.is_final for t in study.trials.values()):
        return ""
    return "the first trials run, none has reported yet" if study.trials else "starts its first trials"


def per_minute(study: Study, now: float) -> float | None:
    """Trials that ended per minute since the first began; None before two have."""
    ended = study.ended()
    if len(ended) < 2 or study.started_at is None:
        return None
    return 60 * len(ended) / max((study.ended_at or now) - study.started_at, 1e-3)


def remaining_s(study: Study, now: float) -> float | None:
    """Seconds until the last trial ends, if trials take as long as those that ended did.

    Running trials count by how long they have run, so that it counts down while none ends. None while it cannot be told, or
    when it takes longer than was told.
    """
    if not study.trials_wanted or study.state.is_final:
        return None
    took = [trial.duration_s for trial in study.ended() if trial.duration_s is not None]
    if len(took) < 2:
        return None
    each = sum(took) / len(took)
    left = [max(0.0, each - (now - t.started_at)) for t in study.trials.values() if not t.state.is_final]
    free_at = sorted(left + [0.0] * (max(study.places, 1) - len(left)))
    to_begin = max(0, study.trials_wanted - len(study.trials))
    if to_begin > _BEGUN_ONE_BY_ONE:
        return (sum(free_at) + to_begin * each) / len(free_at)
    for _ in range(to_begin):
        heapq.heappushpop(free_at, free_at[0] + each)
    return max(free_at) or None


def leaders(study: Study, limit: int = 10) -> list[Trial]:
    """The best trials, those that came to their end before those that were stopped."""
    counted = [trial for trial in study.trials.values() if trial.has_value]
    order = {TrialState.DONE: 0, TrialState.STOPPED: 1}
    return sorted(counted, key=lambda t: (order[t.state], study.direction.loss(t.value or 0.0), t.number))[:limit]


def failures(study: Study) -> dict[str, list[int]]:
    """Numbers of failed trials by reason, the most frequent first."""
    found: dict[str, list[int]] = {}
    for trial in study.trials.values():
        if trial.state is TrialState.FAILED:
            found.setdefault(trial.reason, []).append(trial.number)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def trials(numbers: list[int]) -> str:
    """``[3, 4, 9]`` -> ``trials 3, 4, 9``; a long list is cut."""
    shown = ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
    return f"trial{'s' * (len(numbers) > 1)} {shown}"
