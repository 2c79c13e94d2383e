"""What a browser is told of a run: the whole once, then only what changed.

The types here are mirrored by ``labextension/src/model.ts``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from hops_magic.errors import counted
from hops_magic.runs.events import Displayed, is_number
from hops_magic.runs.run import Curve, CurveKey, RankView, Run
from hops_magic.widgets import words
from hops_magic.widgets.plain import one_line

MAX_DISPLAY_CHARS = 4_000_000
MAX_TRACEBACK_CHARS = 20_000
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
_SHOWN_TYPES = ("text/html", *_PICTURES, "text/plain")
_RANK_FIELDS = [f.name for f in dataclasses.fields(RankView) if f.name not in ("output", "output_chars")]


class CurveUpdate(TypedDict):
    """Points of one curve from index ``at`` on; what the curve had from there is replaced."""

    metric: str
    scope: str
    series: int
    rank: int
    at: int
    steps: Sequence[int]
    values: Sequence[float | None]
    times: Sequence[float]


class OutputUpdate(TypedDict):
    """Characters ``start`` to ``end`` of one rank's output; a gap before them means that something was dropped."""

    rank: int
    start: int
    end: int
    parts: Sequence[tuple[str, str]]


class DisplaysUpdate(TypedDict):
    """Displays: forget the ``drop`` oldest, then add."""

    drop: int
    add: Sequence[Mapping[str, Any]]


class Update(TypedDict):
    """A message to the browser; numbered from 0 by ``seq``, ``reset`` begins anew."""

    type: str
    seq: int
    reset: bool
    now: float
    head: Mapping[str, Any]
    ranks: NotRequired[Sequence[Mapping[str, Any]]]
    curves: NotRequired[Sequence[CurveUpdate]]
    output: NotRequired[Sequence[OutputUpdate]]
    displays: NotRequired[DisplaysUpdate]


class Feed:
    """Remembers what the browser knows, and makes the next message from it."""

    def __init__(self) -> None:
        self._seq = 0
        self._head: dict[str, Any] = {}
        self._run = Run(run_id="")

    def reset(self) -> None:
        """Forget what the browser knows: the next message tells everything."""
        self._seq, self._head, self._run = 0, {}, Run(run_id="")

    def next(self, run: Run, *, now: float, extra: Mapping[str, Any]) -> Update | None:
        """Make the message that brings the browser up to date, or None if it is.

        Parameters
        ----------
        run
            The run as it is now.
        now
            Seconds since the epoch, so that the browser need not trust its own clock.
        extra
            Further values of the head that do not come from the run.
        """
        head = {**head_of(run), **extra}
        before, self._run = self._run, run
        update = Update(
            type="update",
            seq=self._seq,
            reset=self._seq == 0,
            now=now,
            head={name: value for name, value in head.items() if name not in self._head or self._head[name] != value},
        )
        self._head = head
        if ranks := [rank_of(view) for rank, view in run.ranks.items() if _has_changed(before.ranks.get(rank), view)]:
            update["ranks"] = ranks
        if curves := [
            points
            for key, curve in run.curves.items()
            if (points := curve_update(key, before.curves.get(key), curve)) is not None
        ]:
            update["curves"] = curves
        if output := [
            new for rank, view in run.ranks.items() if (new := output_update(before.ranks.get(rank), view)) is not None
        ]:
            update["output"] = output
        if run.displays is not before.displays and run.displays:
            update["displays"] = displays_update(before.displays, run.displays)
        if not update["reset"] and not update["head"] and not update.keys() & {"ranks", "curves", "output", "displays"}:
            return None
        self._seq += 1
        return update


