"""Metrics: the states of all ranks are added up before a result is read.

What the ranks count in a step so that it can be added up is the matter of :mod:`metric_updates`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.agreement import all_alike, refuse_other_rows


def single_metrics(model: Any) -> list[Any]:
    """Return a model's metrics, those that Keras keeps for ``compile`` one by one."""
    found = []
    for metric in model.metrics:
        if hasattr(metric, "_user_metrics"):
            found += list(metric.metrics) if metric.built else _given_metrics(metric)
        else:
            found.append(metric)
    return found


def lasting_metrics(model: Any) -> dict[str, Any]:
    """Return the metrics that are there before the first step, by what they are called: the same in each start of a run."""
    found: dict[str, Any] = {}
    for each in model.metrics:
        for metric in _given_metrics(each) if hasattr(each, "_user_metrics") else [each]:
            name = f"{type(metric).__name__} {metric.name}"
            found[f"{name} #{sum(1 for key in found if key.startswith(f'{name} #'))}"] = metric
    return found


def _given_metrics(compiled: Any) -> list[Any]:
    """Return the metrics that were given as objects: Keras does not tell them, or their states, before the first update."""
    import keras

    given = keras.tree.flatten([compiled._user_metrics, compiled._user_weighted_metrics])
    return [metric for metric in given if isinstance(metric, keras.Metric)]


def metric_variables(model: Any) -> list[Any]:
    """Return the state of a model's metrics, each variable once."""
    variables = (variable for metric in single_metrics(model) for variable in metric.variables)
    return list({id(variable): variable for variable in variables}.values())


class MetricSync:
    """Adds up what the ranks have counted since the metrics were reset."""

    def __init__(self, collective: Collective, fed: Callable[[], int] = lambda: 0) -> None:
        self._collective, self._fed = collective, fed
        self._initial: dict[int, Any] = {}
        self._before_merge: dict[int, Any] = {}
        self.replicated: set[int] = set()
        """Ids of states that every rank keeps for all rows: the chief's count."""

    def begin(self, model: Any) -> None:
        """Take note of the states after a reset: what is added up is only what came since."""
        self._initial = {id(variable): _array(variable) for variable in metric_variables(model)}

    def initial(self, variable: Any) -> Any:
        """Return the value that a state had after the last reset; states that were made since began at zero."""
        return self._initial.get(id(variable), np.zeros(variable.shape, variable.dtype))

    def begin_at(self, variable: Any, value: Any) -> None:
        """Give a state a value that all ranks have counted together: what is added up is only what comes from now on."""
        variable.assign(value)
        self._initial[id(variable)] = value

    def merge(self, model: Any) -> None:
        """Give every rank the state that one process would have."""
        variables = metric_variables(model)
        if not variables:
            return
        values = [_array(variable) for variable in variables]
        only_first = [
            id(variable) in self.replicated or getattr(variable, "aggregation", "sum") == "only_first_replica"
            for variable in variables
        ]
        packed = np.concatenate([np.ravel(value).astype(np.float64) for value in values])
        begun = [
            self._initial.get(id(variable), np.zeros_like(value)) for variable, value in zip(variables, values, strict=True)
        ]
        start = np.concatenate([np.ravel(value).astype(np.float64) for value in begun])
        counted = packed - start
        if self._collective.rank:
            sizes = [value.size for value in values]
            counted[np.repeat(only_first, sizes)] = 0.0
        fed = float(self._fed())
        *together, sums, squares = self._collective.all_reduce(np.append(counted, [fed, fed * fed]))
        if not all_alike(sums, squares, self._collective.world_size):
            refuse_other_rows()
        summed = start + np.asarray(together)
        place = 0
        for variable, value in zip(variables, values, strict=True):
            part = summed[place : place + value.size].reshape(value.shape)
            place += value.size
            if getattr(variable, "aggregation", "sum") == "mean" and id(variable) not in self.replicated:
                part = part / self._collective.world_size
            variable.assign(part.astype(value.dtype))
        self._before_merge, self._initial = self._initial, {id(v): _array(v) for v in variables}

    @contextmanager
    def merged(self, model: Any) -> Iterator[None]:
        """Let a result that merges be read, and give this rank its own counts back."""
        variables = metric_variables(model)
        values = [_array(variable) for variable in variables]
        yield
        self.unmerge(variables, values)

    def unmerge(self, variables: list[Any], values: list[Any]) -> None:
        """Give this rank its own counts back."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self._initial = self._before_merge


def _array(variable: Any) -> Any:
    return np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable.value)


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


def replaced_states(metric: Any) -> list[str]:
    """Return the names of a user's metric's states that an update replaces instead of adding to them, such as a maximum.

    Found in the source, where there is any: ``self.x.assign(...)`` whose value is not ``self.x`` plus or minus something.
    """
    if type(metric).__module__.split(".")[0] == "keras":
        return []
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(metric).update_state)))
    except (OSError, TypeError, SyntaxError):
        return []
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "assign"):
            continue
        state = ast.unparse(node.func.value)
        added = any(
            isinstance(part, ast.BinOp)
            and isinstance(part.op, ast.Add | ast.Sub)
            and state in (ast.unparse(part.left), ast.unparse(part.right))
            for value in node.args
            for part in ast.walk(value)
        )
        variable = getattr(metric, state.removeprefix("self."), None)
        if not added and getattr(variable, "aggregation", "sum") not in ("mean", "only_first_replica"):
            found.append(state.removeprefix("self."))
    return found
