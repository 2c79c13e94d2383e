"""When a trial is ended early, and when a whole study is: rules exactly as published, on true steps.

All losses are such that less is better. Steps count from 0 or 1; a report that repeats a step or goes back is ignored.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Protocol

from hops_magic.errors import OptionError, counted
from hops_magic.runs.states import TrialState

Show = Callable[[float], str]
"""How a loss is written in reasons: as the metric that the user knows."""

MEDIAN_GRACE, MEDIAN_OTHERS = 4, 5
ASHA_GRACE, REDUCTION, MAX_STEPS = 1, 3, 81


class Rule(Protocol):
    """Decides after each report whether a trial has any hope."""

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report; return why the trial is to be stopped, empty for it to go on."""
        ...

    def ended(self, trial: int, state: TrialState) -> None:
        """Take note that a trial is over."""
        ...


def _shown(loss: float) -> str:
    return f"{loss:.4g}"


class Steps:
    """Wraps a rule: passes on what is new, and stops a trial whose loss is no number."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._last: dict[int, int] = {}

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report."""
        if step <= self._last.get(trial, -1):
            return ""
        self._last[trial] = step
        if not math.isfinite(loss):
            return f"not a number at step {step}"
        return self.rule.report(trial, step, loss)

    def ended(self, trial: int, state: TrialState) -> None:
        """Take note that a trial is over."""
        self.rule.ended(trial, state)


class Never:
    """Stops nothing."""

    def report(self, trial: int, step: int, loss: float) -> str:  # noqa: ARG002 (the signature of all rules)
        """Return no reason."""
        return ""

    def ended(self, trial: int, state: TrialState) -> None:
        """Take note of nothing."""


@dataclass
class _Means:
    """Running means of the trials at one step, in order: a median of thousands is then found at once."""

    by_trial: dict[int, float] = field(default_factory=dict)
    ordered: list[float] = field(default_factory=list)

    def without(self, trial: int) -> list[float]:
        """Return the means of all other trials."""
        if trial in self.by_trial:
            del self.ordered[bisect.bisect_left(self.ordered, self.by_trial.pop(trial))]
        return self.ordered

    def put(self, trial: int, mean: float) -> None:
        """Add a trial that is not there."""
        self.by_trial[trial] = mean
        bisect.insort(self.ordered, mean)


