"""Metrics: the states of all ranks are added up before a result is read."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from hops_magic.frameworks.collective import Collective


def metric_variables(model: Any) -> list[Any]:
    """Return the state of a model's metrics, each variable once."""
    variables = (variable for metric in model.metrics for variable in metric.variables)
    return list({id(variable): variable for variable in variables}.values())


class MetricSync:
    """Adds up what the ranks have counted since the metrics were reset."""

    def __init__(self, collective: Collective) -> None:
        self._collective = collective
        self._initial: dict[int, Any] = {}
        self._before_merge: dict[int, Any] = {}

    def begin(self, model: Any) -> None:
        """Take note of the states after a reset: what is added up is only what came since."""
        self._initial = {id(variable): _array(variable) for variable in metric_variables(model)}

    def merge(self, model: Any) -> None:
        """Give every rank the state that one process would have."""
        variables = metric_variables(model)
        if not variables:
            return
        values = [_array(variable) for variable in variables]
        packed = np.concatenate([np.ravel(value).astype(np.float64) for value in values])
        begun = [
            self._initial.get(id(variable), np.zeros_like(value)) for variable, value in zip(variables, values, strict=True)
        ]
        start = np.concatenate([np.ravel(value).astype(np.float64) for value in begun])
        summed = start + self._collective.all_reduce(packed - start)
        place = 0
        for variable, value in zip(variables, values, strict=True):
            part = summed[place : place + value.size].reshape(value.shape)
            place += value.size
            if getattr(variable, "aggregation", "sum") == "mean":
                part = part / self._collective.world_size
            variable.assign(part.astype(value.dtype))
        self._before_merge, self._initial = self._initial, {id(v): _array(v) for v in variables}

    def unmerge(self, variables: list[Any], values: list[Any]) -> None:
        """Give this rank its own counts back."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self._initial = self._before_merge


def _array(variable: Any) -> Any:
    return np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable.value)


def mean_logs(logs: dict[str, Any], collective: Collective) -> dict[str, Any]:
    """Average what a custom step returned, where it is not the model's metrics."""
    names = sorted(logs)
    values = np.array([float(logs[name]) for name in names], np.float64)
    averaged = collective.all_reduce(values, "mean")
    return dict(zip(names, averaged.tolist(), strict=True))


def state_digest(variables: list[Any]) -> str:
    """Hash of variables' values, to see whether ranks agree."""
    found = hashlib.blake2b(digest_size=16)
    for variable in variables:
        found.update(np.ascontiguousarray(_array(variable)).tobytes())
    return found.hexdigest()


def same_everywhere(variables: list[Any], collective: Collective) -> bool:
    """Whether all ranks have the same values."""
    return len(set(collective.all_gather_objects(state_digest(variables)))) == 1


def broadcast_variables(variables: list[Any], collective: Collective) -> None:
    """Give every rank the values of rank 0."""
    for variable in variables:
        value = _array(variable)
        variable.assign(collective.broadcast(np.ascontiguousarray(value)).reshape(value.shape))
