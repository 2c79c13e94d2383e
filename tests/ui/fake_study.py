"""A study that needs no cluster: says what a real one says, as fast as it is told, until it is stopped."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator

from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, advance_study_all
from hops_magic.widgets import StudyView, detect, open_study_view

REPORT = "<table><tbody><tr><td>x_train</td><td>ndarray</td></tr></tbody></table>"


def curve(lr: float, units: int, step: int) -> float:
    rate = 0.3 / (1 + abs(math.log10(lr) + 2.5))
    return 0.05 + 0.02 * abs(math.log10(lr) + 2.5) + 4 / units + math.exp(-rate * step)


def trials(count: int, reports: int, places: int = 8) -> Iterator[list[ev.Event]]:
    """Yield batches: each place's next report, until all trials have ended."""
    random.seed(7)
    yield [
        ev.StateChanged(at=time.time(), state=RunState.RUNNING),
        ev.Places(at=time.time(), held=places, wanted=places),
    ]
    running: dict[int, tuple[float, int, int]] = {}
    started = 0
    while started < count or running:
        batch: list[ev.Event] = []
        while len(running) < places and started < count:
            lr, units = 10 ** random.uniform(-5, 0), random.choice([16, 32, 64, 128])
            values = {"lr": lr, "units": units, "act": random.choice(["relu", "tanh"])}
            batch.append(ev.TrialStarted(at=time.time(), trial=started, values=values, point=values, place="tls://w:1"))
            running[started] = (lr, units, 0)
            started += 1
        for number, (lr, units, step) in list(running.items()):
            loss = curve(lr, units, step + 1) + random.gauss(0, 0.004)
            values = {"val_loss": loss, "loss": loss * 0.9}
            batch.append(ev.TrialReported(at=time.time(), trial=number, step=step + 1, values=values))
            running[number] = (lr, units, step + 1)
            if ended := _ended(number, step + 1, reports, loss):
                batch.append(ended)
                del running[number]
        yield batch


def _ended(number: int, step: int, reports: int, loss: float) -> ev.TrialEnded | None:
    if number % 29 == 17:
        error = "ValueError in cell 4, line 3\n----> 3 model.fit(x, y)"
        return ev.TrialEnded(at=time.time(), trial=number, state=TrialState.FAILED, reason="ValueError: shapes", error=error)
    if step >= reports:
        return ev.TrialEnded(at=time.time(), trial=number, state=TrialState.DONE, value=loss)
    if step > reports // 4 and loss > 0.6:
        reason = "median: its best, 0.61, is worse than 0.42, the median of 7 other trials' means over steps 4 to 9"
        return ev.TrialEnded(at=time.time(), trial=number, state=TrialState.STOPPED, value=loss, reason=reason)
    return None


def fetch(number: int) -> Run:
    now = time.time()
    events: list[ev.Event] = [ev.StateChanged(at=now, state=RunState.RUNNING)]
    for step in range(1, 21):
        events.append(ev.Metrics(rank=0, step=step, scope="epoch", values={"loss": 1 / step, "val_loss": 1.1 / step}))
    events.append(ev.Output(rank=0, stream="stdout", text=f"output of trial {number}\n"))
    return advance_all(Run(run_id=f"s-{number}"), events)


def follow(count: int, reports: int, *, pace_s: float = 0.02, wanted: int | None = None, places: int = 8) -> Study:
    """Show the study as a cell's magic does; returns it when it is over or stopped."""
    stop = threading.Event()
    stopped: set[int] = set()
    study = Study(
        run_id="study-4f2a",
        name="digits-tuned",
        experiment="digits",
        metric="val_loss",
        trials_wanted=wanted or count,
        names=("lr", "units", "act"),
        log_names=("lr",),
        created_at=time.time(),
        search="auto",
        stopping="median",
    )
    view = open_study_view(
        study,
        on_stop=stop.set,
        on_stop_trial=stopped.add,
        fetch_trial=fetch,
        importance=lambda _: {"lr": 0.72, "units": 0.25, "act": 0.03},
        report_html=REPORT,
    )
    if detect().is_blocked_by_cells:
        # such a page is shown when its cells have ended
        threading.Thread(target=_feed, args=(view, study, trials(count, reports, places), stop, stopped, pace_s)).start()
        return study
    return _feed(view, study, trials(count, reports, places), stop, stopped, pace_s)


def _feed(
    view: StudyView,
    study: Study,
    batches: Iterator[list[ev.Event]],
    stop: threading.Event,
    stopped: set[int],
    pace_s: float,
) -> Study:
    for batch in batches:
        study = advance_study_all(study, batch)
        while stopped:
            ended = ev.TrialEnded(
                at=time.time(), trial=stopped.pop(), state=TrialState.STOPPED, reason="stopped by the user"
            )
            study = advance_study_all(study, [ended])
        view.update(study)
        if stop.wait(pace_s):
            break
    state = RunState.STOPPED if stop.is_set() else RunState.DONE
    study = advance_study_all(study, [ev.StateChanged(at=time.time(), state=state)])
    view.close(study)
    return study
