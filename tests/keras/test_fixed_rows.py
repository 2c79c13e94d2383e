"""Steps that count on the rows of the whole batch: named, with the line; errors of other shapes stay TensorFlow's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import ranks

X = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")


class Reshapes(layers.Layer):
    def call(self, x):
        return tf.reshape(x, (16, 4))


class Joins(layers.Layer):
    def call(self, x):
        return tf.concat([x, tf.zeros((16, 1))], 1)


class Multiplies(layers.Layer):
    def call(self, x):
        return x * tf.ones((5, 4))


class Noisy(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self(data[0] + tf.random.normal((16, 4))) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def trained(*parts, data=(X, X[:, :1])):
    model = keras.Sequential([*parts, layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*data, batch_size=16, verbose=0)


def reshape():
    trained(Reshapes())


def noise():
    model = Noisy()
    model.compile("sgd")
    model.fit(X, X[:, :1], batch_size=16, verbose=0)


def join_in_a_dataset():
    dataset = tf.data.Dataset.from_tensor_slices((X, X[:, :1])).batch(16)
    model = keras.Sequential([keras.Input((4,)), Joins(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(dataset, verbose=0)


class Remembers(keras.Model):
    """Keeps the newest rows in a queue, as contrastive learning does; drops as many as a batch has, by a constant."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)
        self.queue = self.add_weight(shape=(32, 4), initializer="zeros", trainable=False, name="queue")

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(data[0]) - tf.reduce_mean(self.queue, axis=0)) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.queue.assign(keras.ops.concatenate([data[0], self.queue[:-16]], axis=0))
        return {"loss": loss}


def queue():
    model = Remembers()
    model.compile("sgd")
    model.fit(X, X[:, :1], batch_size=16, verbose=0)


def another_shape():
    trained(keras.Input((4,)), Multiplies())


def input_of_a_fixed_size():
    trained(keras.Input((4,), batch_size=16))


class Neighbours(layers.Layer):
    def call(self, given):
        return tf.matmul(given[1], given[0])


def a_graph_of_all_nodes():
    links = np.eye(25, dtype="float32")
    nodes, neighbours = keras.Input((4,)), keras.Input((25,))
    model = keras.Model([nodes, neighbours], layers.Dense(1)(Neighbours()([nodes, neighbours])))
    model.compile("sgd", "mse")
    model.fit([X[:25], links], X[:25, :1], batch_size=25, shuffle=False, verbose=0)


@pytest.mark.parametrize("body", [reshape, noise, join_in_a_dataset, queue])
def test_a_constant_number_of_rows_is_named_with_its_line(body):
    for ended in ranks(body, 2, may_fail=True):
        last = ended.error.strip().splitlines()[-1]
        assert last.startswith("hops_magic.errors.UnsupportedError: a step has each batch in 2 parts"), ended.error
        assert "test_fixed_rows.py seems to count on all rows: take their number from tf.shape(x)[0]" in last


def test_a_graph_whose_nodes_are_the_rows_is_refused():
    for ended in ranks(a_graph_of_all_nodes, 2, may_fail=True):
        last = ended.error.strip().splitlines()[-1]
        # TensorFlow does not tell the line of an op that it has joined with others
        assert last.startswith("hops_magic.errors.UnsupportedError: a step has each batch in 2 parts"), ended.error
        assert "seems to count on all rows: take their number from tf.shape(x)[0]" in last


def test_errors_of_other_shapes_stay_as_they_are():
    for ended in ranks(another_shape, 2, may_fail=True):
        assert "Incompatible shapes: [8,4] vs. [5,4]" in ended.error
        assert "UnsupportedError" not in ended.error
        assert "UnsupportedError" not in ended.error


def test_an_input_of_a_fixed_size_trains():
    ranks(input_of_a_fixed_size, 2)
