"""Which tensors of a step's graph may differ from rank to rank.

A tensor is *local* if this rank's rows, or numbers drawn by this rank alone, flow into it without passing a collective.
Everything is found by walking back from a tensor; what cannot be shown to be alike on all ranks counts as local.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

# graph -> names of operations whose outputs are the same on all ranks; and what was found of other tensors
_alike: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
_found: weakref.WeakKeyDictionary[Any, dict[str, bool]] = weakref.WeakKeyDictionary()

_DRAWN = (
    "Random",
    "Multinomial",
    "Stateless",
    "ParameterizedTruncatedNormal",
    "TruncatedNormal",
    "RngRead",
    "StatefulUniform",
    "StatefulStandard",
    "StatefulTruncated",
    "StatefulRandom",
    "PyFunc",
    "EagerPyFunc",
)
# functional control flow whose name begins like that of a random operation
_NOT_DRAWN = ("StatelessIf", "StatelessWhile", "StatelessCase")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
LENGTHS = ("Shape", "ShapeN", "Size", "Rank")
_READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")


def mark_alike(*tensors: Any) -> None:
    """Note that tensors, which a collective has made, are the same on all ranks."""
    for tensor in tensors:
        if hasattr(tensor, "graph"):
            _alike.setdefault(tensor.graph, set()).add(tensor.op.name)
            _found.setdefault(tensor.graph, {})[tensor.name] = False


def is_local(tensor: Any) -> bool:
    """Whether a tensor of a graph may differ from rank to rank; a tensor with a value is taken to be alike."""
    import tensorflow as tf

    if isinstance(tensor, tf.IndexedSlices):
        return is_local(tensor.values) or is_local(tensor.indices)
    if not hasattr(tensor, "graph"):
        return False
    stack = [tensor]
    while stack:
        here = stack[-1]
        known = _found.setdefault(here.graph, {})
        if here.name in known:
            stack.pop()
            continue
        verdict, causes = _causes(here)
        if verdict is None:
            unknown = [cause for cause in causes if cause.name not in _found.setdefault(cause.graph, {})]
            local = any(_found[cause.graph].get(cause.name, False) for cause in causes)
            if unknown and not local:
                stack.extend(unknown)
                continue
            verdict = local
        known[here.name] = verdict
        stack.pop()
    return _found[tensor.graph][tensor.name]


def _causes(tensor: Any) -> tuple[bool | None, list[Any]]:
    """Whether a tensor is local if that is known at once; else of which tensors it depends on it."""
    operation = tensor.op
    kind = operation.type
    if operation.name in _alike.get(tensor.graph, ()):
        return False, []
    if kind == "Placeholder":
        outside = _outside(tensor)
        if outside is None:
            return True, []
        return None, _values([outside])
    if kind in ("PyFunc", "EagerPyFunc"):
        return True, []
    # numbers that are drawn for a shape which is alike are alike (see randomness), as whatever else
    if kind in _READS:
        return None, _values(operation.inputs)
    if kind in LENGTHS:
        return None, [each for each in _values(operation.inputs) if not each.shape.is_fully_defined()]
    if kind == "StridedSlice" and operation.inputs[0].op.type == "Shape" and _is_inner_length(operation):
        return False, []
    if kind in _CALLS and (body := _body(operation)) is not None:
        drawn, needed = _through(body, body.outputs[tensor.value_index])
        return (True, []) if drawn else (None, _values(operation.inputs[index] for index in needed))
    if kind in ("If", "StatelessIf", "While", "StatelessWhile") and _draws_inside(operation):
        return True, []
    return None, _values(operation.inputs)


def _values(tensors: Iterable[Any]) -> list[Any]:
    """Return those of some tensors that have values in a graph: variables are alike on all ranks."""
    return [each for each in tensors if hasattr(each, "graph") and each.dtype.name != "resource"]


def _outside(placeholder: Any) -> Any:
    """Return what a function's graph has captured as this placeholder, if it is no argument."""
    for outer, inner in getattr(placeholder.graph, "captures", ()):
        if inner is placeholder:
            return outer
    return None


def _is_inner_length(operation: Any) -> bool:
    """Whether an operation takes lengths out of a shape of which none is the number of rows."""
    import tensorflow as tf

    begin, end, step = (tf.get_static_value(part) for part in operation.inputs[1:4])
    if begin is None or step is None or len(begin) != 1:
        return False
    from_start, to_end = operation.get_attr("begin_mask"), operation.get_attr("end_mask")
    rank = operation.inputs[0].op.inputs[0].shape.rank
    if rank is None or (end is None and not to_end):
        return bool(begin[0] >= 1 and step[0] > 0 and not from_start)
    if operation.get_attr("shrink_axis_mask"):
        return bool(int(begin[0]) % rank)
    return 0 not in range(rank)[slice(None if from_start else begin[0], None if to_end else end[0], step[0])]


def _body(operation: Any, attribute: str = "f") -> Any:
    name = operation.get_attr(attribute).name
    graph = operation.graph
    while graph is not None:
        function = graph._get_function(name) if hasattr(graph, "_get_function") else None
        if function is not None:
            return getattr(function, "graph", None)
        graph = getattr(graph, "outer_graph", None)
    return None


def _through(body: Any, result: Any) -> tuple[bool, list[int]]:
    """Whether numbers are drawn on the way to a result in a function's body, and of which of its inputs it is made."""
    places = {each.name: place for place, each in enumerate(body.inputs)}
    needed, stack, done = [], [result], set()
    while stack:
        here = stack.pop()
        if here.name in done:
            continue
        done.add(here.name)
        if here.name in places:
            needed.append(places[here.name])
            continue
        kind = here.op.type
        if here.op.name in _alike.get(body, ()):
            continue
        if kind.startswith(_DRAWN) and not kind.startswith(_NOT_DRAWN):
            return True, needed
        if kind in LENGTHS:
            stack += [each for each in here.op.inputs if not each.shape.is_fully_defined()]
        else:
            stack += list(here.op.inputs)
    return False, needed


def _draws_inside(operation: Any) -> bool:
    names = ("then_branch", "else_branch") if operation.type.endswith("If") else ("cond", "body")
    bodies = [_body(operation, name) for name in names]
    return any(
        each.type.startswith(_DRAWN) and not each.type.startswith(_NOT_DRAWN)
        for body in bodies
        if body is not None
        for each in body.get_operations()
    )


def variables_read(tensor: Any) -> set[int]:
    """Return the ids of the handles of all variables that a tensor of a graph is computed from."""
    handles: set[int] = set()
    stack, done = [tensor], set()
    while stack:
        here = stack.pop()
        if not hasattr(here, "graph"):
            handles.add(id(here))  # of a captured variable the handle, of others a value
            continue
        key = (id(here.graph), here.name)
        if key in done:
            continue
        done.add(key)
        if here.op.type == "Placeholder":
            outside = _outside(here)
            stack += [] if outside is None else [outside]
        else:
            stack += list(here.op.inputs)
    return handles
