"""Run a body as one plain process, and as ranks; both forked from a process that has imported Keras and executed no op."""

import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import forked_ranks
import keras
import tensorflow as tf
from forked_ranks import SEED, forked

from hops_magic.frameworks.keras import KerasFramework, hooks, trainer  # noqa: F401


def plain(body):
    """Run a body in one process with stock Keras, the oracle."""
    ended = alone(body)
    assert not ended.error, ended.error
    return ended.result


def alone(body):
    """Run a body in one process with stock Keras; returns what it left, be it an error."""

    def run(rank, events):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        keras.utils.set_random_seed(SEED)
        return body()

    (ended,) = forked(1, run)
    return ended


def ranks(body, world=2, *, may_fail=False, **options):
    """Run a body on ``world`` ranks; returns what each left. Options are those of :func:`forked_ranks.ranks`."""
    ended = forked_ranks.ranks(body, KerasFramework(), world, **options)
    if not may_fail:
        for each in ended:
            assert not each.error, each.error
    return ended


def in_float64(case):
    """Return a body that runs a case whose only differences are rounding in another order."""

    def body():
        keras.config.set_floatx("float64")
        keras.utils.set_random_seed(1)
        return case()

    return body


def weights(model):
    """A model's weights and its optimizer's state as arrays."""
    found = {f"w{i}": np.array(w) for i, w in enumerate(model.get_weights())}
    for i, v in enumerate(model.optimizer.variables):
        found[f"o{i}"] = np.array(v.numpy())
    return found


def distance(a, b):
    """Largest relative distance between two sets of arrays: of each array's difference to its size."""
    assert a.keys() == b.keys()
    worst = 0.0
    for name in a:
        x, y = np.asarray(a[name], np.float64), np.asarray(b[name], np.float64)
        assert x.shape == y.shape, (name, x.shape, y.shape)
        assert np.isfinite(y).all(), name
        scale = max(float(np.abs(x).max(initial=0.0)), 1e-3)
        worst = max(worst, float(np.abs(x - y).max(initial=0.0)) / scale)
    return worst
