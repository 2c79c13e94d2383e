"""What travels to the cluster of a study: how to search, when to stop, how much to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.runs.study import Direction
from hops_magic.tuning.search import Point, Search

if TYPE_CHECKING:
    from hops_magic.engine.studies import StudyServices
    from hops_magic.frameworks.ablating import AblationSpec
    from hops_magic.runs.events import Event
    from hops_magic.tuning.ablation import NoSpace
    from hops_magic.tuning.space import Space
    from hops_magic.tuning.stopping import Limits, Rule


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study as the user asked for it; travels by pickle, and conducts the study where it arrives.

    Attributes
    ----------
    search : str or Search
        Name of a built-in search, or an object of the user's own.
    stop : str or Rule
        Name of a built-in rule, or an object of the user's own.
    start_with : tuple of Point
        Known points to be tried first.
    parallel : int
        Trials at once.
    standby : int
        Processes that each worker holds ready.
    """

    metric: str
    direction: Direction
    score: str
    space: Space | NoSpace
    search: str | Search
    stop: str | Rule
    start_with: tuple[Point, ...]
    seed: int
    trials: int
    parallel: int
    standby: int
    retries: int
    fail_fast: int
    keeps: bool
    grace: int | None = None
    reduction: int | None = None
    max_steps: int | None = None
    patience: int | None = None
    budget_s: float | None = None
    target: float | None = None

    def make_search(self) -> Search:
        """Return the search, which is made where the study lives."""
        if not isinstance(self.search, str):
            return self.search
        from hops_magic.tuning.ablation import NoSpace
        from hops_magic.tuning.searches import make_search

        stopping = self.stop if isinstance(self.stop, str) else ""
        assert not isinstance(self.space, NoSpace)  # an ablation brings its own search
        return make_search(self.search, self.space, seed=self.seed, stopping=stopping, start_with=self.start_with)

    def make_rule(self) -> Rule:
        """Return the stopping rule."""
        if not isinstance(self.stop, str):
            return self.stop
        from hops_magic.tuning.stopping import make_rule

        return make_rule(
            self.stop, grace=self.grace, reduction=self.reduction, max_steps=self.max_steps, show=self.show_loss()
        )

    def make_limits(self) -> Limits:
        """Return what ends the study before its last trial."""
        from hops_magic.tuning.stopping import Limits

        target = None if self.target is None else self.direction.loss(self.target)
        return Limits(patience=self.patience, budget_s=self.budget_s, target=target)

    def show_loss(self) -> Callable[[float], str]:
        """Return how a loss is written: as the metric that the user knows."""
        return _Shown(self.direction)

    @property
    def when_exhausted(self) -> str:
        """Why the study ends when the search has nothing more to propose."""
        return "every point of the space has been tried"

    def shown(self, point: Point) -> dict[str, Any]:
        """Return what viewers and the record call the values of a trial."""
        return dict(self.space.values(point))

    def seed_of(self, number: int, point: Point) -> int:
        """Return the seed of a trial."""
        del point
        return self.seed + number

    def ablation(self, point: Point) -> AblationSpec | None:
        """Return what is left out in a trial; None if this is no ablation."""
        del point
        return None

    async def __call__(self, services: StudyServices) -> Event:
        """Conduct the study."""
        from hops_magic.tuning.conducting import Conductor

        return await Conductor(self, services).run()


@dataclass(frozen=True)
class _Shown:
    direction: Direction

    def __call__(self, loss: float) -> str:
        return f"{self.direction.loss(loss):.4g}"


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; what JSON does not know becomes text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return getattr(value, "__name__", None) or str(value)
