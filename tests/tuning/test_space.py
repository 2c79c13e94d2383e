"""Spaces: friendly distributions, nested and conditional ones, hyperopt's own, and what is refused."""

import decimal
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hops_magic.errors import OptionError, UsageError
from hops_magic.tuning.space import Space, choice, grid, lognormal, loguniform, normal, quniform, randint, uniform

NESTED = {
    "optimizer": choice([{"name": "sgd", "momentum": uniform(0.0, 0.9)}, {"name": "adam"}]),
    "layers": choice([[32, 16], [8]]),
    "lr": loguniform(1e-5, 1e-1),
    "units": quniform(10, 45, 10),
    "depth": randint(1, 4),
    "epochs": 5,
}


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_values_are_inside_their_bounds_and_whole_where_meant(seed):
    space = Space.of({**NESTED, "n": normal(0, 1), "w": lognormal(0, 1)})
    values = space.values(space.sample(np.random.default_rng(seed)))
    assert 1e-5 <= values["lr"] <= 1e-1
    assert values["units"] in (10, 20, 30, 40, 45)
    assert isinstance(values["units"], int)
    assert values["depth"] in (1, 2, 3)
    assert values["epochs"] == 5
    assert values["layers"] in ([32, 16], [8])
    assert values["w"] > 0
    if values["optimizer"]["name"] == "sgd":
        assert 0.0 <= values["optimizer"]["momentum"] <= 0.9
    else:
        assert "momentum" not in values["optimizer"]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_only_the_labels_of_chosen_options_are_in_a_point(seed):
    space = Space.of(NESTED)
    point = space.sample(np.random.default_rng(seed))
    assert ("optimizer[0].momentum" in point) == (point["optimizer"] == 0)
    assert set(point) <= set(space.labels)
    assert space.values(point) == space.values(pickle.loads(pickle.dumps(point)))


def test_loguniform_is_uniform_in_the_logarithm():
    space = Space.of({"lr": loguniform(1e-4, 1e0)})
    random = np.random.default_rng(0)
    logs = np.log10([space.values(space.sample(random))["lr"] for _ in range(2000)])
    np.testing.assert_allclose(np.histogram(logs, bins=4, range=(-4, 0))[0] / 2000, 0.25, atol=0.04)


def test_a_grid_has_every_point_once_conditional_ones_too():
    space = Space.of({"a": choice([1, {"b": grid([5, 6, 7])}]), "c": randint(0, 2), "k": 1})
    values = [space.values(point) for point in space.grid(100)]
    assert values == [{"a": a, "c": c, "k": 1} for a in (1, {"b": 5}, {"b": 6}, {"b": 7}) for c in (0, 1)]
    assert len(space.grid(3)) == 3
    with pytest.raises(OptionError, match="needs dimensions that can be counted, got lr"):
        Space.of({"lr": uniform(0, 1), "a": grid([1])}).grid(3)


def test_known_values_become_points():
    space = Space.of({"lr": loguniform(1e-5, 1e-1), "units": choice([32, 64]), "flag": choice([True, 1])})
    assert space.point({"lr": 0.01, "units": 64, "flag": 1}) == {"lr": 0.01, "units": 1, "flag": 1}
    for known, message in [
        ({"lr": 0.01, "units": 64}, "flag is missing"),
        ({"lr": 0.01, "units": 65, "flag": 1}, "units must be one of"),
        ({"lr": 1.0, "units": 64, "flag": 1}, "lr must be a number from 1e-05 to 0.1, got 1.0"),
        ({"lr": 0.01, "units": 64, "flag": 1, "x": 0}, "has no x"),
    ]:
        with pytest.raises(UsageError, match=message):
            space.point(known)


def test_descriptions_tell_what_differs():
    before = Space.of({"lr": loguniform(1e-5, 1e-1), "a": choice([1, 2])}).describe()
    now = Space.of({"lr": loguniform(1e-4, 1e-1), "b": 3}).describe()
    assert Space.differences(before, before) == []
    assert Space.differences(before, now) == [
        "b is new",
        "a is gone",
        "lr was loguniform(1e-05, 0.1) and is loguniform(0.0001, 0.1)",
    ]


