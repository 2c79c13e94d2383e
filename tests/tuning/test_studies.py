"""Studies on a real cluster: values, stops, errors, faults; that nothing finished is lost and nothing is left behind."""

import os
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from studying import EPOCHS, until
from waiting import wait_until

from hops_magic.engine.submit import cluster_state
from hops_magic.errors import OptionError, RunFailedError, UsageError
from hops_magic.runs.states import RunState, TrialState
from hops_magic.training import follow
from hops_magic.tuning.space import choice, grid, uniform

PARABOLA = {"x": uniform(0.0, 1.0)}


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_values_go_in_and_the_best_comes_back(tune):
    namespace = {"target": 0.25}
    study = tune("(x - target) ** 2", PARABOLA, namespace, trials=12, parallel=3)
    assert study.state is RunState.DONE
    assert len(study.trials) == 12
    assert set(study.trials["state"]) == {"done"}
    assert study.best_value == study.trials["loss"].min() == pytest.approx((study.best["x"] - 0.25) ** 2)
    assert namespace["best"] == study.best
    assert namespace["study"] is study
    assert "came to its end with loss" in study.why(3)


def test_functions_of_the_notebook_read_the_values_of_each_trial(tune):
    namespace = {"__name__": "__main__", "x": 100.0}
    exec("def distance():\n    return abs(x - 3)", namespace)
    study = tune("distance()", {"x": grid([1.0, 3.0, 9.0])}, namespace, trials=3, search="grid")
    assert study.trials["loss"].tolist() == [2.0, 0.0, 6.0]


def test_what_a_cell_reports_counts_when_it_returns_no_number(tune):
    study = tune(EPOCHS, PARABOLA, {"epochs": 3, "pause": 0.0}, trials=3, stop="none")
    for number in range(3):
        x = study.summary.trials[number].values["x"]
        assert study.curve(number) == pytest.approx({1: x + 1, 2: x + 1 / 2, 3: x + 1 / 3})
        assert study.summary.trials[number].value == pytest.approx(x + 1 / 3)


def test_the_best_report_counts_when_asked_for(tune):
    source = (
        "import hops_magic as hops\nfor step, v in enumerate([3.0, 1.0, 2.0], 1):\n    hops.report(step=step, acc=v * x)"
    )
    study = tune(
        source, {"x": grid([1.0, 2.0])}, trials=2, search="grid", minimize=None, maximize="acc", score="best", stop="none"
    )
    assert study.best == {"x": 2.0}
    assert study.best_value == 6.0


def test_a_rule_stops_hopeless_trials_and_says_why(tune):
    space = {"x": grid([0.0, 0.1, 0.2, 0.3, 0.4, 9.0])}
    study = tune(EPOCHS, space, {"epochs": 30, "pause": 0.02}, trials=6, search="grid", stop="median", parallel=1)
    stopped = study.summary.trials[[t.values["x"] for t in study.summary.trials.values()].index(9.0)]
    assert stopped.state is TrialState.STOPPED
    assert "median" in stopped.reason
    assert stopped.step < 30
    assert "was stopped at step" in study.why(stopped.number)
    assert study.best["x"] == 0.0


def test_step_and_value_of_a_stopped_trial_are_those_of_the_decision(tune):
    class Third:
        def report(self, trial, step, loss):
            return f"enough at {step} with {loss}" if step == 3 else ""

        def ended(self, trial, state):
            pass

    class Count:
        def ask(self, number):
            return {"x": number / 4}

        def tell(self, number, point, outcome):
            if outcome.state is not TrialState.STOPPED or (outcome.step, outcome.loss) != (3, number / 4 + 3):
                raise ValueError(outcome)

    # it says all at once, and most come to their end before they can be stopped
    source = "import hops_magic as hops\nfor step in range(1, 31):\n    hops.report(step=step, loss=x + step)\nx - 1"
    study = tune(source, PARABOLA, trials=4, parallel=2, search=Count(), stop=Third())
    for trial in study.summary.trials.values():
        assert (trial.state, trial.step, trial.value) == (TrialState.STOPPED, 3, trial.values["x"] + 3)
        assert study.curve(trial.number) == {step: trial.values["x"] + step for step in (1, 2, 3)}
        assert f"was stopped at step 3 with loss {trial.value:.6g}: enough at 3" in study.why(trial.number)


