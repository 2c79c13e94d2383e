"""How often searches come back to where trials fail, and what they find beside it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import statistics
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.table import Table

TRIALS, SEEDS = 100, 10
SEARCHES = ("random", "auto", "tpe", "anneal")
RIVAL = "Optuna `TPESampler()`, failures told as such"

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Region:
    """Where trials fail: everywhere but where ``works`` says."""

    works: Callable[[Values], bool]
    told: str


REGIONS = {
    "border": Region(lambda v: v["x"] + v["y"] <= 1, "beyond a slanted border, just behind the best"),
    "category": Region(lambda v: v["kind"] in ("a", "b"), "with two of four options"),
    "band": Region(lambda v: 0.3 <= v["x"] <= 0.7, "on either side of a band"),
}


def loss(values: Values) -> float:
    return float((values["x"] - 0.6) ** 2 + (values["y"] - 0.5) ** 2 + {"a": 0.0, "b": 0.01}.get(values["kind"], 0.0))


@dataclass(frozen=True)
class Found:
    """One search with one seed: failures among the second half of the trials, and the best loss."""

    failures: int
    best: float


def ours(region: Region, name: str, seed: int) -> Found:
    from hops_magic.runs.states import TrialState
    from hops_magic.tuning.search import Outcome
    from hops_magic.tuning.searches import make_search
    from hops_magic.tuning.space import Space, choice, uniform

    space = Space.of({"x": uniform(0.0, 1.0), "y": uniform(0.0, 1.0), "kind": choice(["a", "b", "c", "d"])})
    search, losses = make_search(name, space, seed=seed), []
    for number in range(TRIALS):
        point = search.ask(number)
        assert point is not None
        values = space.values(point)
        losses.append(loss(values) if region.works(values) else None)
        state = TrialState.FAILED if losses[-1] is None else TrialState.DONE
        search.tell(number, point, Outcome(state=state, loss=losses[-1], step=1))
    return summed(losses)


def optuna_default(region: Region, seed: int) -> Found:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, losses = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed)), []
    for _ in range(TRIALS):
        trial = study.ask()
        values = {
            "x": trial.suggest_float("x", 0.0, 1.0),
            "y": trial.suggest_float("y", 0.0, 1.0),
            "kind": trial.suggest_categorical("kind", ["a", "b", "c", "d"]),
        }
        losses.append(loss(values) if region.works(values) else None)
        if losses[-1] is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, losses[-1])
    return summed(losses)


def summed(losses: list[float | None]) -> Found:
    return Found(
        failures=sum(value is None for value in losses[TRIALS // 2 :]),
        best=min(value for value in losses if value is not None),
    )


def one(task: tuple[str, str, int]) -> Found:
    region, name, seed = task
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    return optuna_default(REGIONS[region], seed) if name == RIVAL else ours(REGIONS[region], name, seed)


def table(seeds: int = SEEDS) -> Table:
    tasks = [(region, name, seed) for region in REGIONS for seed in range(seeds) for name in (*SEARCHES, RIVAL)]
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # read by the processes when they import numpy
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=spawn) as pool:
        found: dict[tuple[str, str], list[Found]] = {}
        for (region, name, _), each in zip(tasks, pool.map(one, tasks), strict=True):
            found.setdefault((region, name), []).append(each)
    result = Table(
        "Where trials fail",
        f"A bowl in two dimensions with four options, in a part of which every trial fails; {TRIALS} trials one after the "
        f"other, {seeds} seeds. Failures: among the last {TRIALS // 2} trials, mean. Best: the loss found, median. "
        "Aim: no search of ours fails more often than random does.",
        ["trials fail", "", "failures", "best"],
    )
    for (region, name), each in found.items():
        shown = name if name == RIVAL else f"`%%tune --search {name}`"
        failures, best = statistics.mean(one.failures for one in each), statistics.median(one.best for one in each)
        result.rows.append([REGIONS[region].told, shown, f"{failures:.1f}", best])
    worst = max(
        (statistics.mean(e.failures for e in found[r, n]) / statistics.mean(e.failures for e in found[r, "random"]), r, n)
        for r in REGIONS
        for n in SEARCHES
        if n != "random"
    )
    result.verdict = f"At most {worst[0]:.2f} times as many failures as random has: `{worst[2]}`, {REGIONS[worst[1]].told}."
    return result


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if sys.argv[1:] else SEEDS).markdown())
