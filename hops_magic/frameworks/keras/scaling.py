"""How a number that a rank makes of its rows relates to the one that one process makes of all rows.

Found, as locality is, by walking back over the graph: from a number to the rows that it is a mean, a sum or a maximum of.
"""

from __future__ import annotations

import weakref
from enum import Enum
from typing import Any

from hops_magic.frameworks.keras.locality import LENGTHS, is_local

# graph -> names of numbers that were brought to the scale of a mean over the rank's rows
_means: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def mark_mean(tensor: Any) -> Any:
    """Note that a number, which was brought to the scale of a mean over this rank's rows, is one; returns it."""
    if hasattr(tensor, "graph"):
        _means.setdefault(tensor.graph, set()).add(tensor.name)
    return tensor


class Scale(Enum):
    """How a number that a rank makes of its rows relates to the one that one process makes of all rows."""

    ALIKE = "alike"
    """The same on all ranks."""
    ROWS = "rows"
    """One entry, or block of entries, for each row."""
    COUNT = "count"
    """A number of rows, or of entries of rows."""
    MEAN = "mean"
    """A mean over rows: the weighted mean over ranks is that over all rows."""
    SUM = "sum"
    """A sum over rows: the ranks' sums add up."""
    MAX = "max"
    MIN = "min"
    OTHER = "other"
    """Anything else, such as the root of a mean: it cannot be made of the ranks' numbers."""


