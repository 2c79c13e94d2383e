"""Studies whose ranks, workers, kernels and clusters die: nothing finished is lost, nothing runs twice unless retried."""

import os
import signal

import pytest
from studying import EPOCHS, kill_worker, supervisor_of, until

from hops_magic.engine.submit import StudyHandle, attach
from hops_magic.errors import OptionError, UsageError
from hops_magic.registry import layout
from hops_magic.registry.registry import LOST_REASON
from hops_magic.runs.states import RunState, TrialState
from hops_magic.training import follow
from hops_magic.tuning.space import grid, uniform

pytestmark = pytest.mark.usefixtures("nothing_is_left")

PARABOLA = {"x": uniform(0.0, 1.0)}


def test_a_killed_rank_costs_a_retry(begin, session):
    handle = begin(EPOCHS, {"x": grid([0.1, 0.2])}, {"epochs": 10, "pause": 0.2}, trials=2, search="grid", stop="none")
    until(handle, lambda study: study.trials and study.trials[0].step > 1)
    pids = [rank.pid for rank in handle.trial(0).ranks.values()]
    os.kill(pids[0], signal.SIGKILL)
    study = session.watch_study(handle, {}, show=False)
    assert study.summary.trials[0].attempt == 1
    assert "SIGKILL" in study.summary.trials[0].retries[0]
    assert set(study.trials["state"]) == {"done"}
    assert study.curve(0).keys() == set(range(1, 11))


def test_retries_have_an_end(tune):
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL) if x > 0.5 else None\nx"
    study = tune(source, {"x": grid([0.1, 0.9])}, trials=2, search="grid", retries=1)
    failed = study.summary.trials[1]
    assert (failed.state, failed.attempt) == (TrialState.FAILED, 1)
    assert "SIGKILL (after 1 retry)" in failed.reason
    assert study.best == {"x": 0.1}


@pytest.mark.parametrize("victim", ["another worker", "the supervisor's worker"])
def test_a_killed_worker_loses_no_finished_trial_and_runs_none_twice(victim, begin, session, tmp_path):
    log = tmp_path / "executions"
    source = f"import pathlib\npathlib.Path(log).open('a').write(f'{{x}} ')\n{EPOCHS}"
    namespace = {"log": str(log), "epochs": 5, "pause": 0.1}
    space = {"x": grid([float(i) for i in range(12)])}
    handle = begin(source, space, namespace, trials=12, search="grid", stop="none", retries=2)
    study = until(handle, lambda study: len(study.ended()) >= 3)
    finished = {t.number: t.value for t in study.ended()}
    supervisor = supervisor_of(session, handle)
    others = [trial.place for trial in study.trials.values() if trial.place != supervisor]
    kill_worker(session, supervisor if victim.startswith("the") else others[-1])
    ended = session.watch_study(handle, {}, show=False)
    assert ended.state is RunState.DONE
    assert set(ended.trials["state"]) == {"done"}
    assert {n: ended.summary.trials[n].value for n in finished} == finished
    # each point has its trial, those that ran when the supervisor died included
    assert sorted(trial.values["x"] for trial in ended.summary.trials.values()) == [float(i) for i in range(12)]
    assert not any(ended.summary.trials[number].attempt for number in finished)
    started = [float(text) for text in log.read_text().split()]
    for trial in ended.summary.trials.values():
        # one that is tried again may have died before its cell's first line
        assert 1 <= started.count(trial.values["x"]) <= 1 + trial.attempt
    if victim.startswith("the"):
        assert ended.summary.restarts == ("the supervisor's worker died",)


