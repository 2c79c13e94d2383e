"""From a run's events to the rows of its record. Pure: no clock, no store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hops_magic.registry import layout
from hops_magic.runs import events as ev

RESOURCES_EVERY_S = 5.0
CURVE_POINTS = 40
MAX_NAMES = 60
_MAX_STEP = 2**63 - 1

_LOWER_IS_BETTER = ("loss", "error", "mae", "mse", "rmse", "mape", "perplexity", "distance", "divergence", "regret")
_LEADING = ("val_loss", "loss")


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a metric as it is stored; ``at_ms`` since the epoch."""

    key: str
    value: float
    at_ms: int
    step: int


@dataclass(kw_only=True)
class MetricSummary:
    """The course of a run's leading metric in a few numbers, for lists.

    Attributes
    ----------
    values : list of float
        At most :data:`CURVE_POINTS` points, evenly thinned.
    """

    name: str
    best: float = math.nan
    last: float = math.nan
    values: list[float] = field(default_factory=list)
    stride: int = 1
    count: int = 0

    def add(self, value: float) -> None:
        """Take the next value."""
        better = min if lower_is_better(self.name) else max
        self.last = value
        if math.isfinite(value):
            self.best = value if math.isnan(self.best) else better(self.best, value)
            if self.count % self.stride == 0:
                self.values.append(value)
            self.count += 1
            if len(self.values) > CURVE_POINTS:
                self.values, self.stride = self.values[::2], self.stride * 2

    def as_tag(self) -> str:
        """Return the text from which :meth:`from_tag` makes a summary again."""
        values = [float(f"{value:.4g}") for value in self.values]
        numbers = {"best": self.best, "last": self.last}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        return json.dumps({"name": self.name, **finite, "values": values, "stride": self.stride, "count": self.count})

    @classmethod
    def from_tag(cls, text: str) -> MetricSummary | None:
        """Read a tag; None if it is not one of ours."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


def leading_name(names: Iterable[str]) -> str | None:
    """Return which metric stands for a run in lists: the validation's loss, else the loss, else what came first."""
    known = list(names)
    return next((name for name in _LEADING if name in known), known[0] if known else None)


class MetricRows:
    """Turns events into rows; remembers what it needs between batches."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.names: dict[str, str] = {}
        """Name by key, where MLflow accepts the name only in another spelling."""
        self._summaries: dict[str, MetricSummary] = {}
        self._owner: dict[str, str] = {}
        self._resources_at: dict[int, float] = {}

    def rows(self, events: Iterable[ev.Event]) -> list[Row]:
        """Return the rows of the metrics and, now and then, of the resources among the events."""
        rows: list[Row] = []
        for event in events:
            if isinstance(event, ev.Metrics):
                rows += self._metrics(event)
            elif isinstance(event, ev.Resources):
                rows += self._resources(event)
        return rows

    def summary(self) -> MetricSummary | None:
        """Return the course of the leading metric: the validation's loss, else the loss, else what came first."""
        name = leading_name(self._summaries)
        return None if name is None else self._summaries[name]

    def _metrics(self, event: ev.Metrics) -> list[Row]:
        step = max(-_MAX_STEP, min(int(event.step), _MAX_STEP))
        found = []
        for name, value in event.values.items():
            full = layout.metric_name(event, name)
            if self._owner.setdefault(full, event.scope) != event.scope:
                full = f"{event.scope}/{full}"  # Keras' loss and a user's own "loss" are two curves
            found.append(Row(self._key(full), float(value), int(event.at * 1000), step))
            if event.scope != "batch" and event.rank == 0:
                self._summaries.setdefault(full, MetricSummary(name=full)).add(float(value))
        return found

    def _resources(self, event: ev.Resources) -> list[Row]:
        if event.at - self._resources_at.get(event.rank, -math.inf) < RESOURCES_EVERY_S:
            return []
        self._resources_at[event.rank] = event.at
        values = {
            "cpu_percent": event.cpu_percent,
            "memory_bytes": event.memory_bytes,
            "gpu_percent": event.gpu_percent,
            "gpu_memory_bytes": event.gpu_memory_bytes,
        }
        step = max(0, int(event.at - self.started_at))
        return [
            Row(f"system/rank{event.rank}/{name}", float(value), int(event.at * 1000), step)
            for name, value in values.items()
            if value is not None
        ]

    def _key(self, name: str) -> str:
        key = layout.key_of(name)
        if key != name and len(self.names) < MAX_NAMES:
            self.names[key] = name[:100]
        return key


def lower_is_better(name: str) -> bool:
    """Guess by its name whether less of a metric is better."""
    words = name.lower().replace("/", "_").replace("-", "_").split("_")
    return any(word in _LOWER_IS_BETTER for word in words)
