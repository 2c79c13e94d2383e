"""Objectives of the comparison of searches, each with its space as every contestant writes it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import hops_magic as hops

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """An objective to minimize.

    Attributes
    ----------
    space, hyperopt, optuna
        The same space three times: ours, a function that makes hyperopt's, one that draws from an Optuna trial.
    unit
        What the objective tells, less its least value.
    """

    name: str
    unit: str
    loss: Callable[[Values], float]
    space: Mapping[str, Any]
    hyperopt: Callable[[], Any]
    optuna: Callable[[Any], Values]


def branin(values: Values) -> float:
    x, y = values["x"], values["y"]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
STEEP = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
PEAKS = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
SIX = [f"x{i}" for i in range(6)]


def hartmann6(values: Values) -> float:
    x = np.array([values[name] for name in SIX])
    return float(3.32237 - (ALPHA * np.exp(-(STEEP * (x - PEAKS) ** 2).sum(1))).sum())


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    x, y = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(x))[:300]
    x, y = x[chosen] / 16.0, y[chosen]
    return x, y, list(StratifiedKFold(3, shuffle=True, random_state=0).split(x, y))


def kernel_log_loss(values: Values) -> float:
    """Cross-validated log loss of kernel ridge classification: its scores, sharpened, through a softmax; about 10 ms."""
    from sklearn.kernel_ridge import KernelRidge

    x, y, folds = _digits()
    x, wanted = x ** values["power"], np.eye(10)[y]
    losses = []
    for train, test in folds:
        machine = KernelRidge(alpha=values["alpha"], **values["kernel"])
        scores = values["sharpness"] * machine.fit(x[train], wanted[train]).predict(x[test])
        scores -= scores.max(axis=1, keepdims=True)
        told = scores[np.arange(len(test)), y[test]] - np.log(np.exp(scores).sum(axis=1))
        losses.append(-told.mean())
    return float(np.mean(losses))


def _kernel_space() -> dict[str, Any]:
    return {
        "alpha": hops.loguniform(1e-5, 1e2),
        "power": hops.uniform(0.2, 3.0),
        "sharpness": hops.loguniform(0.1, 30.0),
        "kernel": hops.choice(
            [
                {"kernel": "rbf", "gamma": hops.loguniform(1e-4, 1e1)},
                {
                    "kernel": "poly",
                    "degree": hops.randint(1, 6),
                    "gamma": hops.loguniform(1e-4, 1e1),
                    "coef0": hops.uniform(0.0, 2.0),
                },
                {"kernel": "sigmoid", "gamma": hops.loguniform(1e-4, 1e1), "coef0": hops.uniform(-2.0, 2.0)},
            ]
        ),
    }


def _kernel_hyperopt() -> Any:
    from hyperopt import hp

    def gamma(label: str) -> Any:
        return hp.loguniform(label, math.log(1e-4), math.log(1e1))

    poly = {"kernel": "poly", "degree": hp.uniformint("degree", 1, 5), "gamma": gamma("g1"), "coef0": hp.uniform("c1", 0, 2)}
    sigmoid = {"kernel": "sigmoid", "gamma": gamma("g2"), "coef0": hp.uniform("c2", -2, 2)}
    return {
        "alpha": hp.loguniform("alpha", math.log(1e-5), math.log(1e2)),
        "power": hp.uniform("power", 0.2, 3.0),
        "sharpness": hp.loguniform("sharpness", math.log(0.1), math.log(30.0)),
        "kernel": hp.choice("kernel", [{"kernel": "rbf", "gamma": gamma("g0")}, poly, sigmoid]),
    }


def _kernel_optuna(trial: Any) -> Values:
    kernel: dict[str, Any] = {"kernel": trial.suggest_categorical("kernel", ["rbf", "poly", "sigmoid"])}
    name = kernel["kernel"]
    kernel["gamma"] = trial.suggest_float(f"gamma {name}", 1e-4, 1e1, log=True)
    if name == "poly":
        kernel |= {"degree": trial.suggest_int("degree", 1, 5), "coef0": trial.suggest_float("coef0 poly", 0, 2)}
    if name == "sigmoid":
        kernel["coef0"] = trial.suggest_float("coef0 sigmoid", -2, 2)
    return {
        "alpha": trial.suggest_float("alpha", 1e-5, 1e2, log=True),
        "power": trial.suggest_float("power", 0.2, 3.0),
        "sharpness": trial.suggest_float("sharpness", 0.1, 30.0, log=True),
        "kernel": kernel,
    }


def _box(bounds: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return a box as the three kinds of space."""

    def hyperopt() -> Any:
        from hyperopt import hp

        return {name: hp.uniform(name, *ends) for name, ends in bounds.items()}

    return {
        "space": {name: hops.uniform(*ends) for name, ends in bounds.items()},
        "hyperopt": hyperopt,
        "optuna": lambda trial: {name: trial.suggest_float(name, *ends) for name, ends in bounds.items()},
    }


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("Branin", "regret", branin, **_box({"x": (-5.0, 10.0), "y": (0.0, 15.0)})),
        Problem("Hartmann6", "regret", hartmann6, **_box(dict.fromkeys(SIX, (0.0, 1.0)))),
        Problem("kernel ridge on digits", "log loss", kernel_log_loss, _kernel_space(), _kernel_hyperopt, _kernel_optuna),
    )
}
