"""hyperopt's engines: ``tpe``, ``anneal`` and ``random``.

Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization (NIPS 2011) for TPE.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hops_magic.runs.states import TrialState
from hops_magic.tuning.dimensions import plain_number
from hops_magic.tuning.graphs import graph_of
from hops_magic.tuning.search import Outcome, Point
from hops_magic.tuning.space import Space

STARTUP = 20
"""Trials that are drawn at random before TPE has something to learn from."""
BEST, LATEST = 25, 200
"""Trials that TPE is shown, so that its cost does not grow with the study."""

_Rank = tuple[int, float, float]


class HyperoptEngine:
    """One of hyperopt's algorithms, asked for one point at a time.

    Trials that were stopped count, after all that came to their end, those that lived longer before the others: without
    them TPE would learn from survivors alone. Running trials and failed ones belong to TPE's bad half.
    """

    def __init__(self, space: Space, seed: int, algorithm: str) -> None:
        from hyperopt import Domain, Trials, anneal, rand, tpe

        # it tells each suggestion, which a study of a thousand trials has no use for
        logging.getLogger("hyperopt.tpe").setLevel(logging.WARNING)
        self._space, self._seed, self._algorithm = space, seed, algorithm
        self._dimensions = space.dimensions()
        self._domain = Domain(None, graph_of(space))
        self._trials = Trials()
        self._random = rand.suggest
        self._suggest = {
            "tpe": functools.partial(tpe.suggest, n_startup_jobs=1, verbose=False),
            "anneal": anneal.suggest,
            "random": rand.suggest,
        }[algorithm]
        self._documents: dict[int, dict[str, Any]] = {}
        self._ranks: dict[int, _Rank | None] = {}

    def propose(self, number: int, attempt: int) -> dict[str, Any]:
        """Propose a point."""
        seed = int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0] >> 1)
        counted = sum(rank is not None and rank[0] < 2 for rank in self._ranks.values())
        needed = STARTUP if self._algorithm == "tpe" else 1
        suggest = self._suggest if counted >= needed and self._show() else self._random
        (document,) = suggest([number], self._domain, self._trials, seed)
        drawn = {label: plain_number(values[0]) for label, values in document["misc"]["vals"].items() if len(values)}
        # hyperopt rounds to multiples that may lie outside the bounds
        dimensions = self._dimensions
        return {label: dimensions[label].nearest(raw) if dimensions[label].q else raw for label, raw in drawn.items()}

    def reject(self, point: Point) -> None:
        """Hyperopt draws around what was good: other places come by themselves."""

    def begin(self, number: int, point: Mapping[str, Any]) -> None:
        """Take note of a running trial."""
        self._documents[number] = self._document(number, point)
        self._ranks[number] = None

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn from a trial."""
        if number not in self._documents:
            self._documents[number] = self._document(number, point)
        self._ranks[number] = _rank(outcome)

    def _show(self) -> bool:
        """Give the algorithm its view of the trials: the best, the latest and those that run."""
        from hyperopt import STATUS_FAIL, STATUS_OK

        good = sorted((n for n, rank in self._ranks.items() if rank is not None and rank[0] < 2), key=self._order)
        place = {number: position for position, number in enumerate(good)}
        shown = sorted({*good[:BEST], *list(self._documents)[-LATEST:]})
        for number in shown:
            # TPE looks only at the order of losses; a trial without one is worse than all
            if number in place:
                self._documents[number]["result"] = {"status": STATUS_OK, "loss": float(place[number])}
            else:
                self._documents[number]["result"] = {"status": STATUS_FAIL}
        self._trials._dynamic_trials = [self._documents[number] for number in shown]
        self._trials.refresh()
        return bool(good)

    def _order(self, number: int) -> tuple[_Rank, int]:
        rank = self._ranks[number]
        assert rank is not None
        return rank, number

    def _document(self, number: int, point: Mapping[str, Any]) -> dict[str, Any]:
        from hyperopt import JOB_STATE_DONE

        labels = list(self._domain.params)
        misc = {
            "tid": number,
            "cmd": ("domain_attachment", "FMinIter_Domain"),
            "workdir": None,
            "idxs": {label: [number] if label in point else [] for label in labels},
            "vals": {label: [self._raw(label, point[label])] if label in point else [] for label in labels},
        }
        (document,) = self._trials.new_trial_docs([number], [None], [{"status": "new"}], [misc])
        document["state"] = JOB_STATE_DONE
        return dict(document)

    def _raw(self, label: str, value: Any) -> Any:
        return int(value) if self._dimensions[label].weights else value


def _rank(outcome: Outcome) -> _Rank:
    if outcome.state is TrialState.FAILED or outcome.loss is None or not math.isfinite(outcome.loss):
        return (2, 0.0, 0.0)
    if outcome.state is TrialState.STOPPED:
        return (1, -float(outcome.step), outcome.loss)
    return (0, 0.0, outcome.loss)
