"""What a run says while it lives. Events are small frozen values that travel as plain dictionaries."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hops_magic.runs.states import RunState, TrialState

Wire = dict[str, Any]
RECORD_NOT_COMPLETE = "the record of the run is not complete"
"""How a warning begins after which a record lacks something."""
NO_ANSWER = "the registry did not answer"
"""What such a warning says, if the registry hangs: whoever asks it would wait as well."""
NOT_RECORDED = "the run is not recorded"
"""How a warning begins after which there is no record yet."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Root of all events.

    Attributes
    ----------
    at : float
        When it happened, seconds since the epoch (the clock of the process that says it).
    """

    kind: ClassVar[str] = ""
    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StateChanged(Event):
    """The run moved to another state, for a reason that a user can read."""

    kind: ClassVar[str] = "state"
    state: RunState
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """The run waits for slots; ``position`` 1 is next."""

    kind: ClassVar[str] = "queued"
    position: int
    needed: int
    free: int


@dataclass(frozen=True, kw_only=True)
class RankStarted(Event):
    """A rank's process exists."""

    kind: ClassVar[str] = "rank-started"
    rank: int
    attempt: int
    pid: int
    worker: str
    host: str
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RankExited(Event):
    """A rank's process is gone; ``code`` is negative for a signal."""

    kind: ClassVar[str] = "rank-exited"
    rank: int
    attempt: int
    code: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """How far a rank is. ``epoch`` and ``step`` count from 1 and mean finished ones; totals are None when unknown.

    ``phase`` is what the rank is busy with: ``fit``, ``evaluate``, ``predict`` or a word of the user's.
    ``examples_per_s`` counts rows of this rank in the training of this epoch so far; where ``step`` is 0, of the epoch that
    has ended. ``examples`` are its rows in all fits of the cell so far, and ``train_s`` the seconds of their training.
    ``series`` is the number of the fit, as in :class:`Metrics`.
    """

    kind: ClassVar[str] = "progress"
    rank: int
    phase: str = "fit"
    epoch: int = 0
    epochs: int | None = None
    step: int = 0
    steps: int | None = None
    examples_per_s: float | None = None
    series: int = 1
    examples: float | None = None
    train_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics(Event):
    """Values of metrics at a step. ``scope`` is ``batch``, ``epoch`` or ``user`` (``hops.report``).

    For ``epoch``, ``step`` is the epoch's number from 1. Batch and epoch metrics of Keras are global and said by rank 0.
    ``series`` tells the curves of several fits apart: the number of the fit in the cell, from 1.
    """

    kind: ClassVar[str] = "metrics"
    rank: int
    step: int
    scope: str
    values: Mapping[str, float]
    series: int = 1


@dataclass(frozen=True, kw_only=True)
class Output(Event):
    """Text that a rank wrote to ``stdout`` or ``stderr``."""

    kind: ClassVar[str] = "output"
    rank: int
    stream: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Displayed(Event):
    """Something that a rank displayed, as a MIME bundle; it takes the place of what the rank displayed by the same id."""

    kind: ClassVar[str] = "display"
    rank: int
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    display_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Cleared(Event):
    """A rank took back what it displayed (``clear_output``); text it wrote stays."""

    kind: ClassVar[str] = "cleared"
    rank: int


@dataclass(frozen=True, kw_only=True)
class Resources(Event):
    """What a rank's processes use. ``cpu_percent`` is 100 for one busy core; memory in bytes."""

    kind: ClassVar[str] = "resources"
    rank: int
    cpu_percent: float
    memory_bytes: int
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpointed(Event):
    """Rank 0 wrote a checkpoint from which the run can start again."""

    kind: ClassVar[str] = "checkpoint"
    epoch: int
    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Restarted(Event):
    """A new attempt begins, because of ``reason``."""

    kind: ClassVar[str] = "restarted"
    attempt: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """One sentence that the user should read; the run goes on."""

    kind: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, kw_only=True)
class Noted(Event):
    """One sentence on how the run is carried out, which the user may want to know."""

    kind: ClassVar[str] = "note"
    message: str


@dataclass(frozen=True, kw_only=True)
class RankError(Event):
    """An exception left the user's code on a rank.

    ``is_peer_loss`` marks a symptom of another rank's end, never shown when a cause is known. ``traceback`` is rendered
    text that points at the cell's lines.
    """

    kind: ClassVar[str] = "error"
    rank: int
    name: str
    message: str
    traceback: str
    is_peer_loss: bool = False


