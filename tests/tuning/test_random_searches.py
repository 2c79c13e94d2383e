"""Random spaces under every search: values stay in the space, grids have each point once, what is proposed is checked."""

import copy
import itertools
import math

import numpy as np
import pytest

from hops_magic.errors import UsageError
from hops_magic.runs.states import TrialState
from hops_magic.tuning.search import Outcome
from hops_magic.tuning.searches import make_search
from hops_magic.tuning.searches.checked import Checked
from hops_magic.tuning.space import (
    Choice,
    Distribution,
    Space,
    choice,
    grid,
    lognormal,
    loguniform,
    normal,
    quniform,
    randint,
    uniform,
)

SEARCHES = ("auto", "tpe", "anneal", "random")


def a_number(random):
    """A distribution of numbers, and what a value of it must fulfil."""
    part, fits = a_distribution(random)
    return part, lambda v: type(v) in (int, float) and fits(v)


def a_distribution(random):
    """A distribution of numbers with bounds of any size and sign, and what a value of it must fulfil."""
    low = float(random.choice([-1e6, -3.5, -1.0, 0.0, 0.05, 2.0, 1e3])) + float(random.integers(-3, 4)) / 8
    width = float(random.choice([1e-6, 0.3, 1.0, 7.0, 1e5]))
    kind = random.integers(6)
    if kind == 0:
        return uniform(low, low + width), lambda v: low <= v <= low + width
    if kind == 1:
        small = abs(low) + 1e-6
        return loguniform(
            small, small * (1 + width)
        ), lambda v: small * (1 - 1e-12) <= v <= small * (1 + width) * (1 + 1e-12)
    if kind == 2:
        q, count = float(random.choice([0.1, 0.25, 1.0, 3.0, 8.0])), int(random.integers(1, 9))
        top = low + q * count + q / 2
        return quniform(low, top, q), lambda v: low - 1e-9 <= v <= top + 1e-9 and abs(v / q - round(v / q)) < 1e-6
    if kind == 3:
        first, count = int(random.integers(-5, 90)), int(random.integers(1, 40) if random.random() < 0.7 else 1)
        return randint(first, first + count), lambda v: type(v) is int and first <= v < first + count
    if kind == 4:
        return normal(low, 2.0), math.isfinite
    return lognormal(0.0, 1.5), lambda v: math.isfinite(v) and v > 0


def a_part(random, depth=2):
    """A part of a space and what a value of it must fulfil."""
    if depth and random.random() < 0.4:
        options = [
            a_part(random, depth - 1) if random.random() < 0.6 else a_constant(random) for _ in range(random.integers(1, 4))
        ]
        make = grid if random.random() < 0.3 else choice
        return make([part for part, _ in options]), lambda v: any(fits(v) for _, fits in options)
    if depth and random.random() < 0.3:
        parts = {name: a_part(random, depth - 1) for name in ("k", "m")}
        return {
            name: part for name, (part, _) in parts.items()
        }, lambda v: isinstance(v, dict) and all(fits(v[name]) for name, (_, fits) in parts.items())
    return a_number(random)


def a_constant(random):
    value = [16, "relu", None, True, (1, 2)][random.integers(5)]
    return value, lambda v: v == value and type(v) is type(value)


def a_space(random):
    parts = {f"h{number}": a_part(random) for number in range(random.integers(1, 4))}
    parts["x"] = a_number(random)
    return Space.of({name: part for name, (part, _) in parts.items()}), {name: fits for name, (_, fits) in parts.items()}


def an_outcome(random):
    state = random.choice([TrialState.DONE, TrialState.DONE, TrialState.STOPPED, TrialState.FAILED])
    loss = None if state is TrialState.FAILED else float(random.choice([random.normal(), 1e300, -1e300, 0.0]))
    return Outcome(state=state, loss=loss, step=int(random.integers(0, 9)))


@pytest.mark.parametrize("seed", range(72))
def test_values_are_in_the_space_whatever_is_told(seed):
    random = np.random.default_rng(seed)
    space, fits = a_space(random)
    search = make_search(SEARCHES[seed % len(SEARCHES)], space, seed=seed)
    for number in range(26):
        point = search.ask(number)
        if point is None:
            assert space.is_finite
            return
        values = space.values(point)
        assert {name: fits[name](value) for name, value in values.items()} == dict.fromkeys(fits, True), values
        search.tell(number, point, an_outcome(random))


