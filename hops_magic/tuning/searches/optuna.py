"""Optuna's TPE: multivariate, with conditional dimensions in groups and running trials taken for bad ones.

Akiba, Sano, Yanase, Ohta, Koyama: Optuna (KDD 2019); Watanabe: Tree-Structured Parzen Estimator (arXiv:2304.11127).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from hops_magic.runs.states import TrialState
from hops_magic.tuning.dimensions import Dimension, Kind
from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.space import Space

STARTUP = 10
"""Trials that are drawn at random, with the weights of choices, before TPE has something to learn from."""
BEST, LATEST = 50, 350
"""Trials that TPE is shown, so that its cost does not grow with the study."""


class OptunaEngine:
    """Optuna's sampler over one of our spaces, evaluated as it is drawn, so that conditional dimensions stay conditional."""

    def __init__(self, space: Space, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._space, self._seed = optuna, space, seed
        self._dimensions = space.dimensions()
        self._told: dict[int, tuple[Point, Outcome]] = {}
        self._running: dict[int, Mapping[str, Any]] = {}
        self._study: Any = None
        self._in_study: dict[int, Any] = {}
        self._study_size = 0

    def propose(self, number: int, attempt: int) -> dict[str, Any]:
        """Propose a point."""
        seed = int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0])
        counted = sum(1 for _, outcome in self._told.values() if _loss(outcome) is not None)
        if counted < STARTUP:
            return self._space.sample(np.random.default_rng(seed))
        study = self._current_study()
        study.sampler = self._sampler(seed)
        trial = study.ask()
        try:
            _, point = self._space.walk(lambda label, dimension: _suggest(trial, label, dimension))
        finally:
            # a proposal is no trial yet: begin makes it one
            study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            self._study_size += 1
        return point

    def reject(self, point: Point) -> None:
        """Take note that a trial with such a point would fail, as if it had: else the same place is proposed again."""
        if self._study is not None:
            self._study.add_trial(self._finished(point, Outcome(state=TrialState.FAILED, loss=None, step=-1)))
            self._study_size += 1

    def begin(self, number: int, point: Mapping[str, Any]) -> None:
        """Take note of a running trial."""
        self._running[number] = point
        if self._study is not None:
            self._add_running(number, point)

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn from a trial."""
        self._told[number] = (point, outcome)
        self._running.pop(number, None)
        if self._study is None:
            return
        trial = self._in_study.pop(number, None)
        if trial is None:
            self._study.add_trial(self._finished(point, outcome))
            self._study_size += 1
            return
        state, loss = self._state_of(outcome), _loss(outcome)
        if state is self._optuna.trial.TrialState.PRUNED and loss is not None:
            trial.report(loss, max(outcome.step, 0))
        done = self._optuna.trial.TrialState.COMPLETE
        self._study.tell(trial, loss if state is done else None, state=None if state is done else state)

    def _current_study(self) -> Any:
        """Return Optuna's study, begun anew with the best and the latest trials when it has grown large."""
        if self._study is None or self._study_size > 2 * (BEST + LATEST):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._study = self._optuna.create_study(sampler=self._sampler(self._seed))
            self._in_study = {}
            shown = self._shown()
            self._study.add_trials([self._finished(*self._told[number]) for number in shown])
            self._study_size = len(shown)
            for number, point in self._running.items():
                self._add_running(number, point)
        return self._study

    def _shown(self) -> list[int]:
        good = sorted(
            (n for n, (_, o) in self._told.items() if o.state is TrialState.DONE and _loss(o) is not None), key=self._order
        )
        return sorted({*good[:BEST], *list(self._told)[-LATEST:]})

    def _order(self, number: int) -> tuple[float, int]:
        return _loss(self._told[number][1]) or 0.0, number

    def _add_running(self, number: int, point: Mapping[str, Any]) -> None:
        fixed = {label: _encoded(self._dimensions[label], raw) for label, raw in point.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.enqueue_trial(fixed)
            trial = self._study.ask()
            self._space.walk(lambda label, dimension: _suggest(trial, label, dimension))
        self._in_study[number] = trial
        self._study_size += 1

    def _finished(self, point: Point, outcome: Outcome) -> Any:
        state, loss = self._state_of(outcome), _loss(outcome)
        is_pruned = state is self._optuna.trial.TrialState.PRUNED
        return self._optuna.trial.create_trial(
            state=state,
            value=loss if state is self._optuna.trial.TrialState.COMPLETE else None,
            params={label: _encoded(self._dimensions[label], raw) for label, raw in point.items()},
            distributions={label: _distribution(self._dimensions[label]) for label in point},
            intermediate_values={max(outcome.step, 0): loss} if is_pruned and loss is not None else None,
        )

    def _state_of(self, outcome: Outcome) -> Any:
        states = self._optuna.trial.TrialState
        # its samplers ignore FAIL and would come back to where trials fail: pruned without a value is worse than all
        is_complete = outcome.state is not TrialState.STOPPED and _loss(outcome) is not None
        return states.COMPLETE if is_complete else states.PRUNED

    def _sampler(self, seed: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multivariate and group are called experimental
            return self._optuna.samplers.TPESampler(
                seed=seed % 2**32, n_startup_trials=1, multivariate=True, group=True, constant_liar=True
            )


def _loss(outcome: Outcome) -> float | None:
    if outcome.state is TrialState.FAILED or outcome.loss is None or not math.isfinite(outcome.loss):
        return None
    return outcome.loss


def _suggest(trial: Any, label: str, dimension: Dimension) -> Any:
    """Let an Optuna trial suggest a raw coordinate."""
    distribution = _distribution(dimension)
    return _decoded(dimension, trial._suggest(label, distribution))


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind is Kind.CATEGORICAL:
        return CategoricalDistribution(list(range(len(dimension.weights))))
    if dimension.kind is Kind.INTEGER:
        return IntDistribution(int(dimension.low), int(dimension.high))
    if dimension.kind is Kind.QUNIFORM:
        first, last = dimension.multiples
        return IntDistribution(int(first), int(last))
    if dimension.kind.is_normal:
        return FloatDistribution(1e-4, 1 - 1e-4)  # the quantile
    return FloatDistribution(dimension.low, dimension.high, log=dimension.kind.is_log)


def _decoded(dimension: Dimension, value: Any) -> Any:
    if dimension.kind is Kind.QUNIFORM:
        return dimension.nearest(value * dimension.q)
    if dimension.kind.is_normal:
        from scipy.special import ndtri

        value = dimension.mu + dimension.sigma * float(ndtri(value))
        value = math.exp(value) if dimension.kind.is_log else value
    return dimension.nearest(value) if dimension.q else value


def _encoded(dimension: Dimension, raw: Any) -> Any:
    if dimension.kind in (Kind.CATEGORICAL, Kind.INTEGER):
        return int(raw)
    if dimension.kind is Kind.QUNIFORM:
        return round(dimension.nearest(raw) / dimension.q)
    if dimension.kind.is_normal:
        from scipy.special import ndtr

        standard = ((math.log(max(raw, 1e-300)) if dimension.kind.is_log else raw) - dimension.mu) / dimension.sigma
        return min(max(float(ndtr(standard)), 1e-4), 1 - 1e-4)
    return min(max(float(raw), dimension.low), dimension.high)