def test_an_object_of_ones_own_searches_and_stops(tune):
    class Count:
        def ask(self, number):
            return {"x": number / 10} if number < 4 else None

        def tell(self, number, point, outcome):
            pass

    class Never:
        def report(self, trial, step, loss):
            return "I have seen enough" if trial == 2 else ""

        def ended(self, trial, state):
            pass

    study = tune(EPOCHS, PARABOLA, {"epochs": 20, "pause": 0.01}, trials=9, search=Count(), stop=Never(), parallel=2)
    assert sorted(t.values["x"] for t in study.summary.trials.values()) == [0.0, 0.1, 0.2, 0.3]
    assert study.summary.trials[2].reason == "I have seen enough"
    assert study.summary.reason == "the search has no more points"


def test_a_search_or_a_rule_that_fails_is_named(tune):
    class Broken:
        def __init__(self, breaks):
            self.breaks = breaks

        def ask(self, number):
            if self.breaks == "ask" and number:
                raise KeyError("lost")
            return {"x": number / 10}

        def tell(self, number, point, outcome):
            if self.breaks == "tell":
                raise ValueError("no")

        def report(self, trial, step, loss):
            raise ZeroDivisionError("rule")

        def ended(self, trial, state):
            pass

    for breaks, sentence in [("ask", "the search failed in proposing trial 1: KeyError"), ("tell", "learning from trial 0")]:
        with pytest.raises(RunFailedError, match=sentence):
            tune("x", PARABOLA, trials=9, parallel=1, search=Broken(breaks), stop="none")
    with pytest.raises(RunFailedError, match="the stopping rule failed: ZeroDivisionError: rule"):
        tune(EPOCHS, PARABOLA, {"epochs": 50, "pause": 0.05}, trials=9, parallel=1, stop=Broken("report"))


def test_objects_that_end_their_process_or_cannot_travel_are_named(tune):
    class Ending:
        def __init__(self, returned=None):
            self.returned = returned

        def __len__(self):
            return 0

        def ask(self, number):
            raise SystemExit(3)

        def report(self, trial, step, loss):
            if self.returned is None:
                raise KeyboardInterrupt
            return self.returned

        def tell(self, number, point, outcome):
            pass

        def ended(self, trial, state):
            pass

    with pytest.raises(RunFailedError, match=r"the search failed in proposing trial [01]: SystemExit: 3"):
        tune("x", PARABOLA, trials=9, parallel=1, search=Ending(), stop="none")
    for rule, sentence in [
        (Ending(), "the stopping rule failed: KeyboardInterrupt"),
        (Ending(True), "as a text, .* got True"),
    ]:
        with pytest.raises(RunFailedError, match=sentence):
            tune(EPOCHS, PARABOLA, {"epochs": 3, "pause": 0.0}, trials=9, parallel=1, stop=rule)
    with pytest.raises(UsageError, match=r"--search: the object of type Ending cannot be sent to the cluster .*lock"):
        tune("x", PARABOLA, trials=9, search=Ending(threading.Lock()))


def test_an_error_fails_its_trial_and_the_study_goes_on(tune):
    source = "if x > 0.5:\n    raise ValueError(f'too large: {x}')\nx"
    study = tune(source, {"x": grid([0.1, 0.9, 0.2])}, trials=3, search="grid", parallel=1)
    failed = study.summary.trials[1]
    assert failed.state is TrialState.FAILED
    assert "too large: 0.9" in failed.reason
    assert "line 3" in failed.error
    assert study.best == {"x": 0.1}


def test_the_same_error_in_the_first_trials_ends_the_study(tune):
    with pytest.raises(RunFailedError, match="the first 3 trials failed with the same error: KeyError") as caught:
        tune("{}['no such layer'] * x", PARABOLA, trials=50, parallel=1)
    assert "line 2" in str(caught.value)
    with pytest.raises(RunFailedError, match="the first 3 trials failed with the same error: ValueError: 0"):
        tune("raise ValueError(x)", PARABOLA, trials=50, parallel=1)


def test_a_metric_that_is_never_reported_is_named_with_those_that_were(tune):
    source = "import hops_magic as hops\nhops.report(step=1, accuracy=x)"
    with pytest.raises(RunFailedError, match="loss was never reported; the cell said accuracy"):
        tune(source, PARABOLA, trials=20, parallel=1)
    with pytest.raises(RunFailedError, match="its last expression is of type str, which is no number"):
        tune("str(x)", PARABOLA, trials=20, parallel=1)
    with pytest.raises(RunFailedError, match="the loss of its last expression is of type list, which is no number"):
        tune("{'loss': [x, x]}", PARABOLA, trials=20, parallel=1)


