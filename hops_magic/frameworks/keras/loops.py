"""Loops and branches in the graph of a step: whether all ranks take them alike, so that they may exchange inside.

A loop whose end depends on a rank's rows (one turn for each row, or until an error of theirs is small) has other turns on
other ranks. What is computed there stays a rank's own until it leaves the loop, and no optimizer may get it before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.keras.locality import is_local, mark_alike
from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.rows import Rows, current_rows

_taken_alike: weakref.WeakSet[Any] = weakref.WeakSet()


def install(patches: Patches) -> None:
    """Look at the conditions of loops and branches while a step is traced."""
    from tensorflow.python.ops import cond_v2, while_v2

    patches.wrap(while_v2, "while_loop", _judged_loop)
    patches.wrap(cond_v2, "cond_v2", _judged_branch)
    patches.wrap(cond_v2, "indexed_case", _judged_branches)


def refuse_unlike(rows: Rows) -> None:
    """Refuse to update weights where ranks may not come equally often.

    Raises
    ------
    UnsupportedError
        In a loop or branch whose condition depends on this rank's rows.
    """
    if not runs_once_a_step(rows):
        raise UnsupportedError(
            "an optimizer updates weights inside of a loop or branch whose condition depends on the rows of the batch, of "
            "which each rank would judge by its own part: decide by what is alike on all ranks, such as a gradient or a "
            "count of steps, or train with -n 1"
        )


def runs_once_a_step(rows: Rows) -> bool:
    """Whether what is being traced is executed equally often on all ranks."""
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    while graph is not None and graph is not rows.graph:
        is_flow = type(graph).__name__ in ("WhileBodyFuncGraph", "WhileCondFuncGraph", "CondBranchFuncGraph")
        if is_flow and graph not in _taken_alike:
            return False
        graph = getattr(graph, "outer_graph", None)
    return True


def _judged_loop(original: Any) -> Any:
    def while_loop(cond: Any, body: Any, loop_vars: Any, *args: Any, **kwargs: Any) -> Any:
        import tensorflow as tf

        if current_rows() is None:
            return original(cond, body, loop_vars, *args, **kwargs)
        before = tf.nest.flatten(loop_vars, expand_composites=True)
        alike: list[bool] = []

        def judged(*given: Any) -> Any:
            for inside, outside in zip(tf.nest.flatten(given, expand_composites=True), before, strict=False):
                # a counter that begins alike is taken to go on alike; a sum of errors is not
                if tf.is_tensor(inside) and inside.dtype.is_integer and not is_local(outside):
                    mark_alike(inside)
            goes_on = cond(*given)
            alike.append(not is_local(goes_on))
            return goes_on

        # of a loop the condition is traced first
        return original(judged, _noted(body, lambda: bool(alike) and alike[-1]), loop_vars, *args, **kwargs)

    return while_loop


def _judged_branch(original: Any) -> Any:
    def cond(pred: Any, true_fn: Any, false_fn: Any, *args: Any, **kwargs: Any) -> Any:
        if current_rows() is None or is_local(pred):
            return original(pred, true_fn, false_fn, *args, **kwargs)
        return original(pred, _noted(true_fn, lambda: True), _noted(false_fn, lambda: True), *args, **kwargs)

    return cond


def _judged_branches(original: Any) -> Any:
    def case(index: Any, branches: Any, *args: Any, **kwargs: Any) -> Any:
        if current_rows() is not None and not is_local(index):
            branches = [_noted(each, lambda: True) for each in branches]
        return original(index, branches, *args, **kwargs)

    return case


def _noted(function: Callable[..., Any], alike: Callable[[], bool]) -> Callable[..., Any]:
    def traced(*given: Any) -> Any:
        import tensorflow as tf

        if alike():
            _taken_alike.add(tf.compat.v1.get_default_graph())
        return function(*given)

    return traced
