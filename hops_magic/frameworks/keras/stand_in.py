"""Random numbers that are the same for every row, and steps that record gradients instead of applying them.

With both, the step of one process and that of the ranks can be compared: neither moves a weight, and no draw differs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hops_magic.frameworks.patches import Patches

# neither at the ends nor in the middle of what is drawn: a dropout of any usual rate keeps what it gets
_UNIFORM, _NORMAL = 0.97, 0.5


@contextmanager
def still_numbers() -> Iterator[None]:
    """Let random operations that are traced give the same number for every row."""
    from tensorflow.python.ops import gen_random_ops, gen_stateless_random_ops, gen_stateless_random_ops_v2

    patches = Patches()
    for module in (gen_random_ops, gen_stateless_random_ops, gen_stateless_random_ops_v2):
        for name in dir(module):
            if (kind := _kind_of(name)) is not None and callable(getattr(module, name)):
                patches.wrap(module, name, functools.partial(_still, kind))
    try:
        yield
    finally:
        patches.undo()


def _kind_of(name: str) -> Any:
    if name.endswith(("_eager_fallback", "_fallback")) or name.startswith("_"):
        return None
    if name.endswith(("shuffle",)):
        return "value"
    for words, kind in (("uniform_full_int", "full"), ("uniform_int", "int"), ("uniform", "uniform"), ("normal", "normal")):
        if words in name and ("random" in name or "truncated" in name):
            return kind
    return None


def _still(kind: str, original: Any) -> Any:
    names = list(inspect.signature(original).parameters)
    by_shape = "shape" in names

    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        import tensorflow as tf

        if tf.executing_eagerly() or not (by_shape or kind == "value"):
            return original(*args, **kwargs)
        given = dict(zip(names, args, strict=False)) | kwargs
        if kind == "value":
            return tf.identity(given["value"])
        shape = tf.cast(given["shape"], tf.int32)
        if kind == "int":
            low, high = tf.convert_to_tensor(given["minval"]), tf.convert_to_tensor(given["maxval"])
            return tf.fill(shape, low + (high - low) // 2)
        if kind == "full":
            return tf.fill(shape, tf.constant(12345, given.get("dtype", tf.uint64)))
        return tf.fill(shape, tf.constant(_UNIFORM if kind == "uniform" else _NORMAL, given.get("dtype", tf.float32)))

    return draw


class Recorder:
    """Takes the gradients that a step hands to optimizers, in order; nothing is applied."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.gradients: list[Any] = []

    def forget(self) -> None:
        """Begin anew."""
        self.names.clear()
        self.gradients.clear()

    def take(self, optimizer: Any, gradients: Any, variables: Any = None) -> None:
        """Stand in for ``optimizer.apply``. What is applied in a branch of the step is not seen outside of it."""
        import tensorflow as tf

        variables = getattr(optimizer, "_trainable_variables", ()) if variables is None else variables
        if type(tf.compat.v1.get_default_graph()).__name__ != "FuncGraph":
            return
        for gradient, variable in zip(gradients, variables, strict=False):
            if gradient is None:
                continue
            name = str(getattr(variable, "path", variable.name))
            if not isinstance(gradient, tf.IndexedSlices):
                self._note(name, tf.identity(gradient))
                continue
            # optimizers look at each contribution to a row: their squares tell them apart from their sum
            rows, values, size = gradient.indices, gradient.values, variable.shape[0]
            self._note(name, tf.math.unsorted_segment_sum(values, rows, size))
            self._note(f"{name} (squares)", tf.math.unsorted_segment_sum(tf.square(values), rows, size))

    def _note(self, name: str, gradient: Any) -> None:
        self.names.append(name)
        self.gradients.append(gradient)