def test_a_silent_trial_does_not_end_a_study(tune):
    space = {"x": grid([0.9, 0.8, 0.7, 0.1])}
    study = tune("x if x < 0.5 else None", space, trials=4, search="grid", parallel=1, fail_fast=0)
    assert list(study.trials["state"]) == ["failed", "failed", "failed", "done"]
    assert "loss was never reported" in study.why(0)
    assert study.best == {"x": 0.1}


def test_a_metric_that_no_trial_said_fails_the_study_after_the_last(tune):
    with pytest.raises(RunFailedError, match="failed: loss was never reported; the cell said no metric at all"):
        tune("None if x < 2 else x", PARABOLA, trials=4, parallel=2, fail_fast=0)


def test_a_study_without_a_value_leaves_no_best_of_another(tune):
    namespace = {"best": {"x": 1.0}}
    study = tune("raise ValueError(x)", PARABOLA, namespace, trials=1)
    assert study.summary.best is None
    assert "best" not in namespace


def test_a_study_that_failed_leaves_neither_best_nor_study_of_another(tune):
    namespace = {"best": {"x": 1.0}, "study": "of before"}
    with pytest.raises(RunFailedError, match="the first 2 trials failed with the same error"):
        tune("raise ValueError(x)", PARABOLA, namespace, trials=9, parallel=1, fail_fast=2)
    assert "best" not in namespace
    assert namespace["study"].state is RunState.FAILED
    assert set(namespace["study"].trials["state"]) == {"failed"}


def test_an_array_of_one_number_is_a_number(tune):
    source = (
        "import numpy as np\nimport hops_magic as hops\nhops.report(step=1, acc=np.array([x]))\n{'loss': np.array([[x]])}"
    )
    study = tune(source, {"x": grid([0.25, 0.5])}, trials=2, search="grid")
    assert study.trials["loss"].tolist() == [0.25, 0.5]
    assert study.summary.trials[0].latest == {"acc": 0.25}


def test_a_metric_that_is_no_number_fails_its_trial(tune):
    source = (
        "import hops_magic as hops\nhops.report(step=1, loss=float('nan') if x > 0.5 else x)\nimport time; time.sleep(0.2)"
    )
    study = tune(source, {"x": grid([0.1, 0.9])}, trials=2, search="grid")
    assert study.summary.trials[1].state is TrialState.FAILED
    assert "loss was nan at step 1" in study.why(1)


def test_target_and_patience_end_the_study(tune):
    study = tune("x", {"x": grid([0.9, 0.5, 0.1, 0.8])}, trials=4, search="grid", target=0.5, parallel=1)
    assert len(study.trials) in (2, 3)  # the next may have begun already
    assert "0.5" in study.summary.reason
    study = tune("x", {"x": grid([0.1, 0.5, 0.6, 0.7, 0.8, 0.9])}, trials=6, search="grid", patience=3, parallel=1)
    assert 4 <= len(study.trials) <= 5


def test_the_value_of_a_stopped_trial_is_no_target_reached(tune):
    class First:
        def report(self, trial, step, loss):
            return "enough" if trial == 0 else ""

        def ended(self, trial, state):
            pass

    space = {"x": grid([0.0, 0.5, 0.6])}
    study = tune(EPOCHS, space, {"epochs": 3, "pause": 0.1}, trials=3, search="grid", stop=First(), target=1.2, parallel=1)
    assert study.summary.trials[0].value <= 1.2
    assert study.summary.trials[0].state is TrialState.STOPPED
    assert study.summary.trials[1].state is TrialState.DONE


def test_a_target_to_maximize_is_told_as_the_user_knows_it(tune):
    space = {"x": grid([0.2, 0.9, 0.3])}
    study = tune("x", space, trials=3, search="grid", minimize=None, maximize="score", target=0.5, parallel=1)
    assert study.summary.reason == "the target of 0.5 is reached"


def test_a_budget_ends_the_study_and_its_trials(tune):
    study = tune(EPOCHS, PARABOLA, {"epochs": 4000, "pause": 0.05}, trials=50, stop="none", budget="1s")
    assert (study.state, study.summary.reason) == (RunState.DONE, "its budget of 1 s is used up")
    assert set(study.trials["state"]) == {"stopped"}
    assert study.summary.elapsed_s >= 1.0


