"""Importance finds what matters."""

import numpy as np
import pytest

from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Study, Trial
from hops_magic.tuning.importance import importance
from hops_magic.tuning.results import importance_of
from hops_magic.tuning.space import Space, choice, loguniform, uniform


def test_what_decides_the_loss_comes_first():
    space = Space.of({"lr": loguniform(1e-5, 1.0), "noise": uniform(0, 1), "kind": choice(["a", "b"])})
    random = np.random.default_rng(0)
    points = [space.sample(random) for _ in range(80)]
    losses = [abs(np.log10(p["lr"]) + 2) + 0.5 * p["kind"] for p in points]
    found = importance(space, list(zip(points, losses, strict=True)))
    assert list(found) == ["lr", "kind", "noise"]
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["lr"] > 0.6
    assert found["noise"] < 0.1


def test_conditional_dimensions_and_diverged_trials_do_no_harm():
    space = Space.of({"o": choice([{"m": uniform(0, 1)}, "none"])})
    random = np.random.default_rng(1)
    points = [space.sample(random) for _ in range(40)]
    losses = [p.get("o[0].m", 0.5) for p in points]
    losses[3], losses[4] = 1e30, float("nan")
    found = importance(space, list(zip(points, losses, strict=True)))
    assert found["o[0].m"] > found["o"]


def test_too_few_trials_say_nothing():
    space = Space.of({"x": uniform(0, 1)})
    assert importance(space, [({"x": 0.1}, 1.0), ({"x": 0.2}, 2.0)]) == {}


def test_a_study_of_another_kernel_is_judged_by_its_values():
    random = np.random.default_rng(0)
    trials = {}
    for number in range(60):
        values = {
            "lr": float(10 ** random.uniform(-5, 0)),
            "kind": str(random.choice(["a", "b"])),
            "noise": float(random.random()),
        }
        loss = abs(np.log10(values["lr"]) + 2) + 0.5 * (values["kind"] == "a")
        trials[number] = Trial(number=number, values=values, state=TrialState.DONE, value=float(loss))
    study = Study(run_id="s", metric="loss", names=("lr", "kind", "noise"), log_names=("lr",), trials=trials)
    assert list(importance_of(study, None)) == ["lr", "kind", "noise"]