def test_descriptions_are_exact_and_the_same_in_every_process():
    assert Space.of({"n": randint(0, 1234567)}).describe() != Space.of({"n": randint(0, 1234568)}).describe()
    described = Space.of({"f": choice([abs, pickle.dumps, object(), {"m": uniform(0, 1)}])}).describe()["f"]
    assert described == "choice([builtins.abs, _pickle.dumps, object, {'m': uniform(0, 1)}])"


def test_hyperopts_spaces_are_described_without_addresses():
    from hyperopt import hp

    for space in (Space.of({"f": hp.choice("f", [wait, abs])}), Space.of(hp.choice("f", [{"f": wait}, {"f": abs}]))):
        assert "0x" not in str(space.describe())


def wait():
    """A function of the notebook."""


def test_known_values_of_nested_options_and_whole_numbers():
    space = Space.of({"o": choice([{"k": "adam"}, {"k": "sgd", "m": uniform(0, 1)}]), "n": randint(0, 9)})
    assert space.point({"o": {"k": "sgd", "m": 0.5}, "n": 3}) == {"o": 1, "o[1].m": 0.5, "n": 3}
    with pytest.raises(UsageError, match="o must be one of"):
        space.point({"o": {"k": "rms"}, "n": 3})
    with pytest.raises(UsageError, match="n must be a whole number from 0 to 8, got 2"):
        space.point({"o": {"k": "adam"}, "n": 2.5})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(1, 1), "lower bound below its upper one, got 1 and 1"),
        (lambda: uniform(2, 1), "lower bound below its upper one"),
        (lambda: loguniform(0, 1), "bounds above 0, got 0"),
        (lambda: quniform(0, 1, 0), "q above 0"),
        (lambda: randint(0, 2.5), "whole numbers"),
        (lambda: normal(0, -1), "sigma above 0"),
        (lambda: uniform(0, float("inf")), "finite numbers"),
        (lambda: uniform("0", 1), "finite numbers"),
        (lambda: choice([]), "at least one option"),
        (lambda: choice("abc"), "a list of options"),
        (lambda: Space.of({}), "the space is empty"),
        (lambda: Space.of({"epochs": 5}), "the space is empty"),
        (lambda: Space.of({"not a name": uniform(0, 1)}), "names of variables"),
        (lambda: Space.of(3), "must be a dictionary"),
    ],
)
def test_impossible_spaces_get_one_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


# -- hyperopt's own ----------------------------------------------------------------------------------------------------


def test_hyperopts_spaces_give_values_not_indices_and_whole_numbers():
    from hyperopt import hp

    space = Space.of(
        {
            "lr": hp.loguniform("lr", -9, 0),
            "units": hp.choice("units", [32, 64]),
            "layers": hp.choice("layers", [[32, 16], [8]]),
            "depth": hp.quniform("depth", 1, 8, 1),
            "n": hp.randint("n", 5),
            "m": hp.uniformint("m", 2, 3),
            "p": hp.pchoice("p", [(0.9, "often"), (0.1, "seldom")]),
            "twice": 2 * hp.uniform("half", 0, 1),
        }
    )
    random = np.random.default_rng(0)
    drawn = [space.values(space.sample(random)) for _ in range(200)]
    assert {v["units"] for v in drawn} == {32, 64}
    assert {tuple(v["layers"]) for v in drawn} == {(32, 16), (8,)}
    assert all(isinstance(v["layers"], list) for v in drawn)
    assert {v["depth"] for v in drawn} == set(range(1, 9))
    assert all(isinstance(v["depth"], int) for v in drawn)
    assert {v["n"] for v in drawn} == set(range(5))
    assert {v["m"] for v in drawn} == {2, 3}
    assert 0.8 < np.mean([v["p"] == "often" for v in drawn]) < 0.98
    assert all(np.exp(-9) <= v["lr"] <= 1 for v in drawn)
    assert max(v["twice"] for v in drawn) > 1.5
    assert pickle.loads(pickle.dumps(space)).labels == space.labels


