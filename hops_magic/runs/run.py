"""The summary of a run and the one function that changes it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatch
from itertools import groupby
from typing import Any, cast

from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState

MAX_POINTS = 1_000
MAX_OUTPUT_CHARS = 65_536
MAX_DISPLAYS = 20
MAX_FITS_TOLD = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric's values by step, thinned so that it never holds more than :data:`MAX_POINTS` points.

    ``stride`` says that only each ``stride``-th point was kept; the last point said is always there.
    """

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    """When each was said, seconds since the epoch."""
    count: int = 0
    stride: int = 1

    def add(self, step: int, value: float, at: float = 0.0) -> Curve:
        """Return the curve with a point more; a step that goes back (a restart) drops what it repeats."""
        return self.extended([(step, value, at)])

    def extended(self, points: Iterable[tuple[int, float, float]]) -> Curve:
        """Return the curve with more points, each a step, a value and when it was said, as :meth:`add` takes them."""
        steps, values, times = list(self.steps), list(self.values), list(self.times)
        count, stride = self.count, self.stride
        for step, value, at in points:
            if steps and step <= steps[-1]:
                kept = bisect_left(steps, step)
                del steps[kept:], values[kept:], times[kept:]
                count = kept * stride
            elif count and (count - 1) % stride:
                # the last point is provisional until its turn in the stride comes
                del steps[-1], values[-1], times[-1]
            steps.append(step)
            values.append(value)
            times.append(at)
            count += 1
            if len(steps) > MAX_POINTS:
                steps, values, times, stride = steps[::2], values[::2], times[::2], stride * 2
        return Curve(steps=tuple(steps), values=tuple(values), times=tuple(times), count=count, stride=stride)


@dataclass(frozen=True, kw_only=True)
class RankView:
    """One rank as a viewer shows it; the fields mean what they mean in the events."""

    rank: int
    pid: int | None = None
    worker: str = ""
    host: str = ""
    gpus: tuple[str, ...] = ()
    alive: bool = False
    phase: str = ""
    epoch: int = 0
    epochs: int | None = None
    step: int = 0
    steps: int | None = None
    examples_per_s: float | None = None
    examples: float | None = None
    train_s: float | None = None
    cpu_percent: float | None = None
    memory_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    looks: int = 0
    """How often its use of resources was looked at; the means and peaks are over all of them."""
    mean_cpu_percent: float | None = None
    peak_memory_bytes: int | None = None
    mean_gpu_percent: float | None = None
    peak_gpu_memory_bytes: int | None = None
    output: tuple[tuple[str, str], ...] = ()
    """``(stream, text)`` parts in order, the newest :data:`MAX_OUTPUT_CHARS` characters of them."""
    output_chars: int = 0
    """Characters ever written, so that a viewer knows what is new and whether earlier output was dropped."""