def test_the_supervisors_successor_knows_what_trials_said_and_where_the_best_left_its_values(begin, session, tmp_path):
    source = """
import pathlib, time
import hops_magic as hops
made = [x]
again = pathlib.Path(folder, f"again-{x}")
if x > 0.2 and again.exists():
    hops.report(step=2, loss=9.0)
else:
    again.touch()
    hops.report(step=1, loss=x)
    while x > 0.2:
        time.sleep(0.05)
"""
    space = {"x": grid([0.1, 0.5])}
    namespace = {"folder": str(tmp_path)}
    handle = begin(source, space, namespace, trials=2, search="grid", stop="none", score="best", keep_model=True)
    until(handle, lambda study: len(study.ended()) == 1 and len(study.trials) == 2 and study.trials[1].step == 1)
    kill_worker(session, supervisor_of(session, handle))
    study = session.watch_study(handle, namespace, show=False)
    assert study.summary.restarts == ("the supervisor's worker died",)
    assert study.summary.trials[1].value == 0.5
    assert study.curve(1) == {1: 0.5, 2: 9.0}
    assert namespace["made"] == [0.1]


def test_a_study_outlives_its_kernel(begin, session, dask_cluster):
    from distributed import Client

    handle = begin(EPOCHS, PARABOLA, {"epochs": 4, "pause": 0.1}, trials=8, stop="none")
    until(handle, lambda study: len(study.ended()) >= 1)
    with Client(dask_cluster.scheduler_address, set_as_default=False) as other:
        found = attach(other, handle.run_id[:8])
        assert isinstance(found, StudyHandle)
        study = follow(found)
    assert study.state is RunState.DONE
    assert len(study.trials) == 8
    session.watch_study(handle, {}, show=False)


def test_a_study_goes_on_after_everything_was_shut_down(tune, begin, session):
    first = tune("x", PARABOLA, trials=5, parallel=1, name="to be continued", search="tpe")
    with pytest.raises(OptionError, match="must be more than 5"):
        begin("x", PARABOLA, trials=5, resume="to be continued")
    with pytest.raises(UsageError, match="line 1 of the cell was 'x' and is 'x \\+ 1'"):
        begin("x + 1", PARABOLA, trials=8, resume="to be continued")
    with pytest.raises(UsageError, match="x"):
        begin("x", {"x": uniform(0.0, 2.0)}, trials=8, resume="to be continued")
    second = tune("x", PARABOLA, trials=8, parallel=1, resume="to be continued", patience=3)
    assert second.summary.search == "tpe"
    assert second.run_id == first.run_id
    assert len(second.trials) == 8
    assert second.trials["x"].tolist()[:5] == first.trials["x"].tolist()
    assert len(set(second.trials["x"])) == 8


def test_a_study_of_which_only_the_end_was_lost_is_ended_without_another_trial(begin, tune, session, tmp_path):
    source = """
with open(log, "a") as lines: lines.write("begun\\n")
answer = x
x
"""
    space, names = {"x": grid([3.0, 1.0, 2.0])}, {"log": str(tmp_path / "log")}
    options = {"trials": 3, "keep_model": True}
    handle = begin(source, space, dict(names), search="grid", name="cut off at its end", **options)
    follow(handle)
    # as who looked after its cluster was gone has recorded it
    client, info = session.registry.store.client, session.registry.run(handle.run_id)
    client.set_tag(info.record_id, layout.TAG_STATE, "failed")
    client.set_tag(info.record_id, layout.TAG_REASON, LOST_REASON)
    found = dict(names)
    study = tune(source, space, found, resume="cut off at its end", **options)
    assert (study.state, study.best_value, found["answer"]) == (RunState.DONE, 1.0, 1.0)
    assert (tmp_path / "log").read_text().count("begun") == 3
    assert session.registry.run(handle.run_id).state is RunState.DONE


def test_a_study_grows_with_its_cluster(begin, session, dask_cluster):
    handle = begin(EPOCHS, PARABOLA, {"epochs": 4000, "pause": 0.05}, trials=8, stop="none")
    until(handle, lambda study: study.places == 3)
    try:
        dask_cluster.scale(4)
        study = until(handle, lambda study: study.places == 4)
        assert study.places_wanted == 4
        until(handle, lambda study: len(study.trials) == 4)
    finally:
        handle.stop()
        session.watch_study(handle, {}, show=False)
        dask_cluster.scale(3)
