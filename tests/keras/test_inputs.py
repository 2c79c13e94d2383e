"""Each way in which ranks come by their rows trains as one process does; what cannot be drawn is told on every rank."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

from hops_magic.runs.events import InputShared

ROWS = 151
rng = np.random.default_rng(5)
X = rng.normal(size=(ROWS, 12))
Y = (X[:, 0] * X[:, 1] > 0).astype("int32")


def fitted(*args, **kwargs):
    keras.config.set_floatx("float64")
    model = keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="tanh"), layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    history = model.fit(*args, verbose=0, epochs=3, **kwargs)
    return {**weights(model), **{f"h.{name}": np.array(values) for name, values in history.history.items()}}


def arrays():
    return fitted(X, Y, batch_size=37, class_weight={0: 1.0, 1: 3.0}, validation_split=0.2)


def whole():
    return fitted(tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(64).batch(37))


def deal_random_maps():
    def noisy(x, y):
        return x + tf.random.normal([12], dtype=tf.float64, seed=4), y

    rows = tf.data.Dataset.from_tensor_slices((X, Y))
    checked = rows.map(noisy).batch(37)
    return fitted(rows.shuffle(64).map(noisy).batch(37), validation_data=checked, validation_steps=2)


def deal_generator():
    own = np.random.default_rng(4)

    def batches():
        while True:
            rows = own.permutation(ROWS)[:29]
            yield X[rows], Y[rows]

    return fitted(batches(), steps_per_epoch=5)


def push():
    def heavy(x, y):
        for _ in range(60):
            x = tf.linalg.matvec(tf.linalg.inv(tf.eye(12, dtype=tf.float64) + 0.01 * tf.linalg.diag(x)), x)
        return x, y

    rows = tf.data.Dataset.from_tensor_slices((X, Y))
    checked = rows.map(heavy, num_parallel_calls=2).batch(37, drop_remainder=True)
    return fitted(rows.shuffle(64).map(heavy).batch(37), class_weight={0: 1.0, 1: 2.0}, validation_data=checked)


wait = time.sleep  # what a batch costs


class Slow(keras.utils.PyDataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        wait(0.01)
        return X[index * 22 : index * 22 + 22], Y[index * 22 : index * 22 + 22]


def alternate():
    return fitted(Slow(), class_weight={0: 1.0, 1: 2.0})


@pytest.mark.parametrize("case", [arrays, whole, deal_random_maps, deal_generator, push, alternate])
def test_each_way_trains_as_one_process(case):
    expected = plain(case)
    for world in (2, 3):
        ended = ranks(case, world)
        assert case.__name__.split("_")[0] in {event.way for event in ended[0].events if isinstance(event, InputShared)}
        for each in ended:
            assert distance(expected, each.result) < 1e-12, world


def test_arrays_that_differ_in_their_middle_are_refused():
    def body():
        import hops_magic as hops

        x = X.copy()
        x[70, 3] += hops.rank  # the first row of no batch, and the last of none
        model = keras.Sequential([keras.Input((12,)), layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, Y, batch_size=32, shuffle=False, verbose=0)

    for ended in ranks(body, may_fail=True):
        assert "the ranks feed different rows" in ended.error


def test_arrays_make_an_iterator_an_epoch():
    def body():
        from tensorflow.python.data.ops.iterator_ops import OwnedIterator

        made, usual = [], OwnedIterator._create_iterator

        def counted(self, dataset):
            made.append(dataset)
            return usual(self, dataset)

        model = keras.Sequential([keras.Input((12,)), layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        OwnedIterator._create_iterator = counted
        try:
            model.fit(X, Y, batch_size=32, epochs=4, verbose=0)
        finally:
            OwnedIterator._create_iterator = usual
        return len(made)

    # one to compare what the arrays hold, one for the first epoch, and one at the end of each, which serves in the next
    assert [each.result for each in ranks(body)] == [6, 6]


def test_data_that_cannot_be_drawn_is_told_on_every_rank():
    def body():
        def batches():
            yield X[:16], Y[:16]
            yield X[:16], Y[:16]
            raise ValueError("no more of it")

        fitted(batches(), steps_per_epoch=5)

    for ended in ranks(body, may_fail=True):
        assert "no more of it" in ended.error


def test_a_random_map_in_parallel_trains():
    def body():
        def augment(x, y):
            return x + tf.random.normal([12], dtype=tf.float64), y

        rows = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(64)
        return fitted(rows.map(augment, num_parallel_calls=tf.data.AUTOTUNE).batch(16).prefetch(2))

    first, second = ranks(body)
    assert distance(first.result, second.result) == 0.0


def test_a_generator_is_drawn_from_by_one_fit_after_the_other():
    def batches():
        while True:
            for _ in range(40):  # long enough to be met in the middle
                np.linalg.svd(X)
            yield X[:20], Y[:20]

    def body():
        data = batches()
        return {str(number): fitted(data, steps_per_epoch=2)["h.loss"] for number in range(3)}

    first, second = ranks(body)
    assert distance(first.result, second.result) == 0.0
