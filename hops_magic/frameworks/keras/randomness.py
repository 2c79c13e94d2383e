"""Random numbers inside a step: those for rows differ from rank to rank, those for the whole batch are alike.

One process draws numbers for all rows at once. A rank draws them for its own rows, so its seed must be its own: else
the first row of every rank would get the same dropout mask. What is drawn once for a batch (a factor for all images, the
weight with which two halves are mixed) must be the same on every rank. Which of both a draw is shows in its shape.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from hops_magic.frameworks.keras.locality import is_local
from hops_magic.frameworks.keras.rows import current_rows
from hops_magic.frameworks.keras.tensors import TensorCollective
from hops_magic.frameworks.patches import Patches

_STRIDE = 1_000_003

_BY_SEED = ("random_standard_normal", "random_uniform", "random_uniform_int", "truncated_normal", "random_gamma")
_BY_SEED_MORE = ("random_poisson_v2", "parameterized_truncated_normal", "multinomial", "random_shuffle")
_BY_KEY = (
    "stateless_random_normal_v2",
    "stateless_random_uniform_v2",
    "stateless_random_uniform_int_v2",
    "stateless_random_uniform_full_int_v2",
    "stateless_truncated_normal_v2",
    "stateless_random_gamma_v3",
    "stateless_shuffle",
)
_BY_PAIR = ("stateless_random_binomial", "stateless_random_poisson", "stateless_multinomial")
# the argument that has the rows, by operation; elsewhere it is the shape
_ROWS_IN = {
    "multinomial": "logits",
    "random_shuffle": "value",
    "stateless_shuffle": "value",
    "stateless_multinomial": "logits",
}


def install(patches: Patches, tensors: TensorCollective) -> None:
    """Mix the rank into the seeds of what is drawn for rows while a step is traced."""
    from tensorflow.python.ops import gen_random_ops, gen_stateless_random_ops, gen_stateless_random_ops_v2

    own = tensors.rank * _STRIDE
    for name in (*_BY_SEED, *_BY_SEED_MORE):
        patches.wrap(gen_random_ops, name, lambda original: _drawing(original, own, "seed2"))
    for name in _BY_KEY:
        patches.wrap(gen_stateless_random_ops_v2, name, lambda original: _drawing(original, own, "key"))
    for name in _BY_PAIR:
        patches.wrap(gen_stateless_random_ops, name, lambda original: _drawing(original, own, "seed"))


def _drawing(original: Any, own: int, seed: str) -> Any:
    names = list(inspect.signature(original).parameters)
    rows = _ROWS_IN.get(original.__name__, "shape")

    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        if current_rows() is None or not own:
            return original(*args, **kwargs)
        given = dict(zip(names, args, strict=False)) | kwargs
        if not _has_rows(given.get(rows)):
            return original(*args, **kwargs)
        given[seed] = _mixed(given.get(seed), own)
        return original(**given)

    return draw


def _has_rows(shape_or_value: Any) -> bool:
    """Whether numbers are drawn for rows of a step; what is drawn while variables are made is not."""
    import tensorflow as tf

    if tf.executing_eagerly() or shape_or_value is None:
        return False
    parts = shape_or_value if isinstance(shape_or_value, list | tuple) else [shape_or_value]
    return any(is_local(part) for part in parts)


def _mixed(seed: Any, own: int) -> Any:
    import tensorflow as tf

    if seed is None or isinstance(seed, int):
        return (seed or 0) + own
    tensor = tf.convert_to_tensor(seed)
    return tensor + tf.cast(own, tensor.dtype)