class Median:
    """Stops a trial whose best loss is strictly worse than the median of the other trials' means up to the same step.

    Golovin et al.: Google Vizier (KDD 2017), section 3.2.2, with running means from the end of the grace period on, and with
    trials that still run among the others, so that it acts with few workers too.

    Parameters
    ----------
    grace
        First step at which a trial may be stopped.
    others
        How many other trials must have reached the step.
    """

    def __init__(self, grace: int = MEDIAN_GRACE, others: int = MEDIAN_OTHERS, show: Show = _shown) -> None:
        self.grace, self.others, self._show = grace, others, show
        self._best: dict[int, float] = {}
        self._sum: dict[int, tuple[float, int]] = {}
        self._means: dict[int, _Means] = {}
        self._courses: dict[int, tuple[list[int], list[float]]] = {}
        self._leaping: set[int] = set()

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report."""
        best = self._best[trial] = min(loss, self._best.get(trial, math.inf))
        if step < self.grace:
            return ""
        total, count = self._sum.get(trial, (0.0, 0))
        self._sum[trial] = (total + loss, count + 1)
        mean = (total + loss) / (count + 1)
        means = self._means.setdefault(step, _Means())
        others = means.without(trial) + self._passed(trial, step)
        means.put(trial, mean)
        steps, course = self._courses.setdefault(trial, ([], []))
        if step > (steps[-1] if steps else self.grace - 1) + 1:
            self._leaping.add(trial)
        steps.append(step)
        course.append(mean)
        if len(others) < self.others:
            return ""
        median = statistics.median(others)
        if best <= median:
            return ""
        return (
            f"median: its best, {self._show(best)}, is worse than {self._show(median)}, "
            f"the median of {len(others)} other trials' means over steps {self.grace} to {step}"
        )

    def _passed(self, trial: int, step: int) -> list[float]:
        """Return the means of other trials that have gone beyond a step without a report at it."""
        found = []
        for other in self._leaping - {trial}:
            steps, course = self._courses[other]
            at = bisect.bisect_right(steps, step) - 1
            if at >= 0 and steps[at] != step and steps[-1] > step:
                found.append(course[at])
        return found

    def ended(self, trial: int, state: TrialState) -> None:
        """Keep what the trial reported: stopped trials count among the others."""


@dataclass
class _Rung:
    at: int
    losses: list[float] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)


def _check_rungs(grace: int, reduction: int) -> None:
    for name, number, least in (("grace", grace, 1), ("reduction", reduction, 2)):
        if number < least:
            raise OptionError(name, f"must be at least {least}", number)


class Asha:
    """Asynchronous successive halving, in the variant that stops instead of promoting.

    Li, Jamieson, Rostamizadeh et al.: A System for Massively Parallel Hyperparameter Tuning (MLSys 2020); the variant is
    that of Ray Tune and Syne Tune. Rungs are at ``grace * reduction**k`` below ``max_steps``. The first report at or after
    a rung is recorded there, and at no rung before it that the trial skipped;
    the trial goes on if it is among the best ``1/reduction`` of that rung, itself included. A
    rung decides from ``reduction`` losses on.

    Raises
    ------
    OptionError
        If ``grace`` or ``reduction`` is so small that the rungs would have no end.
    """

    def __init__(
        self, grace: int = ASHA_GRACE, reduction: int = REDUCTION, max_steps: int = MAX_STEPS, show: Show = _shown
    ) -> None:
        _check_rungs(grace, reduction)
        self.grace, self.reduction, self.max_steps, self._show = grace, reduction, max_steps, show
        self.rungs: list[_Rung] = []
        at = grace
        while at < max_steps:
            self.rungs.append(_Rung(at))
            at *= reduction

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report."""
        reached = [rung for rung in self.rungs if rung.at <= step]
        if not reached or trial in reached[-1].seen:
            return ""
        for rung in reached:
            rung.seen.add(trial)
        # its loss at a later step is no measure for those that came to a rung which it skipped
        bisect.insort(reached[-1].losses, loss)
        return self._judge(reached[-1], loss)

    def ended(self, trial: int, state: TrialState) -> None:
        """Keep what the trial reported."""

    def _judge(self, rung: _Rung, loss: float) -> str:
        count = len(rung.losses)
        if count < self.reduction:
            return ""
        kept = max(1, count // self.reduction)
        worst_kept = rung.losses[kept - 1]
        if loss <= worst_kept:
            return ""
        place = bisect.bisect_left(rung.losses, loss) + 1
        going_on = "only the best goes on" if kept == 1 else f"only the best {kept} go on"
        return (
            f"asha: number {place} of {counted(count, 'trial')} at step {rung.at}, with {self._show(loss)}; "
            f"{going_on}, at {self._show(worst_kept)} or better"
        )


class Hyperband:
    """Several brackets of successive halving that begin to stop at different steps; a trial's number draws its bracket.

    Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband (JMLR 2018), asynchronous as in :class:`Asha`. A bracket is
    drawn with the share of trials that the paper gives it; the last stops nothing. Where ``max_steps`` is ``grace`` times a
    power of ``reduction``, brackets and shares are the paper's.
    """

    def __init__(
        self, grace: int = ASHA_GRACE, reduction: int = REDUCTION, max_steps: int = MAX_STEPS, show: Show = _shown
    ) -> None:
        _check_rungs(grace, reduction)
        count = 1
        while grace * reduction ** (count - 1) < max_steps:
            count += 1
        self.brackets = [Asha(grace * reduction**b, reduction, max_steps, show) for b in range(count)]
        sizes = [math.ceil(count * reduction ** (count - 1 - b) / (count - b)) for b in range(count)]
        self._shares = [sum(sizes[: b + 1]) / sum(sizes) for b in range(count)]

    def bracket(self, trial: int) -> int:
        """Return the number of a trial's bracket: the same each time, and each bracket as often as its share says."""
        golden = (trial * 0.6180339887498949) % 1.0  # a low-discrepancy sequence: even after few trials the shares hold
        return next(b for b, share in enumerate(self._shares) if golden < share or b == len(self._shares) - 1)

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report."""
        number = self.bracket(trial)
        reason = self.brackets[number].report(trial, step, loss)
        return f"hyperband, bracket {number}: {reason.removeprefix('asha: ')}" if reason else ""

    def ended(self, trial: int, state: TrialState) -> None:
        """Keep what the trial reported."""


class Patient:
    """Stops a trial only when another rule has wanted to for several reports in a row."""

    def __init__(self, rule: Rule, patience: int) -> None:
        self.rule, self.patience = rule, patience
        self._wanted: dict[int, int] = {}

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report."""
        reason = self.rule.report(trial, step, loss)
        self._wanted[trial] = self._wanted.get(trial, 0) + 1 if reason else 0
        return f"{reason} ({self._wanted[trial]} reports in a row)" if self._wanted[trial] > self.patience else ""

    def ended(self, trial: int, state: TrialState) -> None:
        """Take note that a trial is over."""
        self.rule.ended(trial, state)


RULES = ("median", "asha", "hyperband", "none")


def make_rule(
    name: str,
    *,
    grace: int | None = None,
    reduction: int | None = None,
    max_steps: int | None = None,
    show: Show | None = None,
) -> Rule:
    """Return a rule by name, with defaults where nothing is said.

    Raises
    ------
    OptionError
        For a name that is none, or an option that the rule does not have.
    """
    if name not in RULES:
        close = get_close_matches(name, RULES, n=1)
        raise OptionError("stop", f"must be one of {', '.join(RULES)}", name, f"did you mean {close[0]}?" if close else "")
    show = show or _shown
    for option, number, least in (("--grace", grace, 1), ("--reduction", reduction, 2), ("--max-steps", max_steps, 1)):
        if number is not None and number < least:
            raise OptionError(option, f"must be at least {least}", number)
    if name in ("asha", "hyperband"):
        longest, first = max_steps or MAX_STEPS, grace or ASHA_GRACE
        if first >= longest:
            raise OptionError("--grace", f"must be less than the steps of a trial ({longest})", first, "say --max-steps")
        kind = Asha if name == "asha" else Hyperband
        return Steps(kind(first, reduction or REDUCTION, longest, show))
    check_unused(f"--stop {name}", grace=grace if name == "none" else None, reduction=reduction, max_steps=max_steps)
    return Steps(Median(grace or MEDIAN_GRACE, show=show) if name == "median" else Never())


def check_unused(rule: str, *, grace: int | None = None, reduction: int | None = None, max_steps: int | None = None) -> None:
    """Refuse options that a rule would ignore.

    Raises
    ------
    OptionError
        Naming the rules that have the option.
    """
    rungs = "asha and hyperband"
    for option, value, owners in (
        ("--grace", grace, f"median, {rungs}"),
        ("--reduction", reduction, rungs),
        ("--max-steps", max_steps, rungs),
    ):
        if value is not None:
            raise OptionError(option, f"has no meaning with {rule}", value, f"it belongs to {owners}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a study before its last trial.

    Attributes
    ----------
    patience : int or None
        Trials in a row that ended without a better loss.
    budget_s : float or None
        Seconds since the study began.
    target : float or None
        A loss that is good enough.
    """

    patience: int | None = None
    budget_s: float | None = None
    target: float | None = None
    show: Show = _shown

    def reason(self, best: float | None, since: int, elapsed_s: float) -> str:
        """Return why the study ends now, empty for it to go on.

        Parameters
        ----------
        best
            The best loss of the trials that came to their end; None if none did.
        since
            Trials since then that ended with a loss, or were stopped after one.
        """
        if self.budget_s is not None and elapsed_s >= self.budget_s:
            return f"its budget of {self.budget_s:g} s is used up"
        if best is None:
            return ""
        if self.target is not None and best <= self.target:
            return f"the target of {self.show(self.target)} is reached"
        if self.patience is not None and since >= self.patience:
            were = "was" if since == 1 else "in a row were"
            return f"{counted(since, 'trial')} {were} not better than {self.show(best)}"
        return ""
