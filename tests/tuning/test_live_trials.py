"""A trial in progress: true steps over fits and attempts, and failures that are the same."""

import numpy as np
import pytest

from hops_magic.engine.attempt import AttemptEnd, Verdict
from hops_magic.errors import UsageError
from hops_magic.rank_api import report
from hops_magic.runs import events as ev
from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Study, Trial, advance_study_all, table_of
from hops_magic.tuning.live import Live
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.results import why


def live(number=0, **options):
    return Live(number, {"x": 1.0}, {"x": 1.0}, TuneOptions(minimize="loss", **options))


def epoch(step, loss, fit=1):
    return ev.Metrics(rank=0, step=step, scope="epoch", series=fit, values={"loss": loss})


def failed(trial, message, line):
    trace = f"Cell In[1], line {line}\n    raise ValueError\nValueError: {message}"
    trial.hear(ev.RankError(rank=0, name="ValueError", message=message, traceback=trace))
    return trial.fault(ev.TrialEnded(trial=trial.number, state="failed", reason=message))


def test_the_epochs_of_a_second_fit_follow_those_of_the_first_whichever_of_them_an_attempt_begins_with():
    trial = live()
    assert [trial.hear(epoch(step, 1.0)) for step in (1, 2, 3)] == [1, 2, 3]
    assert [trial.hear(epoch(step, 1.0, fit=2)) for step in (1, 2)] == [4, 5]
    trial.begin_again("killed")
    assert trial.hear(epoch(3, 1.0)) == 3
    assert trial.hear(epoch(2, 1.0, fit=2)) == 5


def test_what_a_trial_said_is_recalled_from_its_journal_or_from_what_viewers_know():
    shown = Trial(number=0)
    for step, loss in [(1, 3.0), (2, 0.5), (3, 2.0)]:
        shown = Trial(number=0, step=step, latest={"loss": loss}, curve=shown.curve.add(step, loss))
    without, whole = live(score="best"), live(score="best")
    without.recall(shown, [])
    whole.recall(shown, [epoch(1, 3.0), epoch(2, 0.5), epoch(1, 2.0, fit=2)])
    for trial in (without, whole):
        assert (trial.best, trial.last, trial.step) == (0.5, 2.0, 3)
    assert whole.hear(epoch(2, 1.0, fit=2)) == 4


def test_failures_are_the_same_if_type_and_line_are():
    first = failed(live(), "x is 0.1", line=3)
    assert failed(live(), "x is 0.2", line=3) == first
    assert failed(live(), "x is 0.1", line=7) != first


def test_what_is_reported_after_a_decision_is_no_part_of_the_trial():
    trial = live()
    assert trial.hear(epoch(1, 3.0)) == 1
    trial.stop_reason = "enough"
    assert trial.hear(epoch(2, 1.0)) is None
    assert (trial.step, trial.last, trial.best) == (1, 3.0, 3.0)


def test_a_step_below_zero_is_refused():
    with pytest.raises(UsageError, match="step must be 0 or more, got -1"):
        report(step=-1, loss=1.0)


@pytest.mark.parametrize("step", [0.5, float("nan"), np.float32(1.5), np.array([0.25])])
def test_a_step_between_two_is_refused_instead_of_cut(step):
    with pytest.raises(UsageError, match=r"step must be a whole number, got .*: count epochs or batches"):
        report(step=step, loss=1.0)


def test_a_step_beyond_what_records_keep_and_a_metric_beyond_floats_are_refused():
    with pytest.raises(UsageError, match=r"at most 2\*\*63 - 1, got 9223372036854775808"):
        report(step=2**63, loss=1.0)
    with pytest.raises(UsageError, match=r"hops\.report: loss must be a number, got 1000"):
        report(step=1, loss=10**400)


def test_what_a_metric_was_instead_of_a_number_is_told():
    trial = live()
    trial.hear(ev.Returned(rank=0, values={"accuracy": 0.5}, others={"loss": "list", "model": "Sequential"}))
    ended = trial.judged(AttemptEnd(Verdict.DONE, ""), "")
    assert ended.state is TrialState.FAILED
    assert "the cell said accuracy (the loss of its last expression is of type list, which is no number)" in ended.reason


def test_a_trial_that_takes_its_worker_along_each_time_is_not_begun_for_ever():
    trial = live()
    trial.attempt = 10
    assert trial.worn_out(retries=0) is None
    trial.attempt = 11
    end = trial.worn_out(retries=0)
    assert end is not None
    assert (end.verdict, "11 attempts" in end.reason) == (Verdict.LOST, True)
    assert trial.worn_out(retries=1) is None


@pytest.mark.parametrize(("score", "value", "step"), [("best", 0.5, 2), ("last", 2.0, 3)])
def test_a_value_that_counts_comes_with_the_step_at_which_it_was_reported(score, value, step):
    trial = live(score=score)
    for said, loss in ((1, 3.0), (2, 0.5), (3, 2.0)):
        trial.hear(epoch(said, loss))
    ended = trial.judged(AttemptEnd(Verdict.STOPPED, "enough"), "")
    assert (ended.value, ended.step) == (value, step)
    study = advance_study_all(Study(run_id="s", metric="loss"), [ev.TrialStarted(trial=0, values={}), ended])
    assert f"was stopped at step {step} with loss {value:g}" in why(study.trials[0], "loss")
    assert table_of(study)[0]["step"] == step


def test_a_value_that_the_cell_returned_has_no_step_of_its_own():
    trial = live()
    trial.hear(epoch(4, 3.0))
    trial.hear(ev.Returned(rank=0, values={"value": 0.25}))
    ended = trial.judged(AttemptEnd(Verdict.DONE, ""), "")
    assert (ended.value, ended.step) == (0.25, None)