CurveKey = tuple[str, str, int, int]
"""``(metric, scope, series, rank)``"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that viewers know of a run; made by :func:`advance` alone."""

    run_id: str
    name: str = ""
    experiment: str = ""
    world_size: int = 1
    state: RunState = RunState.SUBMITTED
    reason: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    queue_position: int | None = None
    slots_needed: int | None = None
    slots_free: int | None = None
    attempt: int = 0
    restarts: tuple[str, ...] = ()
    ranks: Mapping[int, RankView] = field(default_factory=dict)
    curves: Mapping[CurveKey, Curve] = field(default_factory=dict)
    latest: Mapping[str, float] = field(default_factory=dict)
    speeds: Mapping[tuple[int, int], Curve] = field(default_factory=dict)
    """``(series, rank)`` to the rank's examples per second by epoch, of the epochs that have ended."""
    displays: tuple[ev.Displayed, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    """``(phase, way)``: how the ranks came by their rows, each pair once."""
    parameters: Mapping[str, int | float | str] = field(default_factory=dict)
    """What its fits were called with, by name; those of the second fit have ``fit2/`` before their names."""
    errors: tuple[ev.RankError, ...] = ()
    checkpoint: ev.Checkpointed | None = None
    result: ev.ResultReady | None = None

    @property
    def elapsed_s(self) -> float | None:
        """Seconds between the first rank's start and the end, None while either is missing."""
        return None if self.started_at is None or self.ended_at is None else self.ended_at - self.started_at

    def fraction_done(self) -> float | None:
        """How much of the fit in progress is done, from 0 to 1, by the slowest rank; None if unknown."""
        parts = [_fraction(rank) for rank in self.ranks.values() if rank.phase == "fit"]
        known = [part for part in parts if part is not None]
        return min(known) if known else None


def _fraction(rank: RankView) -> float | None:
    if not rank.epochs:
        return None
    inside = rank.step / rank.steps if rank.steps and rank.epoch < rank.epochs else 0.0
    return min(1.0, (rank.epoch + min(inside, 1.0)) / rank.epochs)


def advance(run: Run, event: ev.Event) -> Run:
    """Return the run after an event. Events after a final state change nothing but late output."""
    if run.state.is_final and not isinstance(event, ev.Output | ev.Displayed | ev.Cleared | ev.Warned | ev.ResultReady):
        return run
    return _advance(event, run)


def advance_all(run: Run, events: Iterable[ev.Event]) -> Run:
    """Fold many events in order."""
    for is_metrics, some in groupby(events, key=lambda event: isinstance(event, ev.Metrics)):
        if is_metrics:
            run = _measured(run, cast("Iterable[ev.Metrics]", some))
            continue
        for event in some:
            run = advance(run, event)
    return run


@singledispatch
def _advance(event: ev.Event, run: Run) -> Run:  # noqa: ARG001 (the signature of all rules)
    raise TypeError(f"no rule for {type(event).__name__}")


@_advance.register
def _(event: ev.StateChanged, run: Run) -> Run:
    state = event.state
    if not run.state.may_become(state):
        return run
    run = replace(run, state=state, reason=event.reason)
    if not state.is_waiting:
        run = replace(run, queue_position=None)
    if state is RunState.RUNNING and run.started_at is None:
        run = replace(run, started_at=event.at)
    if state.is_final:
        run = replace(run, ended_at=event.at, ranks={r: replace(v, alive=False) for r, v in run.ranks.items()})
    return run


@_advance.register
def _(event: ev.Queued, run: Run) -> Run:
    if not run.state.may_become(RunState.QUEUED):
        return run
    return replace(
        run, state=RunState.QUEUED, queue_position=event.position, slots_needed=event.needed, slots_free=event.free
    )


@_advance.register
def _(event: ev.RankStarted, run: Run) -> Run:
    return _rank(run, event.rank, pid=event.pid, worker=event.worker, host=event.host, gpus=event.gpus, alive=True)


@_advance.register
def _(event: ev.RankExited, run: Run) -> Run:
    return run if event.attempt != run.attempt else _rank(run, event.rank, alive=False)


@_advance.register
def _(event: ev.Progress, run: Run) -> Run:
    if event.phase != "fit":
        # an evaluation between or after epochs leaves those counted
        return _rank(run, event.rank, phase=event.phase, step=event.step, steps=event.steps)
    if event.examples_per_s is not None and event.epoch and not event.step:
        key = (event.series, event.rank)
        run = replace(run, speeds={**run.speeds, key: run.speeds.get(key, Curve()).add(event.epoch, event.examples_per_s)})
    figures = {name: getattr(event, name) for name in ("examples_per_s", "examples", "train_s")}
    return _rank(
        run,
        event.rank,
        phase=event.phase,
        epoch=event.epoch,
        epochs=event.epochs,
        step=event.step,
        steps=event.steps,
        **{name: figure for name, figure in figures.items() if figure is not None},
    )


@_advance.register
def _(event: ev.Metrics, run: Run) -> Run:
    return _measured(run, [event])


def _measured(run: Run, events: Iterable[ev.Metrics]) -> Run:
    """Return a run after metrics: many at once, since a run may have thousands of names, all of which are copied."""
    if run.state.is_final:
        return run
    latest = dict(run.latest)
    points: dict[CurveKey, list[tuple[int, float, float]]] = {}
    for event in events:
        for name, value in event.values.items():
            points.setdefault((name, event.scope, event.series, event.rank), []).append((event.step, float(value), event.at))
        latest.update(event.values)
    grown = {key: run.curves.get(key, Curve()).extended(more) for key, more in points.items()}
    return replace(run, curves={**run.curves, **grown}, latest=latest)


@_advance.register
def _(event: ev.Output, run: Run) -> Run:
    view = run.ranks.get(event.rank, RankView(rank=event.rank))
    return _rank(
        run,
        event.rank,
        output=_tail(view.output, event.stream, event.text),
        output_chars=view.output_chars + len(event.text),
    )


def _tail(parts: tuple[tuple[str, str], ...], stream: str, text: str) -> tuple[tuple[str, str], ...]:
    if parts and parts[-1][0] == stream:
        parts, text = parts[:-1], parts[-1][1] + text
    kept = [*parts, (stream, text)]
    excess = sum(len(part) for _, part in kept) - MAX_OUTPUT_CHARS
    while excess > 0:
        first_stream, first = kept[0]
        if len(first) <= excess and len(kept) > 1:
            kept.pop(0)
            excess -= len(first)
        else:
            kept[0], excess = (first_stream, first[excess:]), 0
    return tuple(kept)


@_advance.register
def _(event: ev.Displayed, run: Run) -> Run:
    if event.display_id and any(_is_update(event, shown) for shown in run.displays):
        return replace(run, displays=tuple(event if _is_update(event, shown) else shown for shown in run.displays))
    return replace(run, displays=(*run.displays, event)[-MAX_DISPLAYS:])


def _is_update(event: ev.Displayed, shown: ev.Displayed) -> bool:
    return (shown.rank, shown.display_id) == (event.rank, event.display_id)


@_advance.register
def _(event: ev.Cleared, run: Run) -> Run:
    return replace(run, displays=tuple(shown for shown in run.displays if shown.rank != event.rank))


@_advance.register
def _(event: ev.Resources, run: Run) -> Run:
    view = run.ranks.get(event.rank, RankView(rank=event.rank))
    looks = view.looks + 1
    return _rank(
        run,
        event.rank,
        cpu_percent=event.cpu_percent,
        memory_bytes=event.memory_bytes,
        gpu_percent=event.gpu_percent,
        gpu_memory_bytes=event.gpu_memory_bytes,
        looks=looks,
        mean_cpu_percent=_mean(view.mean_cpu_percent, event.cpu_percent, looks),
        peak_memory_bytes=max(view.peak_memory_bytes or 0, event.memory_bytes),
        mean_gpu_percent=None if event.gpu_percent is None else _mean(view.mean_gpu_percent, event.gpu_percent, looks),
        peak_gpu_memory_bytes=None
        if event.gpu_memory_bytes is None
        else max(view.peak_gpu_memory_bytes or 0, event.gpu_memory_bytes),
    )


def _mean(before: float | None, value: float, count: int) -> float:
    """The mean of ``count`` values of which the newest is ``value``."""
    return value if before is None else before + (value - before) / count


@_advance.register
def _(event: ev.Checkpointed, run: Run) -> Run:
    return replace(run, checkpoint=event)


@_advance.register
def _(event: ev.Restarted, run: Run) -> Run:
    return replace(run, attempt=event.attempt, restarts=(*run.restarts, event.reason), errors=())


@_advance.register
def _(event: ev.Warned, run: Run) -> Run:
    return run if event.message in run.warnings else replace(run, warnings=(*run.warnings, event.message))


@_advance.register
def _(event: ev.Noted, run: Run) -> Run:
    return run if event.message in run.notes else replace(run, notes=(*run.notes, event.message))


@_advance.register
def _(event: ev.InputShared, run: Run) -> Run:
    said = (event.phase, event.way)
    return run if said in run.inputs else replace(run, inputs=(*run.inputs, said))


@_advance.register
def _(event: ev.Parameters, run: Run) -> Run:
    return replace(run, parameters={**run.parameters, **named_parameters(event)})


def named_parameters(event: ev.Parameters) -> dict[str, int | float | str]:
    """Return the parameters of a fit under the names that the run has them by; of very many fits the first ones."""
    if event.series > MAX_FITS_TOLD:
        return {}
    before = f"fit{event.series}/" if event.series > 1 else ""
    return {f"{before}{name}": value for name, value in event.values.items()}


@_advance.register
def _(event: ev.RankError, run: Run) -> Run:
    return replace(run, errors=(*run.errors, event))


@_advance.register
def _(event: ev.ResultReady, run: Run) -> Run:
    return replace(run, result=event)


def _rank(run: Run, rank: int, **changes: Any) -> Run:
    view = replace(run.ranks.get(rank, RankView(rank=rank)), **changes)
    return replace(run, ranks={**run.ranks, rank: view})


@_advance.register
def _(event: ev.Returned, run: Run) -> Run:  # noqa: ARG001 (a number that a trial returns concerns its study)
    return run


@_advance.register
def _(event: ev.FeaturesRead, run: Run) -> Run:  # noqa: ARG001 (what was read concerns the record)
    return run
