"""Leave one component out: what each is worth, by paired differences against base trials with the same seeds.

After Maggy's LOCO ("leave one component out", Logical Clocks): one base trial, one trial per component, no early stopping.
Here each is repeated with several seeds, and components may also be marked in the cell, where the base trials discover them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError
from hops_magic.frameworks.ablating import AblationSpec
from hops_magic.options import check, option
from hops_magic.runs.options import FRAMEWORKS
from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Study
from hops_magic.tuning.plan import StudyPlan
from hops_magic.tuning.search import NotYet, Outcome, Point

if TYPE_CHECKING:
    import pandas as pd

BASE = "(base)"


@dataclass(frozen=True, kw_only=True)
class AblateOptions:
    """How the components of a cell are left out, one at a time."""

    minimize: str | None = option(None, "metric that is good when small", metavar="METRIC")
    maximize: str | None = option(None, "metric that is good when large", metavar="METRIC")
    score: str = option("last", "which of a trial's values counts", choices=("last", "best"))
    features: tuple[str, ...] = option((), "columns of the notebook's DataFrames to leave out", metavar="A,B")
    layers: tuple[str, ...] = option((), "Keras layers to leave out, by name or beginning of names", metavar="A,B")
    flags: tuple[str, ...] = option((), "variables of the cell that are True, but for the one left out", metavar="A,B")
    repeats: int = option(1, "seeds; each component is left out once with each", at_least=1)
    parallel: int | None = option(None, "trials at once (default: as many as fit)", flags=("-p",), at_least=1)
    workers_per_trial: int = option(1, "ranks that train each trial together", at_least=1)
    gpus_per_trial: int | None = option(
        None, "GPUs of each trial: mirrored inside its rank, or one for each of its ranks", at_least=0
    )
    retries: int = option(1, "times a trial may start again after its process or worker was lost", at_least=0)
    seed: int | None = option(None, "the first seed (default: drawn and recorded)", at_least=0)
    framework: str = option("auto", "what makes the body parallel; none: plain Python", choices=FRAMEWORKS)
    name: str | None = option(None, "name of the study in the registry")
    experiment: str | None = option(None, "experiment that records the study (default: the notebook's name)")
    detach: bool = option(False, "return at once; %%attach follows the study later")
    dry_run: bool = option(False, "show what would travel to the cluster, and start nothing")

    def __post_init__(self) -> None:
        check(self)

    @property
    def components(self) -> tuple[str, ...]:
        """The components that are named by options; more may be marked in the cell."""
        kinds = (("feature", self.features), ("layer", self.layers), ("flag", self.flags))
        return tuple(f"{kind}:{name}" for kind, names in kinds for name in names)


@dataclass
class AblationSearch:
    """Proposes the base with each seed, then each component with each seed; learns the components from the base trials.

    Parameters
    ----------
    named
        Components that must be there.
    repeats
        Number of seeds.
    """

    named: tuple[str, ...]
    repeats: int
    _reached: dict[str, None] = field(default_factory=dict)
    _bases: int = 0

    def ask(self, number: int) -> Point | None:
        """Propose ``{"left_out": component or "", "repeat": r}``.

        Raises
        ------
        NotYet
            While base trials run.
        UsageError
            If a named component was not reached, or there is none at all.
        """
        if number < self.repeats:
            return {"left_out": "", "repeat": number}
        if self._bases < self.repeats:
            raise NotYet
        missing = [name for name in self.named if name not in self._reached]
        found = ", ".join(self._reached) or "none"
        if missing:
            raise UsageError(f"{', '.join(missing)} was never reached by the base trial, which came across {found}")
        components = list(self._reached)
        if not components:
            raise UsageError(
                "there is nothing to leave out: name --features, --layers or --flags, or mark components in the cell with "
                'hops.ablate.on("..."), hops.ablate.features([...]) or hops.ablate.layer("...", layer)'
            )
        index = number - self.repeats
        if index >= len(components) * self.repeats:
            return None
        # all components once before any a second time: a study that is stopped has something on each
        return {"left_out": components[index % len(components)], "repeat": index // len(components)}

    def tell(self, number: int, point: Point, outcome: Outcome) -> None:
        """Learn which components a base trial came across."""
        del number
        if point["left_out"]:
            return
        if outcome.state is not TrialState.DONE:
            raise UsageError(
                "a base trial, in which nothing is left out, did not come to a value: run the cell by itself first"
            )
        self._bases += 1
        self._reached |= dict.fromkeys(outcome.reached)


@dataclass(frozen=True)
class NoSpace:
    """The space of a study without hyperparameters."""

    names: tuple[str, ...] = ()
    log_names: tuple[str, ...] = ()

    def values(self, point: Point) -> dict[str, Any]:
        """Return no values: what differs between the trials is left out by the rank."""
        del point
        return {}

    def describe(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


@dataclass(frozen=True, kw_only=True)
class AblationPlan(StudyPlan):
    """The plan of an ablation."""

    spec: AblationSpec

    @property
    def when_exhausted(self) -> str:
        """Return nothing to explain: this is how an ablation ends."""
        return ""

    def shown(self, point: Point) -> dict[str, Any]:
        """Return the component and the number of the seed."""
        return {"left_out": point["left_out"] or BASE, "repeat": point["repeat"]}

    def seed_of(self, number: int, point: Point) -> int:
        """Return the seed that this trial shares with the base trial it is compared with."""
        del number
        return self.seed + int(point["repeat"])

    def ablation(self, point: Point) -> AblationSpec:
        """Return what is left out."""
        spec = self.spec
        return AblationSpec(left_out=point["left_out"], features=spec.features, layers=spec.layers, flags=spec.flags)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What leaving a component out does to the metric.

    Attributes
    ----------
    difference : float or None
        Mean of the metric without the component, less the metric of the base trial with the same seed.
    low, high : float or None
        95 % confidence interval of the mean (Student's t); None with fewer than two pairs.
    pairs : int
        Pairs of trials with the same seed.
    problem : str
        Why there is no difference, e.g. that the model cannot be built without the component.
    """

    component: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    problem: str = ""