def test_a_function_is_tuned_from_python_with_a_search_of_ones_own(session):
    class Middle:
        def ask(self, number):
            return {"x": 0.5 + number}

        def tell(self, number, point, outcome):
            pass

    def train(x, k, bias=10.0):
        return {"loss": (x - 0.25) ** 2 * k + bias}

    options = {"minimize": "loss", "framework": "none", "trials": 3, "parallel": 1, "show": False}
    study = session.tune(train, {"x": uniform(0.0, 9.0), "k": 2}, search=Middle(), stop="none", **options)
    assert study.trials["x"].tolist() == [0.5, 1.5, 2.5]
    assert study.best == {"x": 0.5, "k": 2}
    assert study.best_value == pytest.approx(10.125)
    known = session.tune(train, {"x": uniform(0.0, 9.0), "k": 2}, start_with={"x": 0.25}, search="random", **options)
    assert known.trials["x"][0] == known.best["x"] == 0.25


def test_a_single_trial_leaves_no_warm_process_behind(tune, session):
    def children():
        pids = session.clusters.current().client.run(os.getpid).values()
        return {child.pid for pid in pids for child in psutil.Process(pid).children()}

    before = children()
    tune("x", PARABOLA, trials=1)
    wait_until(lambda: children() <= before, "the end of the study's own warm process")


def test_known_points_are_tried_first(tune):
    study = tune("x", PARABOLA, trials=3, start_with="[{'x': 0.125}, {'x': 0.5}]", parallel=1)
    assert [study.summary.trials[n].values["x"] for n in (0, 1)] == [0.125, 0.5]


def test_a_trial_may_have_several_ranks(tune):
    source = "import hops_magic as hops\nhops.all_reduce(x) + 0 * hops.world_size"
    study = tune(source, {"x": grid([1.0, 3.0])}, trials=2, search="grid", workers_per_trial=3)
    assert study.trials["loss"].tolist() == [3.0, 9.0]


def test_the_same_seed_suggests_the_same_points(tune):
    first = tune("x", PARABOLA, trials=6, parallel=1, seed=7)
    second = tune("x", PARABOLA, trials=6, parallel=1, seed=7)
    other = tune("x", PARABOLA, trials=6, parallel=1, seed=8)
    assert first.trials["x"].tolist() == second.trials["x"].tolist() != other.trials["x"].tolist()


def test_large_data_reaches_every_trial(tune):
    data = np.arange(400_000, dtype=float)
    study = tune("float(data.sum()) * x", {"x": grid([1.0, 2.0, 3.0])}, {"data": data}, trials=3, search="grid")
    assert study.trials["loss"].tolist() == [data.sum(), 2 * data.sum(), 3 * data.sum()]


def test_objects_and_lists_are_values_too(tune):
    space = {"f": choice([abs, len]), "layers": choice([[32, 16], [8]])}
    study = tune("float(f([1]) if f is len else f(-2)) + len(layers)", space, trials=4, parallel=1)
    assert study.best["layers"] in ([32, 16], [8])
    assert study.best["f"] in (abs, len, "abs", "len")


def test_the_table_has_lists_and_tuples_as_the_trials_had_them(tune):
    space = {"a": grid([[64, 32]]), "b": grid([(1, 2)]), "k": np.float64(0.5)}
    study = tune("float(isinstance(a, list) and isinstance(b, tuple)) * k", space, trials=1, search="grid")
    assert study.trials.loc[0, ["loss", "a", "b", "k"]].tolist() == [0.5, [64, 32], (1, 2), 0.5]
    assert study.summary.trials[0].values == {"a": [64, 32], "b": [1, 2], "k": 0.5}


def test_more_than_the_cluster_has_is_refused_before_anything_starts(begin, session):
    before = set(cluster_state(session.clusters.current().client)["runs"])
    with pytest.raises(OptionError, match="workers_per_trial must be at most 3"):
        begin("x", PARABOLA, workers_per_trial=4)
    with pytest.raises(OptionError, match="gpus_per_trial must be 0 on a cluster without GPUs, got 2"):
        begin("x", PARABOLA, workers_per_trial=2, gpus_per_trial=2)
    with pytest.raises(OptionError, match="parallel must be at most 3"):
        begin("x", PARABOLA, parallel=4)
    with pytest.raises(OptionError, match="must be at least 3"):
        begin("x", {"x": grid([1, 2, 3])}, search="grid", trials=2)
    with pytest.raises(OptionError, match="--minimize or --maximize"):
        begin("x", PARABOLA, minimize=None)
    assert set(cluster_state(session.clusters.current().client)["runs"]) == before