def test_a_whole_hyperopt_space_may_choose_between_dictionaries():
    from hyperopt import hp

    space = Space.of(
        hp.choice("kind", [{"model": "tree", "depth": hp.randint("depth", 9)}, {"model": "svm", "c": hp.uniform("c", 0, 1)}])
    )
    assert set(space.names) == {"model", "depth", "c"}
    random = np.random.default_rng(0)
    for _ in range(20):
        point = space.sample(random)
        values = space.values(point)
        assert set(values) == ({"model", "depth"} if values["model"] == "tree" else {"model", "c"})
        assert set(point) == {"kind", *values} - {"model"}


def test_known_values_choose_the_option_whose_ranges_hold_them():
    near, far = {"k": "sgd", "m": uniform(0, 1)}, {"k": "sgd", "m": uniform(2, 3)}
    space = Space.of({"o": choice([near, far, {"k": "sgd", "m": choice(["a", {"n": quniform(0, 9, 3)}])}])})
    assert space.point({"o": {"k": "sgd", "m": 0.5}}) == {"o": 0, "o[0].m": 0.5}
    assert space.point({"o": {"k": "sgd", "m": 2.5}}) == {"o": 1, "o[1].m": 2.5}
    assert space.point({"o": {"k": "sgd", "m": "a"}}) == {"o": 2, "o[2].m": 0}
    inner = space.point({"o": {"k": "sgd", "m": {"n": 6}}})
    assert space.values(inner) == {"o": {"k": "sgd", "m": {"n": 6}}}
    for value in (1.5, "b", {"n": 7}):
        with pytest.raises(UsageError, match="o must be one of"):
            space.point({"o": {"k": "sgd", "m": value}})
    # where one option alone has these keys, its range is told
    with pytest.raises(UsageError, match=r"o\[0\]\.m must be a number from 0 to 1, got 1.5"):
        Space.of({"o": choice([near, {"k": "adam"}])}).point({"o": {"k": "sgd", "m": 1.5}})


def test_known_values_between_multiples_are_refused_with_the_nearest():
    space = Space.of({"units": quniform(10, 46, 10), "rate": quniform(0, 1, 0.1)})
    assert space.point({"units": 40, "rate": 0.3}) == {"units": 40, "rate": 0.3}
    with pytest.raises(UsageError, match="units must be a multiple of 10, got 46: the nearest is 40"):
        space.point({"units": 46, "rate": 0.3})  # a bound is a value only where it is a multiple
    with pytest.raises(UsageError, match="units must be a multiple of 10, got 17: the nearest is 20"):
        space.point({"units": 17, "rate": 0.3})
    with pytest.raises(UsageError, match=r"rate must be a multiple of 0\.1, got 0\.33: the nearest is 0\.3"):
        space.point({"units": 20, "rate": 0.33})


@given(st.integers(-3_000, 3_000), st.sampled_from(["0.1", "0.3", "0.01", "2.5e-05", "1e-07", "0.7"]))
def test_a_multiple_is_what_its_user_would_write(number, q):
    space = Space.of({"x": quniform(-3_000 * float(q), 3_000 * float(q), float(q))})
    assert space.values({"x": number * float(q)})["x"] == float(decimal.Decimal(q) * number)


def test_one_expression_in_two_places_is_one_hyperparameter():
    from hyperopt import hp

    x = hp.uniform("x", 0, 1)
    space = Space.of({"a": x, "b": 2 * x})
    values = pickle.loads(pickle.dumps(space)).values({"x": 0.25})
    assert values == {"a": 0.25, "b": 0.5}


def test_equal_labels_are_refused():
    from hyperopt import hp

    with pytest.raises(UsageError, match="two hyperparameters of the space are called x"):
        Space.of({"a": hp.uniform("x", 0, 1), "b": hp.uniform("x", 0, 1)})
    with pytest.raises(UsageError, match="two hyperparameters of the space are called lr"):
        Space.of(hp.choice("k", [{"lr": hp.uniform("lr", 0, 1)}, {"lr": hp.uniform("lr", 0, 1)}]))

    with pytest.raises(UsageError, match="two hyperparameters of the space are called x"):
        Space.of({"a": hp.uniform("x", 0, 1), "b": hp.uniform("x", 0, 2)})