def head_of(run: Run) -> dict[str, Any]:
    """The run's own facts, without those of its ranks, its curves and outputs."""
    return {
        "run_id": run.run_id,
        "name": one_line(run.name),
        "experiment": one_line(run.experiment),
        "world_size": run.world_size,
        "state": run.state.value,
        "is_final": run.state.is_final,
        "can_stop": run.state.can_stop,
        "reason": one_line(run.reason, 500),
        "queue": words.waiting(run),
        "progress": words.progress(run),
        "fraction": run.fraction_done(),
        "examples_per_s": words.throughput(run),
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "attempt": run.attempt,
        "restarts": [one_line(reason, 500) for reason in run.restarts],
        "latest": {one_line(name, 100): _number(value) for name, value in words.latest_metrics(run).items()},
        "warnings": [one_line(message, 1_000) for message in run.warnings],
        "parameters": {one_line(name, 100): one_line(str(value), 200) for name, value in run.parameters.items()},
        "notes": [one_line(message, 1_000) for message in words.notes(run)],
        "errors": [
            {
                "ranks": group.ranks,
                "headline": one_line(group.headline, 1_000),
                "traceback": group.traceback[-MAX_TRACEBACK_CHARS:],
            }
            for group in words.errors(run)
        ],
        "checkpoint": run.checkpoint and {"epoch": run.checkpoint.epoch, "step": run.checkpoint.step},
        "result": run.result and {"names": list(run.result.names), "left_behind": dict(run.result.left_behind)},
    }


def rank_of(view: RankView) -> dict[str, Any]:
    """A rank's facts without its output."""
    return {name: _number(value) if isinstance(value := getattr(view, name), float) else value for name in _RANK_FIELDS}


def _has_changed(before: RankView | None, view: RankView) -> bool:
    return before is None or (
        before is not view and any(getattr(before, name) != getattr(view, name) for name in _RANK_FIELDS)
    )


def curve_update(key: CurveKey, before: Curve | None, curve: Curve) -> CurveUpdate | None:
    """The points that make ``curve`` of ``before``; None if there are none."""
    if before is curve:
        return None
    at = _common(before, curve) if before is not None else 0
    if before is not None and at == len(curve.steps) == len(before.steps):
        return None
    metric, scope, series, rank = one_line(key[0], 100), *key[1:]
    values = [_number(value) for value in curve.values[at:]]
    times = [round(time, 2) for time in curve.times[at:]]
    return CurveUpdate(
        metric=metric,
        scope=scope,
        series=series,
        rank=rank,
        at=at,
        steps=list(curve.steps[at:]),
        values=values,
        times=times,
    )


def _common(before: Curve, curve: Curve) -> int:
    """Length of the common beginning: mostly all, or all but the provisional last point; else nothing is reused."""
    size = min(len(before.steps), len(curve.steps))
    for at in (size, size - 1):
        if at > 0 and curve.steps[:at] == before.steps[:at] and curve.values[:at] == before.values[:at]:
            return at
    return 0


def output_update(before: RankView | None, view: RankView) -> OutputUpdate | None:
    """The output that was written after ``before``."""
    known = before.output_chars if before is not None else 0
    fresh = view.output_chars - known
    if fresh <= 0:
        return None
    kept = sum(len(text) for _, text in view.output)
    skip = max(0, kept - fresh)
    parts: list[tuple[str, str]] = []
    for stream, text in view.output:
        if new := text[skip:]:
            parts.append((stream, new))
        skip = max(0, skip - len(text))
    size = sum(len(text) for _, text in parts)
    return OutputUpdate(rank=view.rank, start=view.output_chars - size, end=view.output_chars, parts=parts)


def displays_update(before: Sequence[Displayed], displays: Sequence[Displayed]) -> DisplaysUpdate:
    """How the kept displays came to be from those known before."""
    for drop in range(len(before) + 1):
        kept = before[drop:]
        if len(kept) <= len(displays) and all(old is new or old == new for old, new in zip(kept, displays, strict=False)):
            break
    return DisplaysUpdate(drop=drop, add=[display_of(shown) for shown in displays[len(before) - drop :]])


def display_of(shown: Displayed) -> dict[str, Any]:
    """A display with only the forms that views can show, the huge ones left out."""
    data: dict[str, str] = {}
    for kind in _SHOWN_TYPES:
        value = shown.data.get(kind)
        text = "".join(value) if isinstance(value, list | tuple) else value
        if isinstance(text, str) and len(text) <= MAX_DISPLAY_CHARS:
            data[kind] = text
    if any(kind in data for kind in _PICTURES):
        # one picture is enough
        data = {kind: text for kind, text in data.items() if kind in (*_PICTURES, "text/plain")}
    if not data:
        # without any form it is a place that is filled later
        unknown = f"<{counted(len(shown.data), 'form')} of display that cannot be shown here>"
        data["text/plain"] = unknown if shown.data else ""
    return {"rank": shown.rank, "data": data}


def _number(value: float) -> float | None:
    # JSON knows no NaN and no infinity
    return value if is_number(value) else None