_LINEAR = frozenset(
    {"Identity", "IdentityN", "Cast", "Neg", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Snapshot", "CheckNumerics"}
)
_REDUCTIONS = {"Mean": Scale.MEAN, "Sum": Scale.SUM, "Max": Scale.MAX, "Min": Scale.MIN}
_QUOTIENTS = ("RealDiv", "DivNoNan", "Div")
# what makes a row's entries of the same row's entries, whatever else is alike on all ranks
_ROW_BY_ROW = frozenset(
    {
        *("Abs", "Square", "Sqrt", "Rsqrt", "Exp", "Expm1", "Log", "Log1p", "Sigmoid", "Tanh", "Relu", "Relu6", "Elu"),
        *("Selu", "Softplus", "Softsign", "Sign", "Round", "Rint", "Floor", "Ceil", "Sin", "Cos", "Erf", "Reciprocal"),
        *("Identity", "IdentityN", "Cast", "Neg", "StopGradient", "Snapshot", "ZerosLike", "OnesLike", "IsNan", "IsFinite"),
        *("Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "DivNoNan", "Div", "Pow", "Maximum", "Minimum", "FloorMod"),
        *("SquaredDifference", "Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "LogicalAnd"),
        *("LogicalOr", "LogicalNot", "Select", "SelectV2", "ClipByValue", "MulNoNan", "Xlogy", "Softmax", "LogSoftmax"),
        *("SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits", "OneHot"),
    }
)


def scale_of(tensor: Any, rows: tuple[Any, ...] = ()) -> Scale:
    """Tell how a tensor scales with rows.

    Parameters
    ----------
    tensor
        A tensor of a step's graph.
    rows
        Tensors that have one entry for each row. With them only operations that are known to keep rows apart
        count as such, so that an answer other than :attr:`Scale.OTHER` is certain; without, a model is trusted to.
    """
    return _ScaleWalk(rows).of(tensor)


class _ScaleWalk:
    def __init__(self, rows: tuple[Any, ...]) -> None:
        self._bases = {id(each) for each in rows}
        self._known: dict[tuple[int, str], Scale] = {}

    def of(self, tensor: Any, depth: int = 0) -> Scale:
        if not hasattr(tensor, "graph") or depth > 300:
            return Scale.OTHER if hasattr(tensor, "graph") else Scale.ALIKE
        key = (id(tensor.graph), tensor.name)
        if key not in self._known:
            self._known[key] = self._judge(tensor, depth + 1)
        return self._known[key]

    def _judge(self, tensor: Any, depth: int) -> Scale:
        if id(tensor) in self._bases:
            return Scale.ROWS
        if tensor.name in _means.get(tensor.graph, ()):
            return Scale.MEAN
        if not is_local(tensor):
            return Scale.ALIKE
        if tensor.op.type in LENGTHS or (tensor.op.type == "Cast" and self.of(tensor.op.inputs[0], depth) is Scale.COUNT):
            return Scale.COUNT
        if tensor.op.type in LENGTHS or (tensor.op.type == "StridedSlice" and tensor.op.inputs[0].op.type in LENGTHS):
            return Scale.COUNT
        if tensor.shape.rank is None or not tensor.shape.is_fully_defined():
            return self._of_rows(tensor, depth)
        return self._of_number(tensor, depth)

    def _of_rows(self, tensor: Any, depth: int) -> Scale:
        """Judge a tensor whose size depends on the rows."""
        if not self._bases:
            return Scale.ROWS
        operation = tensor.op
        if operation.type in (
            "Squeeze",
            "ExpandDims",
            "Reshape",
            "Sum",
            "Mean",
            "Max",
            "Min",
            "ArgMax",
            "Prod",
            "All",
            "Any",
        ):
            kept = _keeps_first_axis(operation)
        else:
            kept = operation.type in _ROW_BY_ROW
        parts = {self.of(each, depth) for each in operation.inputs} - {Scale.ALIKE}
        return Scale.ROWS if kept and parts <= {Scale.ROWS, Scale.COUNT} else Scale.OTHER

    def _of_number(self, tensor: Any, depth: int) -> Scale:
        operation = tensor.op
        kind, inputs = operation.type, operation.inputs
        if kind in _REDUCTIONS:
            return self._reduced(operation, depth)
        if kind == "IdentityN":
            return self.of(inputs[tensor.value_index], depth)
        if kind in _LINEAR:
            of = self.of(inputs[0], depth)
            return Scale.OTHER if of is Scale.ROWS or (kind == "Neg" and of in (Scale.MAX, Scale.MIN)) else of
        if kind == "Prod":
            return Scale.COUNT if self.of(inputs[0], depth) is Scale.COUNT else Scale.OTHER
        if kind in ("Add", "AddV2", "Sub", "AddN", "Pack", "ConcatV2"):
            return _added({self.of(each, depth) for each in inputs})
        if kind == "Mul":
            return _multiplied([self.of(each, depth) for each in inputs])
        if kind in _QUOTIENTS:
            return _divided(*(self.of(each, depth) for each in inputs))
        return Scale.OTHER

    def _reduced(self, operation: Any, depth: int) -> Scale:
        of = self.of(operation.inputs[0], depth)
        if of is Scale.ROWS:
            return _REDUCTIONS[operation.type]
        linear = operation.type in ("Mean", "Sum") and of in (Scale.MEAN, Scale.SUM)
        return of if linear or of.value == operation.type.lower() else Scale.OTHER


def _added(parts: set[Scale]) -> Scale:
    if len(parts) == 1:
        (only,) = parts
        return only if only in (Scale.MEAN, Scale.SUM, Scale.COUNT) else Scale.OTHER
    return Scale.MEAN if parts == {Scale.MEAN, Scale.ALIKE} else Scale.OTHER


def _multiplied(parts: list[Scale]) -> Scale:
    others = [part for part in parts if part is not Scale.ALIKE]
    if len(others) == 1 and others[0] in (Scale.MEAN, Scale.SUM, Scale.COUNT):
        return others[0]
    return Scale.SUM if set(others) == {Scale.MEAN, Scale.COUNT} else Scale.OTHER


def _divided(over: Scale, under: Scale) -> Scale:
    if under is Scale.ALIKE and over in (Scale.MEAN, Scale.SUM, Scale.COUNT):
        return over
    if under is Scale.COUNT and over in (Scale.SUM, Scale.COUNT):
        return Scale.MEAN
    return Scale.OTHER


def _keeps_first_axis(operation: Any) -> bool:
    """Whether an operation that changes or reduces axes leaves the first one, that of rows, as it is."""
    import tensorflow as tf

    rank = operation.inputs[0].shape.rank
    if rank is None:
        return False
    if operation.type == "Squeeze":
        return all(axis % rank for axis in operation.get_attr("squeeze_dims")) and bool(operation.get_attr("squeeze_dims"))
    if operation.type == "Reshape":
        target = tf.get_static_value(operation.inputs[1])
        before, after = operation.inputs[0].shape, operation.outputs[0].shape
        inner = after.rank is not None and before[1:].is_fully_defined() and after[1:].is_fully_defined()
        return bool(
            (target is None or (len(target) and target[0] == -1))
            and inner
            and before[1:].num_elements() == after[1:].num_elements()
        )
    axes = tf.get_static_value(operation.inputs[1])
    if axes is None:
        return False
    size = rank + 1 if operation.type == "ExpandDims" else rank
    return all(int(axis) % size for axis in (axes.ravel() if hasattr(axes, "ravel") else [axes]))


_BY_AXIS = ("Cumsum", "Cumprod", "ReverseV2", "Mean", "Sum", "Max", "Min", "Prod")
_ACROSS = frozenset(
    {"GatherNd", "Roll", "Unique", "UniqueV2", "Where", "RandomShuffle", "MatrixInverse", "Cholesky", "Qr", "Svd"}
    | {f"UnsortedSegment{each}" for each in ("Sum", "Max", "Min", "Prod")}
    | {f"Segment{each}" for each in ("Sum", "Mean", "Max", "Min")}
)


def mixes_rows(values: Any, rows: tuple[Any, ...]) -> bool:
    """Whether what is made of rows, one entry for each, compares them with each other on the way.

    Operations that may do so count as such where both of their inputs have rows; others are trusted not to.
    """
    bases, stack, done = {id(each) for each in rows}, [values], set()
    while stack:
        here = stack.pop()
        if not hasattr(here, "graph") or id(here) in bases or (id(here.graph), here.name) in done or not is_local(here):
            continue
        done.add((id(here.graph), here.name))
        if _crosses(here.op):
            return True
        stack += list(here.op.inputs)
    return False


def _crosses(operation: Any) -> bool:
    import tensorflow as tf

    kind, inputs = operation.type, operation.inputs
    if kind in _ACROSS:
        return True
    if kind in ("MatMul", "Einsum", "BatchMatMulV2", "BatchMatMul"):
        return (kind == "MatMul" or inputs[0].shape.rank == 2) and all(is_local(each) for each in inputs)
    if kind == "Transpose":
        order = tf.get_static_value(inputs[1])
        return order is None or (len(order) > 0 and int(order[0]) != 0)
    if kind in _BY_AXIS:
        axes = tf.get_static_value(inputs[1])
        rank = inputs[0].shape.rank
        return axes is None or rank is None or any(int(axis) % rank == 0 for axis in axes.ravel())
    if kind == "GatherV2":
        return operation.get_attr("batch_dims") == 0 and is_local(inputs[0])
    return False
