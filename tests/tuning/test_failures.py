"""Points are expected to fail where their neighbours did; failures that have nothing to do with the point teach nothing."""

import numpy as np
import pytest

from hops_magic.runs.states import TrialState
from hops_magic.tuning.search import Outcome
from hops_magic.tuning.searches import make_search
from hops_magic.tuning.searches.failures import LEAST, MOST, Failures
from hops_magic.tuning.space import Space, choice, loguniform, quniform, uniform

SPACE = Space.of(
    {
        "rate": loguniform(1e-5, 10.0),
        "width": quniform(16, 256, 16),
        "x": uniform(0.0, 1.0),
        "kind": choice(["a", "b", "c", {"deep": True, "depth": choice([1, 2, 3])}]),
    }
)


def learnt(fails, count=80, seed=0, space=SPACE):
    failures, random = Failures(space.dimensions()), np.random.default_rng(seed)
    for _ in range(count):
        point = space.sample(random)
        failures.tell(point, has_failed=fails(space.values(point)))
    fresh = [space.sample(random) for _ in range(200)]
    return np.mean([failures.expects(point) == bool(fails(space.values(point))) for point in fresh]), failures, fresh


@pytest.mark.parametrize(
    "fails",
    [
        lambda v: v["rate"] > 0.03,
        lambda v: v["width"] >= 192,
        lambda v: v["kind"] in ("b", "c"),
        lambda v: isinstance(v["kind"], dict) and v["kind"]["depth"] == 3,
        lambda v: not 0.3 < v["x"] < 0.8,
    ],
    ids=["rate", "width", "choice", "choice inside one", "band"],
)
@pytest.mark.parametrize("seed", range(5))
def test_what_fails_is_told_by_the_dimension_that_decides(fails, seed):
    assert learnt(fails, seed=seed)[0] >= 0.9


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_failures_by_chance_are_expected_nowhere(share):
    dice = np.random.default_rng(1)
    wrong = 0
    for seed in range(20):
        _, failures, fresh = learnt(lambda _: dice.random() < share, seed=seed)
        wrong += any(failures.expects(point) for point in fresh)
    assert wrong <= 4


def test_a_few_failures_and_nothing_but_failures_say_nothing():
    failures = Failures(SPACE.dimensions())
    point = SPACE.sample(np.random.default_rng(0))
    assert not failures.expects(point)
    for _ in range(LEAST + 2):
        failures.tell(point, has_failed=True)
    assert not failures.expects(point)


def test_the_latest_count():
    space = Space.of({"x": uniform(0.0, 1.0)})
    failures, random = Failures(space.dimensions()), np.random.default_rng(0)
    for number in range(2 * MOST):
        x = float(random.random())
        failures.tell({"x": x}, has_failed=(x < 0.5) if number < MOST else (x > 0.5))
    assert failures.expects({"x": 0.9})
    assert not failures.expects({"x": 0.1})


def test_the_default_search_seldom_comes_back_behind_a_border_that_the_best_lies_at():
    space = Space.of({"rate": loguniform(1e-5, 10.0), "units": choice([16, 32, 64])})
    failed = []
    for seed in range(5):
        search = make_search("auto", space, seed=seed)
        for number in range(40):
            point = search.ask(number)
            values = space.values(point)
            has_failed = values["rate"] > 0.03
            loss = None if has_failed else (np.log10(values["rate"]) - np.log10(0.02)) ** 2
            search.tell(
                number, point, Outcome(state=TrialState.FAILED if has_failed else TrialState.DONE, loss=loss, step=1)
            )
            failed.append(has_failed and number >= 20)
    # at random, 42 of 100
    assert sum(failed) <= 20
