"""What a rank knows of itself; one per rank process, found by the user's code through ``hops_magic``."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hops_magic.frameworks.collective import Collective
from hops_magic.runs.events import Event


@dataclass(frozen=True)
class Split:
    """A rank's part of some data, as the user's code was given it."""

    part: Callable[[], Any]
    """Returns it, or None where it is gone."""
    rows: int | None
    """How many rows it has, where that is known."""


class Keeper(Protocol):
    """A part of a rank's state that belongs into checkpoints without being named."""

    def state(self) -> Any:
        """Return it; it must pickle."""
        ...

    def load(self, kept: Any) -> None:
        """Go on from there."""
        ...


@dataclass(frozen=True, kw_only=True)
class RankContext:
    """A rank's place in its run, and its way out to the supervisor.

    Attributes
    ----------
    run_id : str
    rank, world_size : int
    attempt : int
        0 for the first start; more after restarts, when a checkpoint may be waiting in ``checkpoint_dir``.
    seed : int
        The same on all ranks and attempts.
    threads : int
        CPU threads this rank may use.
    gpus : tuple of int
        GPUs of this rank, as the process sees them (0, 1, ...); empty on CPUs.
    strategy : str
        ``collective``, ``mirrored``, ``parameter-server`` or ``none``; never ``auto``.
    batch : str
        ``global`` or ``per-rank``: what a ``batch_size`` in the cell means.
    check : str
        ``auto``, ``always``, ``strict`` or ``never``: whether the first step is compared with that of one process.
    checkpoint_dir : Path
        Shared by all attempts of the run. What lies in it is the framework's, except ``user/``.
    scratch_dir : Path
        Of this machine, gone with the run; made by who first uses it.
    checkpoint_s : float or None
        Also checkpoint after so many seconds inside an epoch.
    collective : Collective
    emit : callable
        Say an event; cheap, callable from any thread; waits only while more is said than can be carried away.
    stop_requested : callable
        Whether the user asked the run to stop. Ranks learn of it at different moments: agree before acting.
    """

    run_id: str
    rank: int
    world_size: int
    attempt: int
    seed: int
    threads: int
    gpus: tuple[int, ...]
    strategy: str
    batch: str
    checkpoint_dir: Path
    scratch_dir: Path
    checkpoint_s: float | None
    collective: Collective
    emit: Callable[[Event], None]
    stop_requested: Callable[[], bool]
    check: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Global settings of the framework, as they were in the notebook."""
    keeps_model: bool = True
    """Whether rank 0 leaves the trained model for the record."""
    mentions_rank: bool = False
    """Whether the cell, or a function that it takes along, speaks of ranks: what errors advise depends on it."""
    splits: list[Split] = field(default_factory=list)
    """The parts of data that the user's code has got."""
    reported: set[str] = field(default_factory=set)
    """Names of the metrics that the user's code has reported."""
    restored: list[tuple[str, ...]] = field(default_factory=list)
    """What the user's code has asked to be restored, by the names of each time."""
    keepers: dict[str, Keeper] = field(default_factory=dict)
    """What checkpoints of the user's own loops hold beside what is named, by who keeps it."""


class Framework(Protocol):
    """An adapter: everything that the engine needs to know about one framework."""

    name: str
    preload: tuple[str, ...]
    """Modules that the warm process imports before it forks ranks; importing them must execute no op."""

    def session(self, context: RankContext) -> AbstractContextManager[Mapping[str, Any]]:
        """Prepare the process, make training data-parallel, and yield the extra names the cell sees (``strategy``)."""
        ...


_current: ContextVar[RankContext | None] = ContextVar("hops_rank", default=None)
_of_process: list[RankContext] = []


def note_split(part: Any) -> None:
    """Note that the user's code has got a rank's part of some data."""
    context = current()
    if context is None or isinstance(part, str | bytes):  # equal texts may be one object
        return
    held: Callable[[], Any] = lambda: part  # noqa: E731 (a list cannot be referred to weakly)
    with contextlib.suppress(TypeError):
        held = weakref.ref(part)
    rows = len(part) if hasattr(part, "shape") or isinstance(part, list) else None
    context.splits.append(Split(held, rows))


def current() -> RankContext | None:
    """The context of the rank this code runs in, or None in a notebook or script."""
    return _current.get() or next(iter(_of_process), None)


def enter(context: RankContext) -> None:
    """Make this thread a rank."""
    _current.set(context)


def enter_process(context: RankContext) -> None:
    """Make a process a rank, once, before the user's code runs: libraries run that in threads of their own, too."""
    _of_process.append(context)
