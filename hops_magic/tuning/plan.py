"""What travels to the cluster of a study: how to search, when to stop, how much to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.tuning.dimensions import plain_number
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.own_rule import OwnRule
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
    options : TuneOptions
        What was asked for.
    search : str or Search
        Name of a built-in search, or an object of the user's own.
    stop : str or Rule
        Name of a built-in rule, or an object of the user's own.
    start_with : tuple of Point
        Known points to be tried first.
    seed : int
        The one that was asked for, or drawn.
    parallel : int
        Trials at once.
    standby : int
        Processes that each worker holds ready.
    """

    options: TuneOptions
    space: Space | NoSpace
    search: str | Search
    stop: str | Rule
    start_with: tuple[Point, ...]
    seed: int
    parallel: int
    standby: int

    def make_search(self) -> Search:
        """Return the search, which is made where the study lives."""
        from hops_magic.tuning.ablation import NoSpace
        from hops_magic.tuning.searches import make_search
        from hops_magic.tuning.searches.checked import Checked

        if not isinstance(self.search, str):
            # an ablation brings its own search, and has no space
            return self.search if isinstance(self.space, NoSpace) else Checked(self.search, self.space)
        stopping = self.stop if isinstance(self.stop, str) else ""
        assert not isinstance(self.space, NoSpace)
        return make_search(self.search, self.space, seed=self.seed, stopping=stopping, start_with=self.start_with)

    def make_rule(self) -> Rule:
        """Return the stopping rule."""
        if not isinstance(self.stop, str):
            return OwnRule(self.stop)
        from hops_magic.tuning.stopping import make_rule

        asked = self.options
        return make_rule(
            self.stop, grace=asked.grace, reduction=asked.reduction, max_steps=asked.max_steps, show=self.show_loss
        )

    def make_limits(self) -> Limits:
        """Return what ends the study before its last trial."""
        from hops_magic.tuning.stopping import Limits

        asked = self.options
        target = None if asked.target is None else asked.direction.loss(asked.target)
        return Limits(patience=asked.patience, budget_s=asked.budget_s, target=target, show=self.show_loss)

    def show_loss(self, loss: float) -> str:
        """Return a loss as the metric that the user knows."""
        return f"{self.options.direction.loss(loss):.4g}"

    @property
    def when_exhausted(self) -> str:
        """Why the study ends when the search has nothing more to propose."""
        return "every point of the space has been tried" if isinstance(self.search, str) else "the search has no more points"

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


def objects_of(space: Space | NoSpace) -> tuple[str, ...]:
    """Return the variables of a space with options that JSON does not know."""
    return tuple(name for name, part in getattr(space, "items", ()) if _has_objects(part))


def _has_objects(part: Any) -> bool:
    from hops_magic.tuning.space import Choice, Distribution

    if isinstance(part, Choice):
        return any(map(_has_objects, part.options))
    if isinstance(part, Mapping):
        return any(map(_has_objects, part.values()))
    if isinstance(part, list | tuple):
        return any(map(_has_objects, part))
    return not isinstance(plain_number(part), Distribution | None | bool | int | float | str)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; what JSON does not know becomes text."""
    value = plain_number(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return getattr(value, "__name__", None) or str(value)
