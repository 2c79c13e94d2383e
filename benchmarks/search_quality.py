"""The best value after 100 and 200 trials: our ``auto`` search against hyperopt's ``fmin`` and Optuna's default sampler."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.objectives import PROBLEMS, Problem
from benchmarks.table import Table

TRIALS, LOOKS, SEEDS, PENDING = 200, (100, 200), 10, 4

Losses = list[float]
"""Of the trials, in the order in which they ended."""


def ours(problem: Problem, seed: int, pending: int = 1, name: str = "auto") -> Losses:
    """Drive our search as a study does: with several places, one suggestion is made ahead."""
    from hops_magic.runs.states import TrialState
    from hops_magic.tuning.search import Outcome
    from hops_magic.tuning.searches import make_search
    from hops_magic.tuning.space import Space

    space = Space.of(problem.space)
    search, random = make_search(name, space, seed=seed), np.random.default_rng(seed)
    losses: Losses = []
    running, ahead = [], []
    numbers = iter(range(TRIALS))
    while True:
        while len(running) < pending and (ahead or (number := next(numbers, None)) is not None):
            running.append(ahead.pop() if ahead else (number, search.ask(number)))
        if pending > 1 and (number := next(numbers, None)) is not None:
            ahead.append((number, search.ask(number)))
        if not running:
            return losses
        number, point = running.pop(int(random.integers(len(running))))
        losses.append(problem.loss(space.values(point)))
        search.tell(number, point, Outcome(state=TrialState.DONE, loss=losses[-1], step=1))


def optuna_default(problem: Problem, seed: int, pending: int = 1) -> Losses:
    """Ask and tell Optuna's default sampler, with as many trials running as ours has."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, random = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed)), np.random.default_rng(seed)
    losses: Losses = []
    running = []
    for number in range(TRIALS + pending - 1):
        if number < TRIALS:
            trial = study.ask()
            running.append((trial, problem.optuna(trial)))
        if len(running) == pending or number >= TRIALS:
            trial, values = running.pop(int(random.integers(len(running))))
            losses.append(problem.loss(values))
            study.tell(trial, losses[-1])
    return losses


def hyperopt_fmin(problem: Problem, seed: int) -> Losses:
    """Call ``fmin``, which runs one trial after the other."""
    from hyperopt import Trials, fmin, tpe

    trials, random = Trials(), np.random.default_rng(seed)
    fmin(
        problem.loss,
        problem.hyperopt(),
        algo=tpe.suggest,
        max_evals=TRIALS,
        trials=trials,
        rstate=random,
        show_progressbar=False,
        verbose=False,
    )
    return [float(loss) for loss in trials.losses()]


OURS, OURS_PENDING = "`%%tune --search auto`", f"`%%tune --search auto`, {PENDING} at once"
FMIN, OPTUNA, OPTUNA_PENDING = "hyperopt `fmin`, `tpe.suggest`", "Optuna `TPESampler()`", f"Optuna, {PENDING} at once"
CONTESTANTS: dict[str, Callable[[Problem, int], Losses]] = {
    "random": lambda problem, seed: ours(problem, seed, name="random"),
    FMIN: hyperopt_fmin,
    OPTUNA: optuna_default,
    OURS: ours,
    OPTUNA_PENDING: lambda problem, seed: optuna_default(problem, seed, PENDING),
    OURS_PENDING: lambda problem, seed: ours(problem, seed, PENDING),
}


def one(task: tuple[str, str, int]) -> list[float]:
    """Run one contestant on one problem with one seed; the best value at each look."""
    problem, contestant, seed = task
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    losses = CONTESTANTS[contestant](PROBLEMS[problem], seed)
    return [min(losses[:look]) for look in LOOKS]


Found = dict[tuple[str, str], list[list[float]]]
"""Best values by problem and contestant: one list for each seed, with a value for each look."""


def measure(problems: Sequence[str], contestants: Sequence[str], seeds: Sequence[int]) -> Found:
    # of each seed all contestants, so that a noisy moment or an early end hits all of them
    tasks = [(p, c, seed) for p in problems for seed in seeds for c in contestants]
    found: Found = {(p, c): [] for p, c in itertools.product(problems, contestants)}
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # read by the processes when they import numpy
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=spawn) as pool:
        for (p, c, _), bests in zip(tasks, pool.map(one, tasks), strict=True):
            found[p, c].append(bests)
    return found


def chance(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p-value of Mann and Whitney's test."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(mine, theirs).pvalue)


def told(values: Sequence[float]) -> str:
    """Write a median with its quartiles."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{statistics.median(values):.3g} ({low:.3g} to {high:.3g})"


def against(found: Found, mine: str, theirs: str) -> str:
    """Say how often one contestant's median is the better one, and how often that is more than chance."""
    better = worse = surely_better = surely_worse = 0
    for problem, look in itertools.product(PROBLEMS, range(len(LOOKS))):
        a, b = ([bests[look] for bests in found[problem, name]] for name in (mine, theirs))
        is_better, is_sure = statistics.median(a) <= statistics.median(b), chance(a, b) < 0.05
        better, worse = better + is_better, worse + (not is_better)
        surely_better, surely_worse = surely_better + (is_better and is_sure), surely_worse + (not is_better and is_sure)
    return f"{better} better ({surely_better} with p < 0.05), {worse} worse ({surely_worse})"


def table(seeds: int = SEEDS) -> Table:
    found = measure(list(PROBLEMS), list(CONTESTANTS), range(seeds))
    result = Table(
        "Quality of the search",
        f"The best value after {LOOKS[0]} and {LOOKS[1]} trials, median of {seeds} seeds (quartiles): regret on Branin and "
        "Hartmann6, cross-validated log loss of kernel ridge classification of digits, with conditional "
        f"hyperparameters. With {PENDING} at once a suggestion does not know the results of those that run, and ours makes "
        "one more ahead, as a study does; `fmin` cannot. Aim: no worse than the better rival.",
        ["", "", *(f"{look} trials" for look in LOOKS)],
    )
    for problem, contestant in itertools.product(PROBLEMS, CONTESTANTS):
        bests = found[problem, contestant]
        columns = [told([each[look] for each in bests]) for look in range(len(LOOKS))]
        result.rows.append([f"{problem}, {PROBLEMS[problem].unit}", contestant, *columns])
    cells = len(PROBLEMS) * len(LOOKS)
    result.verdict = (
        f"Of {cells} medians, against `fmin`: {against(found, OURS, FMIN)}; against Optuna: {against(found, OURS, OPTUNA)}; "
        f"{PENDING} at once, against Optuna: {against(found, OURS_PENDING, OPTUNA_PENDING)}."
    )
    return result


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if sys.argv[1:] else SEEDS).markdown())