@dataclass(frozen=True, kw_only=True)
class ResultReady(Event):
    """Rank 0's values can be fetched; ``left_behind`` says why a name could not come back.

    ``place`` says where they lie if that is not the run's folder, whose disk was full.
    """

    kind: ClassVar[str] = "result"
    names: tuple[str, ...]
    size_bytes: int
    left_behind: Mapping[str, str] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Places(Event):
    """A study's places, each with room for one trial: how many it holds, and how many it wants."""

    kind: ClassVar[str] = "places"
    held: int
    wanted: int


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A trial of a study begins, or begins again: then ``attempt`` is more than 0 and ``reason`` says why.

    ``values`` are what the cell sees, as plain JSON values where they are such and as text else; ``point`` is what the
    search proposed, None for a later attempt.
    """

    kind: ClassVar[str] = "trial-started"
    trial: int
    values: Mapping[str, Any]
    point: Mapping[str, Any] | None = None
    attempt: int = 0
    place: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialReported(Event):
    """Metrics of a trial at a step, counted from 1; ``by_epoch`` if such a step is an epoch."""

    kind: ClassVar[str] = "trial-reported"
    trial: int
    step: int
    values: Mapping[str, float]
    by_epoch: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialFitted(Event):
    """What a fit of a trial was called with, and its model compiled with, under the names that a run has them by."""

    kind: ClassVar[str] = "trial-fitted"
    trial: int
    values: Mapping[str, int | float | str]


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial ended, for a ``reason`` that a user can read; ``error`` is a traceback, ``value`` the value that counts.

    ``step`` is where that was reported, None for one that the cell returned; ``reached`` are the components that the cell
    came across, in a trial of an ablation.
    """

    kind: ClassVar[str] = "trial-ended"
    trial: int
    state: TrialState
    value: float | None = None
    step: int | None = None
    reason: str = ""
    error: str = ""
    reached: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Returned(Event):
    """Rank 0's last expression: ``values`` if it is a number (called ``value``) or a dictionary with numbers.

    ``type`` names the type of one that is neither, ``others`` those of a dictionary's values that are no numbers;
    ``reached`` are the components that the cell came across, in a trial of an ablation.
    """

    kind: ClassVar[str] = "returned"
    rank: int
    values: Mapping[str, float] = field(default_factory=dict)
    type: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    reached: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FeaturesRead(Event):
    """A rank read the feature store: what a :class:`~hops_magic.runs.inputs.FeatureInput` says, ``source`` its kind."""

    kind: ClassVar[str] = "features-read"
    rank: int
    source: str
    name: str
    version: int
    commit: int | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InputShared(Event):
    """How the ranks come by their rows of an input, in a word, and in which phase (``fit``, ``evaluate``).

    ``way`` is ``arrays``, ``push``, ``alternate``, ``whole``, ``deal`` or ``shard``; see ``frameworks/keras/inputs``.
    """

    kind: ClassVar[str] = "input-shared"
    way: str
    phase: str = "fit"


@dataclass(frozen=True, kw_only=True)
class Parameters(Event):
    """What a fit was called with, and its model compiled with; ``series`` is the number of the fit, as in Metrics."""

    kind: ClassVar[str] = "parameters"
    values: Mapping[str, int | float | str]
    series: int = 1


_KINDS: dict[str, type[Event]] = {cls.kind: cls for cls in Event.__subclasses__()}
_STATES: dict[str, type[RunState] | type[TrialState]] = {"state": RunState, "trial-ended": TrialState}
_FIELDS = {kind: frozenset(item.name for item in dataclasses.fields(cls)) for kind, cls in _KINDS.items()}
_TUPLES: dict[str, frozenset[str]] = {
    kind: frozenset(n for n, hint in typing.get_type_hints(cls).items() if typing.get_origin(hint) is tuple)
    for kind, cls in _KINDS.items()
}


def to_wire(event: Event) -> Wire:
    """Make the plain dictionary that travels; values that mean their default are left out."""
    wire: Wire = {"kind": event.kind}
    for item in dataclasses.fields(event):
        value = getattr(event, item.name)
        if value is None or (item.default is not dataclasses.MISSING and value == item.default):
            continue
        wire[item.name] = value.value if isinstance(value, RunState | TrialState) else value
    return wire


def from_wire(wire: Mapping[str, Any]) -> Event:
    """Make the event of a dictionary from :func:`to_wire`; what a later version says beside is left out.

    Raises
    ------
    ValueError
        For a kind that this version does not know.
    """
    values = dict(wire)
    kind = values.pop("kind", "")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of event: {kind!r}")
    for name in values.keys() - _FIELDS[kind]:
        del values[name]
    if kind in _STATES:
        values["state"] = _STATES[kind](values["state"])
    for name in _TUPLES[kind]:
        if name in values:
            values[name] = tuple(values[name])
    if kind == TrialStarted.kind:  # on the way between processes lists may have become tuples
        values["values"] = _with_lists(values.get("values", {}))
    return _KINDS[kind](**values)


def _with_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _with_lists(item) for key, item in value.items()}
    return value


def is_number(value: object) -> bool:
    """Whether a metric's value can be drawn: a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
