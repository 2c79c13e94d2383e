"""Each rule against a table worked out by hand."""

import math

import pytest

from hops_magic.errors import OptionError
from hops_magic.runs.states import TrialState
from hops_magic.tuning.stopping import Asha, Hyperband, Limits, Median, Never, Patient, Steps, make_rule


def feed(rule, table):
    """Give a rule (trial, step, loss) in order; return the (trial, step) at which it wanted to stop."""
    return [(trial, step) for trial, step, loss in table if rule.report(trial, step, loss)]


# losses by step; with grace 2 the running means at step 3 are the means of steps 2 and 3:
#   a: .5, b: .6, c: .7, d: .8, e: .9 -> their median is .7
OTHERS = {0: [9, 0.6, 0.4], 1: [9, 0.7, 0.5], 2: [9, 0.8, 0.6], 3: [9, 0.9, 0.7], 4: [9, 1.0, 0.8]}


def test_median_by_hand():
    rule = Median(grace=2, others=5)
    for trial, losses in OTHERS.items():
        for step, loss in enumerate(losses, 1):
            assert rule.report(trial, step, loss) == ""
    # medians of the others: at step 2 .8, at step 3 .7
    assert rule.report(5, 1, 99.0) == ""  # before the grace period nothing is stopped
    assert rule.report(5, 2, 0.8) == ""  # as good as the median is good enough
    assert rule.report(5, 3, 0.9).startswith("median: its best, 0.8, is worse than 0.7, the median of 5 other trials'")
    assert rule.report(6, 2, 0.81).startswith("median: its best, 0.81, is worse than 0.8")
    # a good report in the grace period counts for the best
    assert rule.report(7, 1, 0.1) == ""
    assert rule.report(7, 2, 5.0) == ""
    assert rule.report(7, 3, 5.0) == ""


def test_median_waits_for_enough_others_and_takes_those_that_still_run():
    rule = Median(grace=1, others=3)
    assert feed(rule, [(0, 1, 1.0), (1, 1, 1.0), (2, 1, 9.0), (3, 1, 9.0)]) == [(3, 1)]


def test_median_ignores_trials_that_did_not_reach_the_step():
    rule = Median(grace=1, others=2)
    assert feed(rule, [(0, 1, 1.0), (1, 1, 1.0), (2, 1, 1.0), (0, 2, 1.0), (2, 2, 9.0), (1, 2, 1.0)]) == []
    assert feed(rule, [(3, 1, 2.0)]) == [(3, 1)]


def test_median_counts_trials_that_passed_a_step_without_a_report_at_it():
    rule = Median(grace=1, others=2)
    # two that report even steps: means .5 after step 2, .4 after step 4
    table = [(trial, step, loss) for trial in (0, 1) for step, loss in ((2, 0.5), (4, 0.3))]
    assert feed(rule, table) == []
    assert feed(rule, [(2, 1, 9.0)]) == []  # nobody had said anything by step 1
    assert feed(rule, [(2, 3, 9.0)]) == [(2, 3)]  # at step 3 both are at .5
    assert feed(rule, [(2, 5, 9.0)]) == []  # nobody has come so far


def test_asha_by_hand():
    # rungs at 1, 3 (reduction 3, 9 steps); 1/3 of a rung goes on
    rule = Asha(grace=1, reduction=3, max_steps=9)
    assert [rung.at for rung in rule.rungs] == [1, 3]
    table = [
        (0, 1, 0.9),  # rung 1 has 1 of 3 needed: goes on
        (1, 1, 0.8),  # 2 of 3
        (2, 1, 0.7),  # 3: the best 1 goes on, and it is the best
        (3, 1, 0.75),  # 4: the best 1 goes on: .7 -> stopped
        (4, 1, 0.6),  # 5: the best
        (5, 1, 0.65),  # 6: the best 2: .6, .65 -> goes on
        (0, 2, 0.1),  # between rungs nothing is decided
        (0, 3, 0.5),
        (1, 3, 0.4),
        (2, 3, 0.45),  # rung 3 has 3: the best 1 is .4 -> stopped
        (4, 3, 0.3),  # the best
        (4, 8, 99.0),  # after the last rung nothing is decided
    ]
    assert feed(rule, table) == [(3, 1), (2, 3)]


def test_asha_takes_the_first_report_at_or_after_a_rung_once():
    rule = Asha(grace=2, reduction=2, max_steps=8)
    assert [rung.at for rung in rule.rungs] == [2, 4]
    assert feed(rule, [(0, 3, 1.0), (0, 3, 0.0), (1, 2, 2.0)]) == [(1, 2)]
    assert rule.rungs[0].losses == [1.0, 2.0]
    # one that comes to the second rung at once is recorded and judged there alone
    assert feed(rule, [(2, 5, 3.0), (2, 6, 9.0)]) == []
    assert [rung.losses for rung in rule.rungs] == [[1.0, 2.0], [3.0]]


def test_asha_in_another_order_keeps_the_best_of_each_rung():
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]):
        rule = Asha(grace=1, reduction=3, max_steps=3)
        stopped = {trial for trial, _ in feed(rule, [(t, 1, float(t)) for t in order])}
        assert 0 not in stopped


