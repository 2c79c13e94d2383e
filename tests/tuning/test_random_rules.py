"""Stopping rules against their definitions, worked out anew from all reports at each decision, on random curves."""

import math
import statistics

import numpy as np
import pytest

from hops_magic.runs.states import TrialState
from hops_magic.tuning.stopping import Hyperband, make_rule

TRIALS, MOST_STEPS = 24, 40


def a_story(random):
    """Reports of trials in a random order: steps that leap, repeat and go back, values that tie, starts that are late."""
    courses = []
    for trial in range(TRIALS):
        step, course = int(random.integers(0, 3)), []
        level, noise = random.random() * 3, random.choice([0.0, 0.3])
        while step <= MOST_STEPS and len(course) < 30:
            loss = round(level + 3 / (1 + step) + noise * random.normal(), int(random.integers(1, 4)))
            course.append((trial, step, float(loss)))
            leap = random.choice([1, 1, 1, 2, 5, 11, 0, -2])
            step = max(0, step + int(leap if trial % 2 else max(1, min(leap, 2))))
        courses.append(course)
    running, waiting, story = [], list(courses), []
    while running or waiting:
        if waiting and len(running) < 6:
            running.append(waiting.pop(0))
        course = running[random.integers(len(running))]
        story.append(course.pop(0))
        running = [course for course in running if course]
    return story


def decisions(rule, story):
    """The reports at which a rule stops trials; one that is stopped says nothing more."""
    stopped = {}
    for trial, step, loss in story:
        if trial not in stopped and rule(trial, step, loss):
            stopped[trial] = step
    return stopped


class Reference:
    """A rule that keeps every report and decides by its definition; a report that does not go on is none."""

    def __init__(self):
        self.reports = {}

    def __call__(self, trial, step, loss):
        mine = self.reports.setdefault(trial, [])
        if mine and step <= mine[-1][0]:
            return False
        mine.append((step, loss))
        return self.is_hopeless(trial, step, loss)


class MedianReference(Reference):
    """Golovin et al. 2017: the best so far against the median of the others' means up to the same step."""

    def __init__(self, grace, others=5):
        super().__init__()
        self.grace, self.others = grace, others

    def is_hopeless(self, trial, step, loss):
        if step < self.grace:
            return False
        means = []
        for other, reports in self.reports.items():
            counted = [value for at, value in reports if self.grace <= at <= step]
            if other != trial and counted and reports[-1][0] >= step:
                means.append(sum(counted) / len(counted))
        return len(means) >= self.others and min(value for _, value in self.reports[trial]) > statistics.median(means)


class AshaReference(Reference):
    """Li et al. 2020, stopping: a trial's first report at a rung is compared with what others had said there first."""

    def __init__(self, grace, reduction, max_steps):
        super().__init__()
        self.reduction = reduction
        self.rungs = [grace * reduction**k for k in range(40) if grace * reduction**k < max_steps]

    def at_rung(self, trial, rung):
        """The first report between a rung and the next one; none of a trial that passed both at once."""
        later = [other for other in self.rungs if other > rung]
        first = next(((at, value) for at, value in self.reports.get(trial, ()) if at >= rung), None)
        return None if first is None or (later and first[0] >= later[0]) else first

    def is_hopeless(self, trial, step, loss):
        reached = [rung for rung in self.rungs if rung <= step]
        if not reached or self.at_rung(trial, reached[-1]) != (step, loss):
            return False
        losses = sorted(first[1] for other in self.reports if (first := self.at_rung(other, reached[-1])) is not None)
        if len(losses) < self.reduction:
            return False
        return loss > losses[max(1, len(losses) // self.reduction) - 1]


class HyperbandReference:
    """Li et al. 2018: brackets of successive halving that begin at later and later rungs, the last without any."""

    def __init__(self, grace, reduction, max_steps, bracket):
        count = next(k for k in range(40) if grace * reduction**k >= max_steps) + 1
        self.brackets = [AshaReference(grace * reduction**b, reduction, max_steps) for b in range(count)]
        self.bracket = bracket

    def __call__(self, trial, step, loss):
        return self.brackets[self.bracket(trial)](trial, step, loss)


@pytest.mark.parametrize("seed", range(30))
def test_median_decides_as_defined(seed):
    random = np.random.default_rng([seed, 11])
    story, grace = a_story(random), int(random.integers(1, 8))
    told = decisions(make_rule("median", grace=grace).report, story)
    assert told == decisions(MedianReference(grace), story)


@pytest.mark.parametrize("seed", range(30))
def test_asha_decides_as_defined(seed):
    random = np.random.default_rng([seed, 12])
    story, options = a_story(random), some_rungs(random)
    assert decisions(make_rule("asha", **options).report, story) == decisions(AshaReference(**options), story)


@pytest.mark.parametrize("seed", range(30))
def test_hyperband_decides_as_defined(seed):
    random = np.random.default_rng([seed, 13])
    story, options = a_story(random), some_rungs(random)
    rule = make_rule("hyperband", **options)
    assert isinstance(rule.rule, Hyperband)
    assert decisions(rule.report, story) == decisions(HyperbandReference(**options, bracket=rule.rule.bracket), story)


def some_rungs(random):
    grace, reduction = int(random.integers(1, 5)), int(random.integers(2, 5))
    return {"grace": grace, "reduction": reduction, "max_steps": int(random.integers(grace + 1, MOST_STEPS + 20))}


def test_the_random_stories_make_every_rule_decide():
    for name in ("median", "asha", "hyperband"):
        counts = [len(decisions(make_rule(name).report, a_story(np.random.default_rng(seed)))) for seed in range(10)]
        assert min(counts) > 0, name
        assert max(counts) < TRIALS, name


@pytest.mark.parametrize("seed", range(12))
def test_a_rule_that_is_told_the_past_of_a_study_again_decides_as_if_it_had_been_there(seed):
    random = np.random.default_rng([seed, 14])
    name = ("median", "asha", "hyperband")[seed % 3]
    story = a_story(random)
    cut = int(random.integers(1, len(story)))
    whole, again = make_rule(name), make_rule(name)
    stopped = decisions(whole.report, story[:cut])
    heard = [
        (t, s, v) for n, (t, s, v) in enumerate(story[:cut]) if t not in stopped or n <= last_of(story[:cut], t, stopped[t])
    ]
    # as a supervisor that takes over reads it: trial by trial
    for trial in sorted({t for t, _, _ in heard}):
        for _, step, loss in (each for each in heard if each[0] == trial):
            again.report(trial, step, loss)
        if trial in stopped:
            again.ended(trial, TrialState.STOPPED)
    rest = [each for each in story[cut:] if each[0] not in stopped]
    assert decisions(again.report, rest) == decisions(whole.report, rest)


def last_of(story, trial, step):
    """Number of the report at which a trial was stopped: the first at that step."""
    return next(n for n, (t, s, _) in enumerate(story) if (t, s) == (trial, step))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["median", "asha", "hyperband", "none"])
def test_a_loss_that_is_no_number_stops_its_trial_and_spoils_no_other(name, value):
    random = np.random.default_rng(5)
    story = a_story(random)
    rule, other = make_rule(name), make_rule(name)
    assert rule.report(99, 3, value) == "not a number at step 3"
    assert decisions(rule.report, story) == decisions(other.report, story)
