"""After random kills notebook, record, REST and journal tell the same of a study."""

import contextlib
import json
import os
import random
import signal

import pytest
from full_disk import full_disk
from studying import EPOCHS, kill_worker, supervisor_of, until
from waiting import wait_until

from hops_magic.api import endpoints
from hops_magic.api.context import Context
from hops_magic.api.routing import answer
from hops_magic.engine.journal import read_journal
from hops_magic.registry import STUDY_FILE
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study, recalled
from hops_magic.session import Session
from hops_magic.settings import Settings
from hops_magic.tuning.space import grid

assert endpoints.__all__
pytestmark = pytest.mark.usefixtures("nothing_is_left")

TRIALS = 14


@pytest.fixture
def elsewhere(home):
    """A server's view, which knows of no cluster: what it tells comes from the record."""
    made = Context(Session(Settings.from_environment()))
    yield made
    made.close()


def kill_rank(session, handle, chance):
    running = [t.number for t in handle.follower.run.trials.values() if not t.state.is_final]
    trial = handle.trial(chance.choice(running)) if running else None
    for rank in trial.ranks.values() if trial else ():
        if rank.alive and rank.pid:
            with contextlib.suppress(ProcessLookupError):  # it came to its end first
                os.kill(rank.pid, signal.SIGKILL)


def kill_another_worker(session, handle, chance):
    supervisor = supervisor_of(session, handle)
    others = sorted({t.place for t in handle.follower.run.trials.values() if not t.state.is_final} - {supervisor})
    if others:
        kill_worker(session, chance.choice(others))


def kill_supervisors_worker(session, handle, chance):
    kill_worker(session, supervisor_of(session, handle))


def as_told(state, value, curve):
    return state, None if value is None else round(value, 9), {int(step): round(value, 9) for step, value in curve.items()}


def by_journal(study, folder):
    whole = recalled(Study(run_id=study.run_id, metric="score"), read_journal(folder))
    return {
        t.number: as_told(t.state.value, t.value, dict(zip(t.curve.steps, t.curve.values, strict=True)))
        for t in whole.trials.values()
    }


def by_notebook(study):
    rows = study.trials
    return {n: as_told(rows.state[n], float(rows.score[n]), study.curve(n)) for n in rows.index}


def by_record(registry, run_id):
    found = {}
    for child in registry.children(run_id):
        value = json.loads(child.tags["hops.value"])["value"]
        curve = {step: value for step, value, _ in registry.metrics(child)["score"]}
        found[int(child.name.rpartition("-")[2])] = as_told(child.state.value, value, curve)
    return found


def by_rest(context, run_id):
    def ask(path, **query):
        return answer(context, "GET", path, {name: [value] for name, value in query.items()})[0]

    found = {}
    for row in ask("/runs", parent=run_id, limit="100")["items"]:
        course = ask(f"/runs/{row['run_id']}/metrics", names="score")["items"][0]
        curve = dict(zip(course["steps"], course["values"], strict=True))
        found[int(row["name"].rpartition("-")[2])] = as_told(row["state"], row["leading"]["best"], curve)
    live = ask(f"/runs/{run_id}/live")
    shown = {t["number"]: (t["state"], t["value"]) for update in live["updates"] for t in update.get("trials", ())}
    assert shown == {number: (state, pytest.approx(value)) for number, (state, value, _) in found.items()}
    return found, ask(f"/runs/{run_id}")


WAITING = """
import pathlib
while x > 5 and not pathlib.Path(gate).exists():
    time.sleep(0.05)
"""
"""The end of a cell whose last trial lasts until the test lets it go."""


@pytest.mark.parametrize("seed", [1, 2])
def test_after_random_kills_all_tell_one_truth(seed, begin, session, elsewhere, home, tmp_path):
    chance = random.Random(seed)
    kills = [kill_rank, kill_another_worker, kill_supervisors_worker]
    chance.shuffle(kills)
    moments = sorted(chance.sample(range(1, TRIALS - 3), len(kills)))
    space = {"x": grid([*(round(chance.random(), 3) for _ in range(TRIALS - 1)), 10.0])}
    source = EPOCHS.replace("loss=", "score=") + WAITING
    namespace = {"epochs": 4, "pause": 0.1, "gate": str(tmp_path / "gate")}
    options = {"minimize": "score", "search": "grid", "stop": "none", "retries": 9}
    handle = begin(source, space, namespace, trials=TRIALS, name=f"killed-{seed}", **options)
    for moment, kill in zip(moments, kills, strict=True):
        until(handle, lambda s, moment=moment: len(s.ended()) >= moment)
        kill(session, handle, chance)
    finished = {t.number for t in until(handle, lambda s: len(s.ended()) == TRIALS - 1).ended()}
    # what has ended is recorded so while the study goes on, whoever wrote the record before
    wait_until(lambda: recorded_ends(session, handle.run_id) == finished, "the finished trials' record")
    (tmp_path / "gate").touch()
    study = session.watch_study(handle, {}, show=False)
    told = by_notebook(study)
    assert (study.state, len(told), {state for state, *_ in told.values()}) == (RunState.DONE, TRIALS, {"done"})
    assert by_journal(study, home / "runs" / study.run_id) == told
    assert by_record(session.registry, study.run_id) == told
    rows, whole = by_rest(elsewhere, study.run_id)
    assert rows == told
    best = min(value for _, value, _ in told.values())
    info = session.registry.run(study.run_id)
    figures = [study.best_value, info.curve.best, info.metrics["best/score"], whole["leading"]["best"]]
    assert figures == [pytest.approx(best)] * 4
    assert (info.state, info.incomplete, whole["state"], whole["reason"]) == (
        RunState.DONE,
        "",
        "done",
        study.summary.reason,
    )
    assert len(info.end["restarts"]) == len(study.summary.restarts) >= 1


def recorded_ends(session, run_id):
    return {int(c.name.rpartition("-")[2]) for c in session.registry.runs(parent=run_id, limit=100) if c.state.is_final}


def test_a_study_that_ends_on_a_full_disk_is_never_called_lost(begin, session, elsewhere, home, tmp_path):
    source = EPOCHS.replace("loss=", "score=") + WAITING.replace("x > 5", "x >= 0")
    namespace = {"epochs": 4, "pause": 0.0, "gate": str(tmp_path / "gate")}
    space = {"x": grid([0.3, 0.1, 0.2])}
    handle = begin(source, space, namespace, trials=3, minimize="score", search="grid", stop="none", name="on a full disk")
    info = wait_until(lambda: session.registry.runs(text="on a full disk"), "the study's record")[0]
    wait_until(lambda: session.registry.text(info, STUDY_FILE, default=""), "the study's description")
    with full_disk(session.settings):
        (tmp_path / "gate").touch()
        study = session.watch_study(handle, {}, show=False)
        assert any("the record of the run is not complete" in text for text in study.summary.warnings)
        info = session.registry.run(study.run_id)
        assert (study.state, info.state, info.incomplete) == (RunState.DONE, RunState.DONE, "0 of 3 trials")
    # there is room again
    assert session.reconcile() == [study.run_id]
    assert session.registry.run(study.run_id).incomplete == ""
    assert by_notebook(study) == by_journal(study, home / "runs" / study.run_id) == by_record(session.registry, study.run_id)
    rows, whole = by_rest(elsewhere, study.run_id)
    assert rows == by_notebook(study)
    assert (whole["state"], whole["incomplete"], whole["leading"]["best"]) == ("done", "", pytest.approx(study.best_value))
