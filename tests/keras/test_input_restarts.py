"""A run that dies in the middle of an epoch ends as an undisturbed one, whichever way its rows take."""

import os
import signal

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from parity import distance, ranks, weights
from test_inputs import Slow, X, Y
from test_restarts import Dies

import hops_magic as hops
from hops_magic.runs.events import InputShared

ROWS = tf.data.Dataset.from_tensor_slices


class Widest(keras.metrics.Metric):
    """The largest sum of a batch's predictions that was ever seen: a state that is replaced, not added to."""

    def __init__(self, *, is_late):
        super().__init__(name="widest")
        self.most = None if is_late else self.add_weight(name="most", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.most is None:
            self.most = self.add_weight(name="most", initializer="zeros")
        self.most.assign(tf.maximum(self.most, tf.cast(tf.reduce_sum(tf.abs(y_pred)), self.most.dtype)))

    def result(self):
        return self.most.value


def push():
    def heavy(x, y):
        for _ in tf.range(60):
            x = tf.linalg.matvec(tf.linalg.inv(tf.eye(12, dtype=tf.float64) + 0.01 * tf.linalg.diag(x)), x)
        return x, y

    return (ROWS((X, Y)).shuffle(64).map(heavy).batch(22),), {}


def alternate():
    return (Slow(),), {}


def deal():
    own = np.random.default_rng(4)

    def batches():
        while True:
            rows = own.permutation(len(X))[:22]
            yield X[rows], Y[rows]

    return (batches(),), {"steps_per_epoch": 7}


def shard():
    return (hops.shard(ROWS((X, Y)).batch(11)).shuffle(4, seed=1),), {}


WAYS = (push, alternate, deal, shard)


def all_ways(dying=None):
    """A fit of each way; in that of one, the process dies in the middle of the second epoch."""
    keras.config.set_floatx("float64")
    found = {}
    for way in WAYS:
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="tanh"), layers.Dense(2)])
        metrics = ["accuracy", Widest(is_late=way in (push, deal))]
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics)
        args, kwargs = way()
        history = model.fit(*args, epochs=2, verbose=0, callbacks=[Dies(1, 3)] if way is dying else [], **kwargs)
        found |= {f"{way.__name__}.{key}": value for key, value in weights(model).items()}
        found |= {f"{way.__name__}.h.{key}": np.array(values) for key, values in history.history.items()}
    return found


def test_a_restart_in_mid_epoch_ends_as_an_undisturbed_run_whichever_way_the_rows_take(tmp_path):
    def body():
        return all_ways()

    undisturbed = ranks(body)[0].result
    for attempt, way in enumerate(WAYS):
        died = ranks(lambda: all_ways(way), attempt=attempt, folder=tmp_path, may_fail=True, checkpoint_s=0.001)  # noqa: B023
        assert all(ended.error == "the process left nothing" for ended in died), died[0].error
        assert (
            way.__name__ in {event.way for event in died[0].events if isinstance(event, InputShared)} or not died[0].events
        )
    for ended in ranks(body, attempt=len(WAYS), folder=tmp_path, checkpoint_s=0.001):
        exact = {name: value for name, value in undisturbed.items() if ".h." not in name}
        assert distance(exact, {name: ended.result[name] for name in exact}) == 0.0
        # what ranks had counted in the broken epoch is added up in another order
        assert distance(undisturbed, ended.result) < 1e-12


def test_a_dealer_that_is_killed_is_a_lost_peer_and_not_the_end_of_the_data():
    def body():
        def batches():
            for number in range(100):
                if number == 5 and hops.rank == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield X[:22], Y[:22]

        model = keras.Sequential([keras.Input((12,)), layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(batches(), verbose=0)

    dealer, *others = ranks(body, 3, may_fail=True)
    assert dealer.error == "the process left nothing"
    for ended in others:
        assert ended.error.strip().splitlines()[-1].startswith("hops_magic.errors.PeerLostError"), ended.error