# -- stops -------------------------------------------------------------------------------------------------------------


def test_a_study_is_stopped_and_keeps_what_is_done(begin, session):
    handle = begin(EPOCHS, PARABOLA, {"epochs": 4, "pause": 0.2}, trials=40, stop="none")
    until(handle, lambda study: len(study.ended()) >= 2)
    handle.stop()
    namespace = {}
    study = session.watch_study(handle, namespace, show=False)
    assert study.state is RunState.STOPPED
    assert study.summary.counts[TrialState.DONE] >= 2
    assert all(trial.state.is_final for trial in study.summary.trials.values())
    assert namespace["best"] == study.best


def test_one_trial_is_stopped_alone(begin, session):
    handle = begin(EPOCHS, {"x": grid([0.1, 0.2])}, {"epochs": 400, "pause": 0.05}, trials=2, search="grid", stop="none")
    until(handle, lambda study: all(t.step > 1 for t in study.trials.values()) and len(study.trials) == 2)
    handle.stop_trial(1)
    study = until(handle, lambda study: study.trials[1].state.is_final)
    assert study.trials[1].reason == "stopped by the user"
    assert study.trials[0].state is TrialState.RUNNING
    handle.stop()
    assert session.watch_study(handle, {}, show=False).state is RunState.STOPPED


def test_an_open_trial_tells_all_that_it_said(begin, session):
    source = EPOCHS + "\nprint('the end of', x)"
    handle = begin(source, {"x": grid([0.5])}, {"epochs": 3, "pause": 0.0}, trials=1, search="grid")
    follow(handle)
    run = handle.trial(0)
    assert run.latest["loss"] == pytest.approx(0.5 + 1 / 3)
    assert "the end of 0.5" in "".join(text for _, text in run.ranks[0].output)
    session.watch_study(handle, {}, show=False)


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_study_and_its_trials_are_recorded(tune, session):
    source = "print('hello from', x)\nif x > 0.8:\n    raise ValueError('too large')\nx"
    study = tune(source, {"x": grid([0.1, 0.5, 0.9]), "k": 3}, trials=3, search="grid", name="recorded", experiment="trees")
    info = session.registry.run("recorded")
    assert (info.state, info.experiment) == (RunState.DONE, "trees")
    children = sorted(session.registry.children(info), key=lambda child: child.name)
    assert [child.state for child in children] == [RunState.DONE, RunState.DONE, RunState.FAILED]
    assert [child.params["x"] for child in children] == ["0.1", "0.5", "0.9"]
    assert children[0].params["k"] == "3"
    assert "hello from 0.1" in session.registry.output(children[0])
    assert "too large" in session.registry.error(children[2])
    assert study.name == "recorded"
    # a study of a thousand trials must not fill the list of runs
    assert [run.name for run in session.registry.runs("trees")] == ["recorded"]
    assert len(session.registry.runs("trees", trials=True)) == 4


def test_a_trial_that_lasts_is_in_the_record_while_it_runs(begin, session):
    handle = begin(EPOCHS, {"x": grid([0.5])}, {"epochs": 400, "pause": 0.05}, trials=1, search="grid", name="lasting")
    wait_until(lambda: session.registry.runs(parent=handle.run_id), "the trial's record")
    session.reconcile()
    (child,) = session.registry.children(session.registry.run("lasting"))
    assert child.state is RunState.RUNNING
    handle.stop()
    session.watch_study(handle, {}, show=False)
    (child,) = session.registry.children(session.registry.run("lasting"))
    assert child.state is RunState.STOPPED


def test_the_best_trials_names_come_back_when_kept(tune, home):
    namespace = {}
    study = tune("made = [x] * 3\nx", {"x": grid([0.5, 0.2, 0.7])}, namespace, trials=3, search="grid", keep_model=True)
    assert namespace["made"] == [0.2] * 3
    left = list((Path(home) / "runs" / study.run_id / "trials").glob("*/*.parcel"))
    assert left == []
