"""Where the loops over loaders are, for checkpoints: a loop that is begun again goes on with the batch after the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.frameworks.checkpointing import random_states, set_random_states
from hops_magic.frameworks.torch.curves import Curves, Loop
from hops_magic.frameworks.torch.state import Site, place_of
from hops_magic.runs.events import Warned


@dataclass
class Place:
    """Where a loop is.

    Attributes
    ----------
    where : Site
        The user's line, and those that led there.
    given : int
        Batches that were trained with.
    at_begin, at_first : tuple
        The random generators, and those of the loader, when the loop began and when its first batch was asked for.
    """

    where: Site
    at_begin: tuple[Any, ...]
    at_first: tuple[Any, ...] = ()
    given: int = 0
    trained: int = 0
    losses: dict[str, list[Any]] = field(default_factory=dict)
    """Sums of losses over rows, and the rows, by name."""
    now: tuple[Any, ...] | None = None
    """The random generators at the checkpoint; None for a loop that goes on from none."""
    before: tuple[Any, ...] | None = None


class Places:
    """The places of the loops of a rank: what a checkpoint keeps of them, and how they come back.

    Parameters
    ----------
    curves : Curves
    """

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._open: list[tuple[Place, Loop]] = []
        self._due: list[Place] = []
        self._is_back = False

    # -- loops ---------------------------------------------------------------------------------------------------------

    def begin(self, loader: Any, where: Site) -> Place:
        """A loop is about to begin; if an earlier attempt was in it, random numbers are what they were then."""
        due = next((place for place in self._due if place.where == where), None)
        if due is None:
            return Place(where, _states(loader))
        self._due.remove(due)
        due.before = random_states()
        _set_states(loader, due.at_begin)
        return due

    def begun(self, place: Place) -> None:
        """The loop has begun: what that has drawn was drawn before the checkpoint."""
        if self._is_back and place.before is not None:
            set_random_states(place.before)
        place.before = None

    def entered(self, place: Place, loop: Loop) -> None:
        """The loop has begun."""
        self._open.append((place, loop))
        loop.given, loop.trained, loop.losses = place.given, place.trained, dict(place.losses)

    def left(self, loop: Loop) -> None:
        """The loop is over."""
        self._open = [each for each in self._open if each[1] is not loop]

    def resumed(self, place: Place, loader: Any, batches: Iterator[Any]) -> Iterator[Any]:
        """Go through the batches of a loop without those that an earlier attempt has trained with."""
        if place.now is None:
            place.at_first = _states(loader)
        else:
            # of loops side by side the first has brought the random numbers of the checkpoint: others must not go back
            then = random_states() if self._is_back else place.now
            _set_states(loader, place.at_first)
            for _ in range(place.given):
                # what loads them draws the random numbers that it drew then
                if next(batches, self) is self:
                    break
            set_random_states(then)
            self._is_back = True
        yield from batches

    def close(self) -> None:
        """The cell is over: say which loops were not come to again."""
        self._tell_due()

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def state(self) -> Any:
        """Return what a checkpoint keeps.

        Raises
        ------
        UsageError
            In a batch that was not trained with yet.
        """
        self._tell_due()
        if any(self._curves.is_untrained(loop) for _, loop in self._open):
            raise UsageError(
                "hops.checkpoint is called with a batch at hand that was not trained with yet, so that it would be lost: "
                "call it at the end of the loop's body, or after the loop"
            )
        # as steps are counted: of loops side by side, the step is the first one's
        lead = next((loop for _, loop in self._open if self._curves.is_in_step(loop)), None)
        places = [self._kept(place, loop, is_lead=loop is lead) for place, loop in self._open if loop.given]
        return places, self._curves.state()

    def _kept(self, place: Place, loop: Loop, *, is_lead: bool) -> Place:
        sums = self._curves.sums_with(loop) if is_lead else loop.losses
        return replace(place, given=loop.given, trained=loop.trained + is_lead, losses=sums, now=random_states())

    def load(self, kept: Any) -> None:
        """Let loops go on where a checkpoint found them."""
        self._due, curves = kept
        self._open, self._is_back = [], False
        self._curves.load(curves)

    def _tell_due(self) -> None:
        for place in self._due:
            sentence = f"the checkpoint was in the loop of {place_of(place.where)}, which the cell has not come to again"
            self._curves.context.emit(Warned(message=f"{sentence}: what was trained since is not what it would have been"))
        self._due = []


def _states(loader: Any) -> tuple[Any, ...]:
    return random_states(), [each.get_state() for each in _generators(loader)]


def _set_states(loader: Any, states: tuple[Any, ...]) -> None:
    everyones, own = states
    set_random_states(everyones)
    for generator, state in zip(_generators(loader), own, strict=True):
        generator.set_state(state)


def _generators(loader: Any) -> list[Any]:
    """Return the generators of a loader and of its samplers, each once."""
    sampler = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), sampler, getattr(sampler, "sampler", None))
    found = [getattr(each, "generator", None) for each in holders]
    return list({id(each): each for each in found if hasattr(each, "get_state")}.values())
