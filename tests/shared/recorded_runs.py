"""Runs with a made-up story, recorded as their supervisor would."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hops_magic.registry import RunRecord
from hops_magic.registry.recorder import Recorder, RecorderSpec
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState
from hops_magic.settings import Settings

START = 1_790_000_000.0


def record(
    settings: Settings, run_id: str, events: Sequence[ev.Event] = (), *, state: RunState = RunState.DONE, **fields: object
) -> Run:
    return finished(opened(settings, run_id, **fields), run_id, events, state)


def opened(settings: Settings, run_id: str, **fields: object) -> Recorder:
    given = {"name": run_id, "experiment": "digits", "source": "model.fit(x, y)\n", "created_at": START, **fields}
    return RecorderSpec(settings=settings, record=RunRecord(run_id=run_id, **given))(settings.runs / run_id)


def finished(recorder: Recorder, run_id: str, events: Sequence[ev.Event], state: RunState = RunState.DONE) -> Run:
    story = [
        ev.StateChanged(at=START + 1, state=RunState.RUNNING),
        *events,
        ev.StateChanged(at=START + 61, state=state, reason="" if state is RunState.DONE else "because"),
    ]
    run = advance_all(Run(run_id=run_id, name=run_id, created_at=START), story)
    recorder.events(story)
    recorder.finish(run)
    return run


def epochs(*losses: float, name: str = "loss", scope: str = "epoch", rank: int = 0, at: float = START) -> list[ev.Event]:
    return [
        ev.Metrics(at=at + step, rank=rank, step=step, scope=scope, values={name: loss})
        for step, loss in enumerate(losses, 1)
    ]


def wait_until(predicate: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not predicate():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
