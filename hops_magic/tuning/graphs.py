"""hyperopt's graphs of ``hp.*`` expressions: their dimensions, their lazy evaluation, and graphs of our own spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UsageError
from hops_magic.tuning.dimensions import Dimension, Kind

if TYPE_CHECKING:
    from hops_magic.tuning.space import Draw, Space


def dimensions(graph: Any) -> Iterator[tuple[str, Dimension, Any]]:
    """Yield the label and dimension of each ``hp.*`` expression of a graph, and the expression itself."""
    from hyperopt.pyll import dfs

    choices = _choices(graph)
    for node in dfs(graph):
        if node.name == "hyperopt_param":
            yield _label(node), _dimension(node, is_choice=id(node) in choices), node


def evaluate(graph: Any, draw: Draw) -> Any:
    """Evaluate a graph, drawing each active label; of a choice only the option that is drawn."""
    from hyperopt.pyll import scope

    choices = _choices(graph)
    memo: dict[int, Any] = {}

    def value_of(node: Any) -> Any:
        if id(node) not in memo:
            memo[id(node)] = compute(node)
        return memo[id(node)]

    def compute(node: Any) -> Any:
        if node.name == "literal":
            return node.obj
        if node.name == "switch":
            return value_of(node.pos_args[1 + int(value_of(node.pos_args[0]))])
        if node.name == "hyperopt_param":
            dimension = _dimension(node, is_choice=id(node) in choices)
            return dimension.cast(draw(_label(node), dimension))
        arguments = [value_of(part) for part in node.pos_args]
        if node.name == "float" and isinstance(arguments[0], int):
            return arguments[0]  # hp.quniform makes floats even of whole steps
        if node.name == "pos_args":
            return arguments  # lists stay lists
        return scope._impls[node.name](*arguments, **{name: value_of(part) for name, part in node.named_args})

    return value_of(graph)


def graph_of(space: Space) -> Any:
    """Return a graph of hyperopt's with the labels and dimensions of a space; its value does not matter."""
    from hyperopt.pyll import as_apply

    if space.whole is not None:
        return space.whole
    return as_apply({name: _node(part, name) for name, part in space.items})


def _node(part: Any, path: str) -> Any:
    from hyperopt import hp

    from hops_magic.tuning.space import Choice, Distribution

    if isinstance(part, Distribution):
        return _hp(part.dimension, path)
    if isinstance(part, Choice):
        # what is no distribution may be no literal for hyperopt either: its place is enough
        options = [_node(option, f"{path}[{index}]") for index, option in enumerate(part.options)]
        return hp.choice(path, options)
    if isinstance(part, Mapping):
        return {str(key): _node(inner, f"{path}.{key}") for key, inner in part.items()}
    if isinstance(part, list | tuple):
        return [_node(inner, f"{path}.{index}") for index, inner in enumerate(part)]
    return part if type(part).__module__.startswith("hyperopt.pyll") else None


def _hp(dimension: Dimension, label: str) -> Any:
    from hyperopt import hp

    if dimension.kind is Kind.INTEGER:
        if dimension.low == dimension.high:
            # which uniformint refuses
            return hp.randint(label, int(dimension.low), int(dimension.low) + 1)
        return hp.uniformint(label, int(dimension.low), int(dimension.high))
    if dimension.kind.is_normal:
        return getattr(hp, dimension.kind.value)(label, dimension.mu, dimension.sigma)
    if dimension.kind is Kind.LOGUNIFORM:
        return hp.loguniform(label, math.log(dimension.low), math.log(dimension.high))
    if dimension.kind is Kind.QUNIFORM:
        # the first and the last multiple are as likely as the others
        first, last = dimension.multiples
        return hp.quniform(label, (first - 0.5) * dimension.q, (last + 0.5) * dimension.q, dimension.q)
    return hp.uniform(label, dimension.low, dimension.high)


def _label(node: Any) -> str:
    return str(node.pos_args[0].obj)


def _choices(graph: Any) -> set[int]:
    """Return which expressions choose between the options of a ``switch``."""
    from hyperopt.pyll import dfs

    return {id(node.pos_args[0]) for node in dfs(graph) if node.name == "switch"}


def _dimension(node: Any, *, is_choice: bool) -> Dimension:
    from hyperopt.pyll.base import Literal

    distribution = node.pos_args[1]
    given = distribution.arg
    numbers = {name: part.obj for name, part in given.items() if isinstance(part, Literal) and part.obj is not None}
    name = str(distribution.name)
    if name == "categorical":
        weights = given["p"]
        return Dimension(kind=Kind.CATEGORICAL, weights=tuple(float(_number(p)) for p in _parts(weights)))
    _check(name, _label(node), numbers)
    if name in ("randint", "uniformint"):
        first, last = int(numbers["low"]), numbers.get("high")
        if name == "randint":
            first, last = (0, first - 1) if last is None else (first, int(last) - 1)
        if is_choice:
            return Dimension(kind=Kind.CATEGORICAL, weights=(1.0,) * (int(last or 0) + 1))
        return Dimension(kind=Kind.INTEGER, low=first, high=int(last or 0))
    try:
        kind = Kind(name)
    except ValueError:
        raise UsageError(f"hp.{name} of {_label(node)} is not supported: use hp.uniform, hp.choice and their kin") from None
    q = float(numbers.get("q", 0.0))
    if kind.is_normal:
        return Dimension(kind=kind, mu=float(numbers["mu"]), sigma=float(numbers["sigma"]), q=q)
    low, high = float(numbers["low"]), float(numbers["high"])
    if kind.is_log:
        low, high = math.exp(low), math.exp(high)
    made = Dimension(kind=kind, low=low, high=high, q=q)
    if q and made.multiples[0] > made.multiples[1]:
        raise UsageError(f"hp.{name} of {_label(node)} has no multiple of {q:g} from {low:g} to {high:g}")
    return made


def _check(name: str, label: str, numbers: Mapping[str, float]) -> None:
    """Refuse what hyperopt accepts and cannot draw from."""
    low, high = numbers.get("low"), numbers.get("high")
    if low is not None and high is not None and (low > high if name == "uniformint" else low >= high):
        raise UsageError(f"hp.{name} of {label} must have a lower bound below its upper one, got {low:g} and {high:g}")
    for what in ("q", "sigma"):
        if what in numbers and numbers[what] <= 0:
            raise UsageError(f"hp.{name} of {label} must have {what} above 0, got {numbers[what]:g}")


def _parts(weights: Any) -> list[Any]:
    if weights.name == "literal":
        return list(weights.obj)
    return list(weights.pos_args) if weights.name != "asarray" else _parts(weights.pos_args[0])


def _number(part: Any) -> float:
    return float(part.obj if hasattr(part, "obj") else part)
