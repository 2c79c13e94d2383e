"""What is told of a training loop by itself: how far it is, how fast, and its losses by step and by epoch."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.torch.recording import parameters_of
from hops_magic.frameworks.torch.state import Site, names_here, user_frame
from hops_magic.runs.events import Metrics, Parameters, Progress

SPEAK_EVERY_S = 0.2


@dataclass
class Series:
    """A loop of the user's code over all its epochs: one curve for each of its losses.

    Attributes
    ----------
    number : int
        From 1, in the order in which the cell came to them.
    epochs, steps : int
        How often the loop came to its end, and the steps in all epochs.
    """

    number: int
    epochs: int = 0
    steps: int = 0


@dataclass
class Loop:
    """A loop over a loader, from its beginning to its end: an epoch.

    Attributes
    ----------
    place : Site
        The user's line.
    length : int or None
        Batches that it will have, where that is known.
    given, trained : int
        Batches that the user's code got, and those with which it trained.
    own, whole : int
        Rows of the batch at hand, of this rank and in all.
    got_at : int
        Steps of all loops when it came.
    """

    place: Site
    series: Series
    length: int | None
    batch_size: int | None
    began_at: float
    given: int = 0
    trained: int = 0
    own: int = 0
    whole: int = 0
    got_at: int = -1
    examples: float = 0.0
    train_s: float = 0.0
    losses: dict[str, list[Any]] = field(default_factory=dict)
    """Sums of losses over rows, and the rows, by name."""


class Curves:
    """Tells of training loops as they go.

    Parameters
    ----------
    context : RankContext
    settle
        Called when the first step is over, with the names that the user's code has.
    clock
        Seconds, from any beginning.
    """

    def __init__(
        self,
        context: RankContext,
        settle: Callable[[Mapping[str, Any]], None] = lambda names: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settle = settle
        self.context, self._clock = context, clock
        self._all_steps = 0
        self._told: set[int] = set()
        self._series: dict[Site, Series] = {}
        self._names: dict[Any, str] = {}
        self._losses: dict[str, list[Any]] = {}
        self._has_trained = False
        self._unsaid: Metrics | None = None
        self._scaled: tuple[Any, float] = (lambda: None, 1.0)
        self._said_at = 0.0
        self._examples = self._train_s = 0.0

    # -- what the user's code computes -------------------------------------------------------------------------------

    def scaled(self, loss: Any, scale: float) -> None:
        """A loss was multiplied for the sake of half precision: its curve is that of the loss before."""
        self._scaled = (weakref.ref(loss), scale)

    def computed(self, root: Any, value: Any) -> None:
        """Gradients were computed; ``value`` is the loss over the rows of all ranks, None where it is no one number."""
        self._has_trained = True
        if value is None or self.context.rank:
            return
        known, scale = self._scaled
        number = value.item() if value.device.type == "cpu" else value.double()
        self._losses.setdefault(self._name_of(root), []).append(number / scale if known() is root else number)

    def _name_of(self, root: Any) -> str:
        """Return the variable that holds a loss; a second line that computes one of the same name gets a number."""
        frame = user_frame()
        key = None if frame is None else (frame.f_code, frame.f_lineno)
        if key not in self._names:
            held = {} if frame is None else {**frame.f_globals, **frame.f_locals}
            name = next((name for name, value in held.items() if value is root and not name.startswith("_")), "loss")
            taken = set(self._names.values())
            free = (f"{name}_{number}" for number in range(2, len(taken) + 3))
            self._names[key] = name if name not in taken else next(each for each in free if each not in taken)
        return self._names[key]

    # -- loops ---------------------------------------------------------------------------------------------------------

    def begin(self, place: Site, loader: Any) -> Loop:
        """Begin a loop that trains."""
        self.say_epoch()
        series = self._series.setdefault(place, Series(len(self._series) + 1))
        return Loop(place, series, length_of(loader), getattr(loader, "batch_size", None), self._clock())

    def got(self, loop: Loop, own: int, whole: int) -> None:
        """The user's code gets the next batch."""
        loop.given, loop.own, loop.whole, loop.got_at = loop.given + 1, own, whole, self._all_steps

    def asked(self, loop: Loop) -> None:
        """It asks for another one, or leaves the loop: if it has trained since, that was a step of this loop."""
        if not self._has_trained or not loop.given:
            return
        self._has_trained, series, self._all_steps = False, loop.series, self._all_steps + 1
        loop.trained, series.steps = loop.trained + 1, series.steps + 1
        loop.examples, loop.train_s = loop.examples + loop.own, self._clock() - loop.began_at
        values = self._taken()
        for name, value in values.items():
            sums = loop.losses.setdefault(name, [0.0, 0])
            sums[0], sums[1] = sums[0] + value * loop.whole, sums[1] + loop.whole
        if loop.trained == 1 and loop.series.number not in self._told:
            self._told.add(loop.series.number)
            self._first_step_of(loop)
        self._say_step(series, values, lambda: self._say_progress(loop, loop.given, series.epochs))

    def ended(self, loop: Loop) -> None:
        """The loop is over."""
        self.asked(loop)
        if not loop.trained:
            return
        loop.series.epochs += 1
        self._examples, self._train_s = self._examples + loop.examples, self._train_s + loop.train_s
        speed, loop.examples, loop.train_s = self._speed(loop), 0.0, 0.0
        self._say_progress(loop, 0, loop.series.epochs, speed)
        self._said_at = 0.0
        means = {name: float(total / rows) for name, (total, rows) in loop.losses.items() if rows}
        if means:
            self._unsaid = self._metrics("epoch", loop.series.epochs, means, loop.series)

    def step_without_loader(self, place: Site) -> None:
        """Gradients were computed outside of any loop over a loader: a step by itself."""
        self._has_trained = False
        series = self._series.setdefault(place, Series(len(self._series) + 1))
        series.steps += 1
        if series.steps == 1:
            self._settle(names_here())
        progress = Progress(rank=self.context.rank, step=series.steps, series=series.number)
        self._say_step(series, self._taken(), lambda: self.context.emit(progress))

    def evaluating(self, given: int, length: int | None) -> None:
        """A batch of a loop that computes no gradients is done."""
        if self._is_time():
            self.context.emit(Progress(rank=self.context.rank, phase="evaluate", step=given, steps=length))

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def is_untrained(self, loop: Loop) -> bool:
        """Whether the batch that a loop has given was not trained with yet."""
        return loop.got_at == self._all_steps and not self._has_trained

    def is_in_step(self, loop: Loop) -> bool:
        """Whether the batch that a loop has given was trained with, which its code has not told by asking for another."""
        return loop.got_at == self._all_steps and self._has_trained

    def sums_with(self, loop: Loop) -> dict[str, list[Any]]:
        """Return the sums of a loop with the step that it is in."""
        sums = {name: [float(total), rows] for name, (total, rows) in loop.losses.items()}
        for name, values in self._losses.items():
            total, rows = sums.get(name, [0.0, 0])
            sums[name] = [total + float(sum(values) / len(values)) * loop.whole, rows + loop.whole]
        return sums

    def state(self) -> Any:
        """Return how far each loop has come, for a checkpoint."""
        return {
            where: (series.number, series.epochs, series.steps + self._has_trained) for where, series in self._series.items()
        }

    def load(self, kept: Any) -> None:
        """Go on from there."""
        self._series |= {where: Series(*figures) for where, figures in kept.items()}

    # -- what is said --------------------------------------------------------------------------------------------------

    def say_epoch(self) -> None:
        """Say the losses of the epoch that has ended, but what the user's code has reported under the same names."""
        unsaid, self._unsaid = self._unsaid, None
        if unsaid is None:
            return
        values = {name: value for name, value in unsaid.values.items() if name not in self.context.reported}
        if values:
            self.context.emit(self._metrics("epoch", unsaid.step, values, unsaid))

    def _taken(self) -> dict[str, Any]:
        taken, self._losses = self._losses, {}
        return {name: sum(values) / len(values) for name, values in taken.items()}

    def _is_time(self) -> bool:
        now = self._clock()
        if now - self._said_at < SPEAK_EVERY_S:
            return False
        self._said_at = now
        return True

    def _say_step(self, series: Series, values: Mapping[str, Any], say_progress: Callable[[], None]) -> None:
        if not self._is_time():
            return
        say_progress()
        if values:
            numbers = {name: float(value) for name, value in values.items()}
            self.context.emit(self._metrics("batch", series.steps, numbers, series))

    def _say_progress(self, loop: Loop, step: int, epochs: int, speed: float | None = None) -> None:
        self.context.emit(
            Progress(
                rank=self.context.rank,
                epoch=epochs,
                step=step,
                steps=loop.length,
                examples_per_s=self._speed(loop) if speed is None else speed,
                series=loop.series.number,
                examples=self._examples + loop.examples,
                train_s=self._train_s + loop.train_s,
            )
        )

    def _speed(self, loop: Loop) -> float | None:
        return loop.examples / loop.train_s if loop.examples and loop.train_s > 0 else None

    def _metrics(self, scope: str, step: int, values: Mapping[str, float], series: Series | Metrics) -> Metrics:
        number = series.number if isinstance(series, Series) else series.series
        return Metrics(rank=self.context.rank, step=step, scope=scope, values=values, series=number)

    def _first_step_of(self, loop: Loop) -> None:
        names = names_here()
        self._settle(names)
        if self.context.rank == 0:
            values = parameters_of(names, loop.batch_size)
            self.context.emit(Parameters(values=values, series=loop.series.number))


def length_of(loader: Any) -> int | None:
    """Return how many batches a loader has, None where it cannot tell."""
    try:
        return len(loader)
    except TypeError:
        return None