def test_hyperband_brackets_begin_later_and_are_drawn_by_their_shares():
    rule = Hyperband(grace=1, reduction=3, max_steps=27)
    assert [[rung.at for rung in bracket.rungs] for bracket in rule.brackets] == [[1, 3, 9], [3, 9], [9], []]
    # sizes by the paper for 4 brackets: ceil(4*27/4)=27, ceil(4*9/3)=12, ceil(4*3/2)=6, 4 of 49
    counts = [sum(rule.bracket(trial) == b for trial in range(4900)) for b in range(4)]
    assert counts == pytest.approx([2700, 1200, 600, 400], abs=10)
    mine = [trial for trial in range(50) if rule.bracket(trial) == 1][:4]
    assert feed(rule, [(t, 1, float(t)) for t in mine]) == []
    assert feed(rule, [(t, 3, float(t)) for t in mine]) == [(mine[2], 3), (mine[3], 3)]
    assert "hyperband, bracket 1: number 5 of 5" in rule.report([t for t in range(90) if rule.bracket(t) == 1][9], 3, 99.0)


def test_repeated_and_backward_steps_are_ignored_and_no_number_stops():
    seen = []

    class Note(Never):
        def report(self, trial, step, loss):
            seen.append((trial, step, loss))
            return ""

    rule = Steps(Note())
    assert feed(rule, [(0, 1, 1.0), (0, 1, 2.0), (0, 3, 3.0), (0, 2, 4.0), (1, 1, 5.0)]) == []
    assert seen == [(0, 1, 1.0), (0, 3, 3.0), (1, 1, 5.0)]
    assert feed(rule, [(2, 0, 6.0), (2, 0, 7.0)]) == []
    assert seen[3:] == [(2, 0, 6.0)]  # a step 0 counts as well
    assert rule.report(0, 4, math.nan) == "not a number at step 4"
    assert rule.report(1, 2, math.inf) == "not a number at step 2"


def test_patience_waits_for_several_wishes_in_a_row():
    class Always(Never):
        def report(self, trial, step, loss):
            return "bad" if loss > 1 else ""

    rule = Patient(Always(), patience=2)
    assert feed(rule, [(0, 1, 2), (0, 2, 2), (0, 3, 0), (0, 4, 2), (0, 5, 2), (0, 6, 2)]) == [(0, 6)]


def test_rules_by_name():
    assert make_rule("median").rule.grace == 4
    assert [rung.at for rung in make_rule("asha", grace=2, reduction=4, max_steps=40).rule.rungs] == [2, 8, 32]
    assert make_rule("none").report(0, 1, 9.0) == ""
    shown = make_rule("asha", reduction=2, max_steps=4, show=lambda loss: f"{-loss:g}")
    assert feed(shown, [(0, 1, -0.9)]) == []
    assert "with 0.5; only the best goes on, at 0.9 or better" in shown.report(1, 1, -0.5)
    shown.ended(1, TrialState.STOPPED)
    for options, message in [
        ({"name": "medain"}, "did you mean median?"),
        ({"name": "median", "reduction": 3}, "--reduction has no meaning with --stop median"),
        ({"name": "asha", "grace": 9, "max_steps": 9}, "--grace must be less than the steps of a trial"),
        ({"name": "asha", "reduction": 1}, "--reduction must be at least 2"),
        ({"name": "hyperband", "grace": 0}, "--grace must be at least 1"),
    ]:
        with pytest.raises(OptionError, match=message):
            make_rule(**options)


def test_limits_of_a_study():
    limits = Limits(patience=2, budget_s=10, target=0.1)
    assert limits.reason(None, 0, 1) == ""
    assert limits.reason(0.5, 1, 1) == ""
    assert limits.reason(0.5, 2, 1) == "2 trials in a row were not better than 0.5"
    assert limits.reason(0.1, 0, 1) == "the target of 0.1 is reached"
    assert limits.reason(0.5, 0, 10) == "its budget of 10 s is used up"
    assert Limits().reason(1.0, 99, 1e9) == ""


def test_rungs_without_end_are_refused():
    for make in (Asha, Hyperband):
        with pytest.raises(OptionError, match="reduction must be at least 2, got 1"):
            make(reduction=1)
        with pytest.raises(OptionError, match="grace must be at least 1, got 0"):
            make(grace=0)


def test_median_takes_a_step_that_is_reported_again_in_place_of_the_first():
    rule = Median(grace=1, others=2)
    assert feed(rule, [(0, 1, 1.0), (0, 1, 3.0), (1, 1, 2.0), (0, 1, 3.0)]) == []  # one other is too few
    # 0 has the mean of 1, 3 and 3, 1 has 2: their median is 2.17
    assert feed(rule, [(2, 1, 2.1), (3, 1, 2.2)]) == [(3, 1)]


def test_hyperband_has_the_brackets_and_shares_of_the_paper():
    rule = Hyperband(grace=1, reduction=3, max_steps=81)
    assert [len(bracket.rungs) for bracket in rule.brackets] == [4, 3, 2, 1, 0]
    counts = [sum(rule.bracket(trial) == b for trial in range(1430)) for b in range(5)]
    assert counts == pytest.approx([810, 340, 150, 80, 50], abs=5)
    unstopped = [trial for trial in range(300) if rule.bracket(trial) == 4]
    assert feed(rule, [(t, step, float(t)) for step in (1, 3, 9, 27, 80) for t in unstopped]) == []


def test_asha_does_not_judge_a_rung_by_those_that_reported_later():
    rule = Asha(grace=1, reduction=2, max_steps=16)
    assert feed(rule, [(trial, 9, 0.1) for trial in range(4)]) == []  # far on, and better for it
    assert feed(rule, [(10, 1, 1.0), (11, 1, 2.0)]) == [(11, 1)]
