"""Time to target and wall time of asynchronous trials with our stopping rules against rounds, on a virtual clock.

The learning curves and the durations of epochs are those of :mod:`benchmarks.curves`: every simulated trial is one of them,
drawn at random. All contestants of a seed draw the same trials in the same order. Starting a trial takes no time.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.curves import EPOCHS, Curves, load
from benchmarks.table import Table
from hops_magic.runs.states import TrialState
from hops_magic.tuning.stopping import Rule, make_rule

SLOTS = (8, 64, 512)
SEEDS = 20
TRIALS_PER_SLOT = 8
MOST, MOST_PER_SLOT = 800, 16
"""Trials without the targets after which a contestant is said never to reach them; the larger number counts."""
RARITIES = (20, 200)
"""One of how many recorded curves reaches each target."""
REDUCTION = 3


@dataclass
class Course:
    """What a simulation came to.

    Attributes
    ----------
    now : float
        Virtual seconds.
    reached_at : dict of float to float
        When the first report was as good as each target; infinite if none was.
    best : float
        Accuracy.
    """

    reached_at: dict[float, float]
    now: float = 0.0
    best: float = 0.0

    def hear(self, at: float, accuracy: float) -> None:
        self.best = max(self.best, accuracy)
        for target, before in self.reached_at.items():
            if accuracy >= target:
                self.reached_at[target] = min(before, at)

    @property
    def has_reached(self) -> bool:
        return max(self.reached_at.values()) < math.inf


Contestant = Callable[[Curves, Iterator[int], int, Course, bool], None]
"""``contestant(curves, draws, slots, course, to_target)``: ends when there is no more, or when the targets are reached."""


def asynchronous(rule_name: str) -> Contestant:
    """Give every free slot the next trial at once; a rule of ours hears each report."""

    def simulate(curves: Curves, draws: Iterator[int], slots: int, course: Course, to_target: bool) -> None:
        rule: Rule = make_rule(rule_name, max_steps=EPOCHS if rule_name in ("asha", "hyperband") else None)
        events: list[tuple[float, int, int, int]] = []  # when, trial, its curve, epochs that are done then

        def begin(at: float, trial: int) -> int:
            curve = next(draws, None)
            if curve is not None:
                heapq.heappush(events, (at + curves.seconds[curve, 0], trial, curve, 1))
            return trial + (curve is not None)

        trials = 0
        for _ in range(slots):
            trials = begin(0.0, trials)
        while events and not (to_target and course.has_reached):
            course.now, trial, curve, step = heapq.heappop(events)
            accuracy = float(curves.accuracy[curve, step - 1])
            course.hear(course.now, accuracy)
            reason = rule.report(trial, step, 1 - accuracy)
            if not reason and step < EPOCHS:
                heapq.heappush(events, (course.now + curves.seconds[curve, step], trial, curve, step + 1))
                continue
            rule.ended(trial, TrialState.STOPPED if reason else TrialState.DONE)
            trials = begin(course.now, trials)

    return simulate


def rounds(curves: Curves, draws: Iterator[int], slots: int, course: Course, to_target: bool) -> None:
    """Begin as many trials as there are slots and wait for the slowest, again and again: bulk-synchronous."""
    while chosen := take(draws, slots):
        phase(curves, chosen, slots, (0, EPOCHS), course)
        if to_target and course.has_reached:
            return


def halving(curves: Curves, draws: Iterator[int], slots: int, course: Course, to_target: bool) -> None:
    """Halve synchronously: each rung waits for its slowest trial, then the best third goes on from where it was."""
    rungs = [1]
    while rungs[-1] < EPOCHS:
        rungs.append(min(EPOCHS, rungs[-1] * REDUCTION))
    while chosen := take(draws, max(slots, EPOCHS)):
        for first, last in zip([0, *rungs], rungs, strict=False):
            phase(curves, chosen, slots, (first, last), course)
            if to_target and course.has_reached:
                return
            chosen = sorted(chosen, key=lambda curve: -curves.accuracy[curve, last - 1])
            chosen = chosen[: max(1, len(chosen) // REDUCTION)]


def take(draws: Iterator[int], count: int) -> list[int]:
    return [curve for _, curve in zip(range(count), draws, strict=False)]


def phase(curves: Curves, chosen: Sequence[int], slots: int, epochs: tuple[int, int], course: Course) -> None:
    """Train some trials from one epoch to another, the next one wherever a slot is free; wait for all of them."""
    free = [course.now] * slots
    heapq.heapify(free)
    for curve in chosen:
        ends = heapq.heappop(free) + np.cumsum(curves.seconds[curve, slice(*epochs)])
        for at, accuracy in zip(ends, curves.accuracy[curve, slice(*epochs)], strict=True):
            course.hear(float(at), float(accuracy))
        heapq.heappush(free, float(ends[-1]))
    course.now = max(free)


ROUNDS = "rounds, waiting for the slowest"
CONTESTANTS: dict[str, Contestant] = {
    ROUNDS: rounds,
    "synchronous successive halving": halving,
    **{f"asynchronous, `--stop {name}`": asynchronous(name) for name in ("none", "median", "asha", "hyperband")},
}


def course_of(contestant: Contestant, slots: int, seed: int, targets: Sequence[float], *, to_target: bool) -> Course:
    curves = load()
    count = max(MOST, MOST_PER_SLOT * slots) if to_target else TRIALS_PER_SLOT * slots
    draws = np.random.default_rng([seed, slots]).integers(len(curves.accuracy), size=count)
    course = Course(dict.fromkeys(targets, math.inf))
    contestant(curves, iter(draws.tolist()), slots, course, to_target)
    return course


@dataclass(frozen=True)
class Summary:
    """Medians over the seeds; of the times to the targets also how often there was none."""

    to_target_s: list[float]
    never: list[int]
    wall_s: float
    best: float


def summary(contestant: Contestant, slots: int, targets: Sequence[float], seeds: int) -> Summary:
    to_target = [course_of(contestant, slots, seed, targets, to_target=True).reached_at for seed in range(seeds)]
    whole = [course_of(contestant, slots, seed, targets, to_target=False) for seed in range(seeds)]
    return Summary(
        to_target_s=[statistics.median(times[target] for times in to_target) for target in targets],
        never=[sum(times[target] == math.inf for times in to_target) for target in targets],
        wall_s=statistics.median(course.now for course in whole),
        best=statistics.median(course.best for course in whole),
    )


def told(seconds: float, base: float, never: int = 0) -> str:
    """Write a time, what it saves, and how often there was none."""
    if seconds == math.inf:
        return f"never ({never})"
    text = f"{seconds:.3g}" + (f" ({100 * (1 - seconds / base):.0f} %)" if seconds != base else "")
    return f"{text}, never ({never})" if never else text


def table(seeds: int = SEEDS) -> Table:
    curves = load()
    best = np.sort(curves.accuracy.max(axis=1))
    targets = [float(best[-(len(best) // rarity)]) for rarity in RARITIES]
    trial = curves.seconds.sum(axis=1)
    result = Table(
        "Asynchronous trials against rounds, simulated",
        f"Random search among {len(trial):,} recorded trainings of {EPOCHS} epochs (scikit-learn's MLP on digits; a whole "
        f"one takes {np.median(trial):.2g} s in the median, {np.quantile(trial, 0.95):.2g} s at the 95th percentile, "
        f"{trial.max():.2g} s at most) on a virtual clock, with the real rules; seconds, medians of {seeds} seeds, and in "
        "brackets what they save against rounds. To a target: until the first report of an accuracy that one in "
        f'{RARITIES[0]} or one in {RARITIES[1]} trainings reaches ("never": for how many seeds not even after '
        f"{MOST:,} trials, or {MOST_PER_SLOT} for each slot). Wall: until the end of {TRIALS_PER_SLOT} trials for each "
        "slot, stopped ones included; best: the accuracy found then. Rounds and halving are believed to see a "
        "target at once, not at their barrier. With 997 images to judge by, the very best differ by little more than "
        "chance. Maggy's published saving is 33 to 58 % of wall time, on problems of its own "
        "(doi 10.1145/3426745.3431338).",
        ["slots", "", *(f"to {target:.3f}" for target in targets), "wall", "best"],
    )
    savings: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    never = dict.fromkeys(CONTESTANTS, 0)
    for slots in SLOTS:
        found = {name: summary(contestant, slots, targets, seeds) for name, contestant in CONTESTANTS.items()}
        base = found[ROUNDS]
        for name, each in found.items():
            savings[name].append(100 * (1 - each.wall_s / base.wall_s))
            never[name] += each.never[-1]
            reached = map(told, each.to_target_s, base.to_target_s, each.never)
            result.rows.append([slots, name, *reached, told(each.wall_s, base.wall_s), each.best])
    del savings[ROUNDS]
    sayings = (f"{name.removeprefix('asynchronous, ')} {min(s):.0f} to {max(s):.0f} %" for name, s in savings.items())
    missed = (f"{name.removeprefix('asynchronous, ')} {count}" for name, count in never.items())
    result.verdict = (
        f"Wall time saved against rounds: {', '.join(sayings)}. Of {seeds * len(SLOTS)} searches each for what one training "
        f"in {RARITIES[1]} reaches, never there: {', '.join(missed)}."
    )
    return result


if __name__ == "__main__":
    print(table().markdown())
