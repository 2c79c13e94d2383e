"""Options of a ``%%tune`` study; magic flags, Python keywords and forms derive from this one declaration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hops_magic.errors import OptionError
from hops_magic.options import check, option
from hops_magic.runs.options import FRAMEWORKS
from hops_magic.runs.study import Direction

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """How a cell is tuned on the cluster."""

    trials: int = option(20, "trials in all", flags=("-n",), at_least=1)
    minimize: str | None = option(None, "metric to make small", metavar="METRIC")
    maximize: str | None = option(None, "metric to make large", metavar="METRIC")
    score: str = option("last", "which of a trial's values counts", choices=("last", "best"))
    search: str = option("auto", "auto, tpe, anneal, random, grid, optuna, or the name of an object of your own")
    start_with: str | None = option(None, "known points to try first, as a dictionary or a list of them", metavar="{...}")
    stop: str = option("median", "median, asha, hyperband, none, or the name of a rule of your own")
    grace: int | None = option(None, "steps before which no trial is stopped", at_least=1, metavar="STEPS")
    reduction: int | None = option(None, "asha, hyperband: one of how many trials goes on at each rung", at_least=2)
    max_steps: int | None = option(None, "asha, hyperband: steps of a whole trial", at_least=1, metavar="STEPS")
    patience: int | None = option(
        None, "end the study after so many trials without a better one", at_least=1, metavar="TRIALS"
    )
    budget: str | None = option(None, "end the study after this time: 90s, 30m, 2h", metavar="TIME")
    target: float | None = option(None, "end the study when the metric is this good", metavar="VALUE")
    parallel: int | None = option(None, "trials at once (default: as many as fit)", flags=("-p",), at_least=1)
    workers_per_trial: int = option(1, "ranks that train each trial together", at_least=1)
    gpus_per_trial: int | None = option(
        None, "GPUs of each trial: mirrored inside its rank, or one for each of its ranks", at_least=0
    )
    retries: int = option(1, "times a trial may start again after its process or worker was lost", at_least=0)
    fail_fast: int = option(3, "end the study if the first so many trials fail with the same error; 0: never", at_least=0)
    seed: int | None = option(None, "seed of the suggestions and of each trial (default: drawn and recorded)", at_least=0)
    framework: str = option("auto", "what makes the body parallel; none: plain Python", choices=FRAMEWORKS)
    checkpoint_s: float | None = option(
        None, "also checkpoint after this many seconds inside an epoch", at_least=0.1, metavar="SECONDS"
    )
    name: str | None = option(None, "name of the study in the registry")
    experiment: str | None = option(None, "experiment that records the study (default: the notebook's name)")
    resume: str | None = option(None, "go on with this study: its name or id", metavar="STUDY")
    keep_model: bool = option(False, "keep the best trial's model and other names, and bring them back")
    register: str | None = option(None, "register the best trial's model under this name", metavar="NAME")
    detach: bool = option(False, "return at once; %%attach follows the study later")
    dry_run: bool = option(False, "show the space and what would travel to the cluster, and start nothing")

    def __post_init__(self) -> None:
        check(self)
        if self.minimize and self.maximize:
            remedy = "leave one of them out"
            raise OptionError(
                "--maximize", "cannot be combined with --minimize", f"{self.minimize}, {self.maximize}", remedy
            )
        _ = self.budget_s

    @property
    def metric(self) -> str:
        """The metric that the study is about.

        Raises
        ------
        OptionError
            If none was named.
        """
        if not (self.minimize or self.maximize):
            remedy = "e.g. --minimize val_loss, or --maximize accuracy"
            raise OptionError("--minimize", "or --maximize must name the metric to tune for", "neither", remedy)
        return self.minimize or self.maximize or ""

    @property
    def direction(self) -> Direction:
        """What is better."""
        return Direction.MAXIMIZE if self.maximize else Direction.MINIMIZE

    @property
    def budget_s(self) -> float | None:
        """The budget in seconds."""
        if self.budget is None:
            return None
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", self.budget.strip())
        if matched is None or float(matched[1]) <= 0:
            raise OptionError("--budget", "must be a time such as 90s, 30m or 2h", self.budget)
        return float(matched[1]) * _UNITS_S[matched[2] or "s"]

    @property
    def keeps(self) -> bool:
        """Whether trials leave their model and names behind."""
        return self.keep_model or self.register is not None
