"""What a step of the user's own returns beside, or instead of, the model's metrics, made global as one process has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.locality import variables_read
from hops_magic.frameworks.keras.metrics import single_metrics
from hops_magic.frameworks.keras.scaling import Scale, scale_of

_BY_SUM = (Scale.SUM, Scale.COUNT)


class StepLogs:
    """How each log of a step is made global: as a metric's result, or as a number that scales with rows."""

    def __init__(self) -> None:
        self._scales: dict[str, Scale] = {}
        self._metrics: dict[str, list[Any]] = {}

    def note(self, model: Any, logs: Any) -> None:
        """Look at the logs that a step returns while it is traced."""
        import tensorflow as tf

        if not isinstance(logs, dict):
            return
        metrics = single_metrics(model)
        for name, value in _flat(logs).items():
            if not tf.is_tensor(value) or isinstance(value, tf.RaggedTensor | tf.SparseTensor):
                continue
            self._scales[name] = scale_of(value)
            read = variables_read(value)
            found = [metric for metric in metrics if any(id(each.value.handle) in read for each in metric.variables)]
            self._metrics[name] = sorted(found, key=lambda metric: metric.name != name)

    def results(self, logs: dict[str, Any], share: float, collective: Collective) -> dict[str, Any]:
        """Return the logs that are a metric's result, with the metric and which of its results. To be asked before merging.

        A rank that had no rows has put its metrics back, so its logs are no result of theirs: it goes by what others see.
        """
        flat = _flat(logs)
        candidates = {name: self._metrics[name] for name in sorted(flat) if self._metrics.get(name)}
        if not candidates:
            return {}
        mine = {name: _place(flat[name], metrics) for name, metrics in candidates.items()}
        views = collective.all_gather_objects((share > 0, mine))
        _, seen = next((view for view in views if view[0]), views[0])
        return {name: (candidates[name][place[0]], place[1]) for name, place in seen.items() if place is not None}

    def globalized(
        self, logs: dict[str, Any], results: dict[str, Any], share: float, collective: Collective
    ) -> dict[str, Any]:
        """Return the logs of all ranks' rows. To be asked after merging.

        Parameters
        ----------
        share
            This rank's part of the rows of the last step.
        """
        nested, logs = logs, _flat(logs)
        whole = {name: _array(_flat({"": metric.result()})[which]) for name, (metric, which) in results.items()}
        for scales, op in (((Scale.MAX,), "max"), ((Scale.MIN,), "min"), ((), "sum")):
            names = [name for name in sorted(logs) if name not in whole and (not scales or self._scales.get(name) in scales)]
            whole |= self._reduced(names, logs, op, share, collective)
        return _packed(nested, {name: float(each) if np.ndim(each) == 0 else each for name, each in whole.items()})

    def _reduced(
        self, names: list[str], logs: dict[str, Any], op: str, share: float, collective: Collective
    ) -> dict[str, Any]:
        if not names:
            return {}
        values = [_array(logs[name]).astype(np.float64) for name in names]
        if op == "sum":
            values = [
                np.zeros_like(value) if share == 0 else value if self._scales.get(name) in _BY_SUM else value * share
                for name, value in zip(names, values, strict=True)
            ]
        packed = collective.all_reduce(np.concatenate([value.ravel() for value in values]), op, what=" ".join(names))
        parts = np.split(packed, np.cumsum([value.size for value in values])[:-1])
        return {name: part.reshape(value.shape) for name, value, part in zip(names, values, parts, strict=True)}


def _flat(logs: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return logs, those of dictionaries among them too, by their ways there."""
    found: dict[str, Any] = {}
    for name, value in logs.items():
        found |= _flat(value, f"{before}{name}/") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _packed(logs: dict[str, Any], flat: dict[str, Any], before: str = "") -> dict[str, Any]:
    return {
        name: _packed(value, flat, f"{before}{name}/") if isinstance(value, dict) else flat[f"{before}{name}"]
        for name, value in logs.items()
    }


def _place(value: Any, metrics: list[Any]) -> tuple[int, str] | None:
    """Return which of some metrics, and which of its results, a log is."""
    for place, metric in enumerate(metrics):
        for which, result in _flat({"": metric.result()}).items():
            if _same(result, value):
                return place, which
    return None


def _array(value: Any) -> Any:
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _same(result: Any, value: Any) -> bool:
    mine, theirs = _array(result), _array(value)
    return mine.shape == theirs.shape and bool(np.allclose(mine, theirs, rtol=1e-6, atol=0, equal_nan=True))