def a_finite_part(random, depth=2):
    """A part that can be counted, with all of its values."""
    kind = random.integers(4 if depth else 2)
    if kind == 0:
        first, count = int(random.integers(-3, 4)), int(random.integers(0, 4))
        return randint(first, first + count + 1), list(range(first, first + count + 1))
    if kind == 1:
        q = float(random.choice([0.5, 2.0]))
        first, count = int(random.integers(-2, 3)), int(random.integers(1, 4))
        values = [(first + step) * q for step in range(count + 1)]
        return quniform(first * q, (first + count) * q + q / 3, q), [round(v) if q >= 1 else v for v in values]
    if kind == 2:
        options = [
            a_finite_part(random, depth - 1) if random.random() < 0.5 else (n, [n])
            for n in ("a", "b", "c")[: random.integers(1, 4)]
        ]
        return choice([part for part, _ in options]), [value for _, values in options for value in values]
    parts = {name: a_finite_part(random, depth - 1) for name in ("k", "m")}
    alls = itertools.product(*(values for _, values in parts.values()))
    return {name: part for name, (part, _) in parts.items()}, [dict(zip(parts, each, strict=True)) for each in alls]


@pytest.mark.parametrize("seed", range(30))
def test_a_grid_has_each_point_of_a_space_once_and_every_search_finds_all_of_a_small_one(seed):
    random = np.random.default_rng([seed, 1])
    parts = {name: a_finite_part(random) for name in ("a", "b")[: random.integers(1, 3)]}
    expected = [repr(each) for each in itertools.product(*(values for _, values in parts.values()))]
    space = Space.of({**{name: part for name, (part, _) in parts.items()}, "c": grid([None])})
    shown = [repr(tuple(space.values(point)[name] for name in parts)) for point in space.grid(10_000)]
    assert shown == expected
    for name in ("grid", SEARCHES[seed % len(SEARCHES)]):
        search, found = make_search(name, space, seed=seed), []
        if len(expected) > 60 and name != "grid":
            continue
        for number in range(len(expected) + 2):
            if (point := search.ask(number)) is not None:
                found.append(repr(tuple(space.values(point)[each] for each in parts)))
                search.tell(number, point, an_outcome(random))
        # two options that look the same to the cell are two points all the same
        assert sorted(found) == sorted(expected)


class Says:
    """A search of a user's own that proposes what it is given."""

    def __init__(self, point):
        self.point = point

    def ask(self, number):
        return self.point

    def tell(self, number, point, outcome):
        """Learn nothing."""


def spoilt(random, space, point):
    """The point with one fault in it, and the label that is at fault."""
    label = str(random.choice(sorted(point)))
    dimension, bad = space.dimensions()[label], copy.deepcopy(point)
    faults = [lambda: bad.pop(label), lambda: bad.update({label: "text"}), lambda: bad.update({label: None})]
    faults += [
        lambda: bad.update({label: True}),
        lambda: bad.update({f"{label}?": 1}),
        lambda: bad.update({label: math.nan}),
    ]
    if dimension.weights:
        faults += [lambda: bad.update({label: len(dimension.weights)}), lambda: bad.update({label: -1})]
    elif math.isfinite(dimension.high):
        beyond = max(1.0, abs(dimension.high)) * 1.5
        faults += [lambda: bad.update({label: beyond + dimension.high}), lambda: bad.update({label: dimension.low - beyond})]
    faults[random.integers(len(faults))]()
    return bad, label


@pytest.mark.parametrize("seed", range(40))
def test_points_of_ones_own_search_are_points_of_the_space_or_refused_by_name(seed):
    random = np.random.default_rng([seed, 2])
    space, _ = a_space(random)
    point = space.sample(random)
    as_numpy = {label: np.float64(raw) if isinstance(raw, float) else np.int64(raw) for label, raw in point.items()}
    for proposed in (point, as_numpy):
        assert space.values(Checked(Says(proposed), space).ask(3)) == space.values(point)
    bad, label = spoilt(random, space, point)
    with pytest.raises(UsageError, match="the search proposed") as refused:
        Checked(Says(bad), space).ask(3)
    assert label in str(refused.value)


@pytest.mark.parametrize("seed", range(16))
def test_a_study_that_is_continued_has_the_trials_that_it_would_have_had(seed):
    random = np.random.default_rng([seed, 3])
    space, _ = a_space(random)
    name = SEARCHES[seed % len(SEARCHES)]
    told = []
    whole = make_search(name, space, seed=seed)
    for number in range(30):
        point = whole.ask(number)
        if point is None:
            break
        told.append((number, point, an_outcome(random)))
        whole.tell(*told[-1])
    cut = int(random.integers(1, len(told)))
    again = make_search(name, space, seed=seed)
    for known in told[:cut]:
        again.tell(*known)
    for number, point, outcome in told[cut:]:
        assert again.ask(number) == point
        again.tell(number, point, outcome)


def test_random_spaces_have_every_kind_of_part():
    drawn = [a_space(np.random.default_rng(seed))[0] for seed in range(72)]
    kinds = {dimension.kind.value for space in drawn for dimension in space.dimensions().values()}
    assert kinds == {"uniform", "loguniform", "quniform", "integer", "normal", "lognormal", "categorical"}
    parts = [part for space in drawn for _, part in space.items]
    assert {type(part) for part in parts} == {Distribution, Choice, dict}
