"""Tapes in unusual places of a step, losses that layers add, optimizers around others: ranks do what one process does."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, in_float64, plain, ranks, weights

from hops_magic.runs.events import Warned

rng = np.random.default_rng(8)
X = rng.normal(size=(23, 5))
TARGET = rng.normal(size=(23, 1))
WORDS = rng.integers(0, 6, 23)
BATCH = 8  # the last batch has 7 rows; an uneven part for one rank


def fitted(model, x=X, y=TARGET, **options):
    history = model.fit(x, y, **{"batch_size": BATCH, "epochs": 1, "verbose": 0, "shuffle": False} | options)
    return weights(model) | {f"h.{name}": np.array(values) for name, values in history.history.items()}


def inner(*more):
    return [keras.Input((5,)), layers.Dense(4, activation="tanh"), *more, layers.Dense(1)]


class Flowing(keras.Sequential):
    """Clips inside a loop, inside of a branch, and row by row."""

    def clipped(self, x, y, norm):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        return tf.clip_by_global_norm(tape.gradient(loss, self.trainable_variables), norm)[0]

    def train_step(self, data):
        x, y = data
        variables = self.trainable_variables

        def turn(i):
            self.optimizer.apply(self.clipped(x, y, 0.05), variables)
            return (i + 1,)

        tf.while_loop(lambda i: i < 2, turn, [0])
        zeros = [tf.zeros_like(each) for each in variables]
        often = tf.cond(self.optimizer.iterations % 2 == 0, lambda: self.clipped(2 * x, y, 0.1), lambda: zeros)
        each = tf.vectorized_map(lambda row: self.clipped(row[0][None], row[1][None], 0.3), (x, y))
        gradients = [a + tf.reduce_mean(b, 0) for a, b in zip(often, each, strict=True)]
        self.optimizer.apply(gradients, variables)
        return {"loss": self.updated_unless_steep(x, y)}

    def updated_unless_steep(self, x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        update = functools.partial(self.optimizer.apply, gradients, self.trainable_variables)
        tf.cond(tf.linalg.global_norm(gradients) < 1.5, lambda: (update(), 1)[1], lambda: 0)
        return loss


def case_clipped_in_loops_and_branches():
    model = Flowing(inner())
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    return fitted(model)


def root_of_mean(y, p):
    return tf.sqrt(tf.reduce_mean(tf.square(y - p)) + 1e-3)


class Meta(keras.Model):
    """Takes two steps of its own to judge the weights that they end with, of an embedding too."""

    def __init__(self):
        super().__init__()
        self.words, self.out = layers.Embedding(6, 3), layers.Dense(1)
        self.words.build((None,))
        self.out.build((None, 3))

    def call(self, x, table=None, kernel=None):
        table = self.words.embeddings if table is None else table
        return tf.matmul(tf.tanh(tf.gather(table, x)), self.out.kernel if kernel is None else kernel) + self.out.bias

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as outer:
            fast = [self.words.embeddings.value, self.out.kernel.value]
            for turn in range(2):
                with tf.GradientTape() as tape:
                    tape.watch(fast if turn else [])
                    loss = self.compute_loss(y=y, y_pred=self(x, *fast))
                found = [tf.convert_to_tensor(each) for each in tape.gradient(loss, fast)]
                fast = [each - 0.5 * tf.clip_by_norm(by, 0.3) for each, by in zip(fast, found, strict=True)]
            loss = self.compute_loss(y=y, y_pred=self(x, *fast))
        self.optimizer.apply(outer.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def case_gradients_of_gradients_through_joined_rows():
    model = Meta()
    model.compile("sgd", root_of_mean)
    return fitted(model, WORDS)


class Chained(keras.Sequential):
    """Takes the gradient of a mean with respect to its rows, as a penalty and for the layers before."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as outer:
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
            slopes = tape.gradient(loss, x)
            loss += 20.0 * tf.reduce_mean(tf.reduce_sum(tf.square(slopes), 1))
        first = outer.gradient(loss, self.trainable_variables)
        with tf.GradientTape() as before:
            hidden = self.layers[0](x)
        with tf.GradientTape() as after:
            after.watch(hidden)
            rest = tf.reduce_mean(tf.square(self.layers[-1](hidden) - y))
        upstream = after.gradient(rest, hidden)
        variables = self.layers[0].trainable_variables
        second = before.gradient(hidden, variables, output_gradients=upstream)
        self.optimizer.apply(
            [*[a + b for a, b in zip(first, second, strict=False)], *first[len(second) :]], self.trainable_variables
        )
        return {"loss": loss, "steepest": tf.reduce_max(tf.abs(slopes))}


def case_gradients_of_rows():
    model = Chained(inner())
    model.compile("sgd")
    return fitted(model)


class Recomputed(layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner = layers.Dense(4, activation="tanh")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        def activated(x):
            return self.inner(x)

        return tf.recompute_grad(activated)(x)


class Adding(layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * tf.reduce_sum(tf.square(x), 1))
        self.add_loss(0.01 * tf.reduce_sum(x))
        return x


def case_a_loss_for_each_row_that_a_layer_adds_after_recomputed_activations():
    model = keras.Sequential([keras.Input((5,)), Recomputed(), Adding()])
    model.compile("sgd")
    return fitted(model, y=None)


class Lookahead(keras.optimizers.Optimizer):
    """Keeps slow weights, which its first step sets: as part of each step, where that is traced but once."""

    def __init__(self, fast):
        super().__init__(learning_rate=0.1)
        self.fast = fast

    def build(self, variables):
        super().build(variables)
        self.fast.build(variables)
        self.slow = self.add_optimizer_variables(variables, "slow")
        for slow, variable in zip(self.slow, variables, strict=True):
            slow.assign(variable)

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        self.fast.apply(grads, trainable_variables)
        for slow, variable in zip(self.slow, trainable_variables, strict=True):
            slow.assign(slow + 0.3 * (variable - slow))
            variable.assign(slow)


class Nested(keras.Sequential):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=predicted)
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
        )
        for metric in self.metrics:
            metric.update_state(*([loss] if metric.name == "loss" else [y, predicted]))
        return {metric.name: metric.result() for metric in self.metrics} | {"largest": tf.reduce_max(predicted)}


def case_an_optimizer_around_another_beside_results_in_a_dictionary():
    model = Nested(inner())
    model.compile(Lookahead(keras.optimizers.Adam(0.1)), "mse", metrics=["mae", keras.metrics.RootMeanSquaredError()])
    return fitted(model)


class Skipping(keras.Sequential):
    """Leaves out updates by what each rank has of its own rows."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        update = functools.partial(self.optimizer.apply, gradients, self.trainable_variables)
        tf.cond(loss < 1.5, lambda: (update(), 1)[1], lambda: 0)
        return {"loss": loss}


def skipping():
    model = Skipping(inner())
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    return fitted(model)


CASES = [value for name, value in list(globals().items()) if name.startswith("case_")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("case_"))
def test_ranks_do_what_one_process_does(case):
    expected = plain(in_float64(case))
    for ended in ranks(in_float64(case), 2):
        assert distance(expected, ended.result) < 1e-11
        assert not [event for event in ended.events if isinstance(event, Warned)]


def test_updates_left_out_by_what_each_rank_has_of_its_own_are_refused():
    for ended in ranks(in_float64(skipping), 2, may_fail=True):
        assert "UnsupportedError" in ended.error
        assert "depends on the rows of the batch, of which each rank would judge by its own part" in ended.error