@settings(deadline=None, max_examples=60)
@given(st.integers(-40, 40), st.integers(1, 60), st.integers(1, 12), st.sampled_from([1.0, 0.1, 0.25]), st.integers(0, 99))
def test_steps_are_multiples_inside_their_bounds_with_every_search(low, width, step, unit, seed):
    low, high, q = low * unit / 2, (low + width) * unit / 2, step * unit
    right = [k for k in range(-100, 101) if low - 1e-9 <= k * q <= high + 1e-9]
    if not right:
        with pytest.raises(OptionError, match="quniform must have a multiple of"):
            quniform(low, high, q)
        return
    space = Space.of({"x": quniform(low, high, q), "y": uniform(0, 1)})
    random = np.random.default_rng(seed)
    for point in [*(space.sample(random) for _ in range(5)), space.point({"x": right[0] * q, "y": 0.5})]:
        value = space.values(point)["x"]
        assert low <= value <= high
        assert min(abs(value - k * q) for k in right) < 1e-9
    whole = Space.of({"x": quniform(low, high, q)})
    assert [whole.values(p)["x"] for p in whole.grid(999)] == pytest.approx([k * q for k in right])


def test_hyperopts_steps_stay_inside_their_bounds_too():
    from hyperopt import hp

    space = Space.of({"x": hp.quniform("x", 1.5, 3.5, 1), "w": hp.qloguniform("w", np.log(1.5), np.log(7.5), 2)})
    values = [space.values(space.sample(np.random.default_rng(seed))) for seed in range(40)]
    assert {v["x"] for v in values} == {2, 3}
    assert {v["w"] for v in values} == {2, 4, 6}
    with pytest.raises(UsageError, match=r"hp.quniform of x has no multiple of 2 from 0.5 to 1.5"):
        Space.of({"x": hp.quniform("x", 0.5, 1.5, 2)})


def test_numbers_and_arrays_of_numpy_are_bounds_and_choices():
    space = Space.of(
        {
            "lr": loguniform(np.float32(0.5), np.float64(2)),
            "n": randint(np.int64(1), np.int64(4)),
            "q": quniform(np.int32(0), np.array(10), np.int8(5)),
            "units": choice(np.array([32, 64])),
            "m": normal(np.float32(0), np.float32(1)),
        }
    )
    plainly = {"lr": loguniform(0.5, 2.0), "n": randint(1, 4), "q": quniform(0, 10, 5), "units": choice([32, 64])}
    assert space.describe() == Space.of({**plainly, "m": normal(0.0, 1.0)}).describe()
    assert type(space.values(space.sample(np.random.default_rng(0)))["units"]) is int
    with pytest.raises(OptionError, match=r"must be given finite numbers, got .*True"):
        uniform(np.bool_(True), 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: uniform(-1.7e308, 1.7e308), "uniform must have bounds whose distance is a number"),
        (lambda: randint(0, 2**60), r"randint must have bounds at most 2\*\*53 steps of 1 from 0"),
        (lambda: quniform(2**60, 2**60 + 3000, 1), r"quniform must have bounds at most 2\*\*53 steps of 1"),
        (lambda: quniform(0, 1, 1e-17), "quniform must have bounds at most .* steps of 1e-17 from 0"),
        (lambda: normal(1e308, 1e308), "normal must have mu and sigma whose draws are numbers"),
        (lambda: lognormal(705, 1), "lognormal must have mu and sigma whose exponentials are numbers above 0"),
        (lambda: lognormal(0, 200), "lognormal must have mu and sigma whose exponentials are numbers above 0"),
    ],
)
def test_a_distribution_whose_values_are_no_numbers_or_not_told_apart_is_refused(make, said):
    with pytest.raises(UsageError, match=said):
        make()


@pytest.mark.parametrize(("low", "q"), [(10**15, 1), (-(10**15) - 3, 1), (2**51, 0.5), (1e9, 0.1), (10**12, 0.25)])
def test_multiples_far_from_zero_are_all_drawn_alike(low, q):
    space = Space.of({"x": quniform(low, low + 3 * q, q)})
    random = np.random.default_rng(0)
    drawn = [space.values(space.sample(random))["x"] for _ in range(200)]
    assert len(set(drawn)) == 4
    assert min(drawn.count(value) for value in set(drawn)) > 25
    assert all(low <= value <= low + 3 * q for value in drawn)
