"""Functions of the user's that ask for XLA: on several ranks they run without it, and say so."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

import hops_magic as hops
from hops_magic.runs.events import Warned

X = np.random.default_rng(1).normal(size=(32, 4)).astype("float32")


def body():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.1)
    model.compile(optimizer, "mse")

    @tf.function(jit_compile=True)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - x[:, :1]) ** 2)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    part = X[hops.rank :: hops.world_size]
    for _ in range(5):
        step(part)
    return weights(model)


def test_a_compiled_step_of_ones_own_trains():
    one = plain(body)
    first, second = ranks(body, 2)
    for each in (first, second):
        assert distance(one, each.result) < 1e-4
    said = [event.message for event in first.events if isinstance(event, Warned)]
    assert [message for message in said if "jit_compile=True of the function step is left out" in message]
    assert not any("jit_compile" in event.message for event in second.events if isinstance(event, Warned))
