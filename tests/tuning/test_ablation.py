"""Ablation on a real cluster: every component is left out once per seed, and paired with the base of the same seed."""

import pytest

from hops_magic.api.rerunning import cell_of
from hops_magic.errors import RunFailedError
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study, Trial
from hops_magic.tuning.ablation import effects_of, words_of


@pytest.fixture
def ablate(session):
    def ablate(source, namespace=None, **options):
        options.setdefault("maximize", "score")
        return session.ablate(source, namespace={} if namespace is None else namespace, show=False, seed=1, **options)

    return ablate


def test_marks_are_found_by_the_base_and_left_out_one_by_one(ablate):
    source = """
import hops_magic as hops
score = 1.0
if hops.ablate.on("augment"):
    score += 0.5
score += 0.1 * len(hops.ablate.features(["age", "size"]))
score
"""
    namespace = {}
    found = ablate(source, namespace, framework="none")
    assert found.base == pytest.approx(1.7)
    effects = {effect.component: effect.difference for effect in found.effects}
    assert effects == pytest.approx({"augment": -0.5, "feature:age": -0.1, "feature:size": -0.1})
    assert found.effects[0].component == "augment"
    assert namespace["ablation"] is found
    assert len(found.summary.trials) == 4
    assert found.table.loc["augment", "difference"] == pytest.approx(-0.5)
    assert "augment" in repr(found)


def test_flags_and_columns_are_left_out_without_marks(ablate):
    import pandas as pd

    namespace = {"data": pd.DataFrame({"a": [1.0], "b": [2.0], "c": [4.0]})}
    found = ablate(
        "float(data.sum().sum()) + 10 * use_bn", namespace, features=("a", "c"), flags=("use_bn",), framework="none"
    )
    effects = {effect.component: effect.difference for effect in found.effects}
    assert effects == {"feature:a": -1.0, "feature:c": -4.0, "flag:use_bn": -10.0}
    assert list(namespace["data"].columns) == ["a", "b", "c"]


def test_repeats_pair_equal_seeds_and_give_intervals(ablate, session):
    source = """
import random
import hops_magic as hops
noise = random.random()
score = noise + (1.0 if hops.ablate.on("part") else 0.25 * noise)
score
"""
    found = ablate(source, repeats=3, framework="none")
    (effect,) = found.effects
    assert effect.pairs == 3
    # the noise of a seed is the same with and without the part, and so falls out of the difference
    assert effect.low < effect.difference < effect.high < 0.0
    # the record has what was asked for, so that it can be asked for again
    info = session.registry.run(found.summary.run_id)
    cell = cell_of(info, session.registry.options(info), source)
    assert cell.startswith("%%ablate --maximize score --repeats 3 --seed 1 --framework none")
    assert "trials" not in info.params


def test_layers_are_left_out_by_name_or_beginning(ablate):
    source = """
import keras
import numpy as np
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
model = keras.Sequential([
    keras.Input((4,)),
    keras.layers.Dense(4, name="hidden_1"),
    keras.layers.Dense(4, name="hidden_2"),
    keras.layers.Dense(3, name="widen"),
    keras.layers.Dense(1, name="out"),
])
model.compile("sgd", "mse")
model.fit(x, x[:, :1], epochs=1, verbose=0)
{"score": float(model.count_params())}
"""
    found = ablate(source, layers=("hidden", "widen"))
    effects = {effect.component: effect.difference for effect in found.effects}
    # without both hidden layers; without the one that makes three of four, so that the last has a row more
    assert effects == {"layer:hidden": -40.0, "layer:widen": -15.0 + 1.0}


def test_what_cannot_be_removed_says_so(ablate):
    source = """
import hops_magic as hops
if not hops.ablate.on("vital"):
    raise ValueError("shapes do not fit")
hops.ablate.on("other")
1.0
"""
    found = ablate(source, framework="none")
    by_name = {effect.component: effect for effect in found.effects}
    assert by_name["vital"].difference is None
    assert "not removable" in by_name["vital"].problem
    assert "shapes do not fit" in by_name["vital"].problem
    assert by_name["other"].difference == 0.0
    assert found.summary.state is RunState.DONE


def test_a_component_that_is_never_reached_is_an_error(ablate):
    with pytest.raises(RunFailedError, match="layer:bn7 was never reached by the base trial, which came across mark"):
        ablate("import hops_magic as hops\nhops.ablate.on('mark')\n1.0", layers=("bn7",), framework="none")
    with pytest.raises(RunFailedError, match="there is nothing to leave out"):
        ablate("1.0", framework="none")


def test_a_base_that_fails_ends_the_ablation_with_its_error(ablate):
    with pytest.raises(RunFailedError, match="no such key") as caught:
        ablate("raise KeyError(f'no such key {f}')", flags=("f",), framework="none")
    assert "base trial" in str(caught.value)


def test_intervals_are_students():
    trials = {}
    for repeat, (base, without) in enumerate([(1.0, 0.5), (2.0, 1.0), (3.0, 1.5)]):
        for left_out, value in (("", base), ("a", without)):
            number = len(trials)
            point = {"left_out": left_out, "repeat": repeat}
            trials[number] = Trial(number=number, point=point, state=TrialState.DONE, value=value)
    (effect,) = effects_of(Study(run_id="s", metric="score", direction=Direction.MAXIMIZE, trials=trials))
    # differences -0.5, -1, -1.5: mean -1, standard error 0.5/sqrt(3), t(0.975, 2) = 4.3027
    assert effect.difference == pytest.approx(-1.0)
    assert (effect.low, effect.high) == pytest.approx((-1 - 4.3027 * 0.288675, -1 + 4.3027 * 0.288675), abs=1e-3)
    assert words_of(effect) == "-1 [-2.242, +0.2421] (3 pairs)"