def effects_of(study: Study) -> list[Effect]:
    """Return the effect of each component: the most useful first, those without a difference last."""
    values: dict[str, dict[int, float]] = {}
    problems: dict[str, str] = {}
    for trial in study.trials.values():
        component = str(trial.point.get("left_out", ""))
        if trial.state is TrialState.DONE and trial.value is not None:
            values.setdefault(component, {})[int(trial.point["repeat"])] = trial.value
        elif trial.state.is_final:
            problems.setdefault(component, trial.reason)
        if component:
            values.setdefault(component, {})
    base = values.pop("", {})
    effects = [_effect(name, _differences(found, base), problems.get(name, "")) for name, found in values.items()]
    harm = study.direction.loss
    return sorted(effects, key=lambda e: (e.difference is None, -harm(e.difference or 0.0)))


def _differences(found: dict[int, float], base: dict[int, float]) -> list[float]:
    return [value - base[repeat] for repeat, value in found.items() if repeat in base]


def _effect(component: str, differences: Sequence[float], problem: str) -> Effect:
    count = len(differences)
    if not count:
        return Effect(component=component, problem=f"not removable: {problem}" if problem else "not tried yet")
    mean = math.fsum(differences) / count
    if count < 2:
        return Effect(component=component, difference=mean, pairs=count, problem=problem)
    from scipy.stats import t

    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1) / count)
    half = float(t.ppf(0.975, count - 1)) * spread
    return Effect(component=component, difference=mean, low=mean - half, high=mean + half, pairs=count, problem=problem)


class AblationStudy:
    """An ablation that came to its end."""

    def __init__(self, summary: Study) -> None:
        self.summary = summary

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.summary.name

    @property
    def run_id(self) -> str:
        """Id on the cluster and in the registry."""
        return self.summary.run_id

    @property
    def base(self) -> float:
        """Mean of the metric over the base trials."""
        values = [t.value for t in self.summary.trials.values() if not t.point.get("left_out") and t.value is not None]
        return math.fsum(values) / len(values)

    @property
    def effects(self) -> list[Effect]:
        """What each component is worth, the most useful first."""
        return effects_of(self.summary)

    @property
    def table(self) -> pd.DataFrame:
        """One row per component: difference, interval, number of pairs, problem."""
        import pandas as pd

        rows = [vars(effect) for effect in self.effects]
        return pd.DataFrame(rows).set_index("component") if rows else pd.DataFrame()

    def __repr__(self) -> str:
        lines = [f"<ablation {self.name}: base {self.summary.metric} {self.base:.6g}>"]
        for effect in self.effects:
            lines.append(f"  {effect.component:24} {words_of(effect)}")
        return "\n".join(lines)


def words_of(effect: Effect) -> str:
    """Return an effect as text: ``+0.012 [0.008, 0.016] (3 pairs)``."""
    if effect.difference is None:
        return effect.problem
    interval = f" [{effect.low:+.4g}, {effect.high:+.4g}]" if effect.low is not None and effect.high is not None else ""
    return f"{effect.difference:+.4g}{interval} ({effect.pairs} pair{'s' * (effect.pairs != 1)})"
