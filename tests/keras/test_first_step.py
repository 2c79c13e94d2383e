"""The first-step check names what ranks would make otherwise than one process, and is silent about what they make alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

from hops_magic.runs.events import Noted, Warned

rng = np.random.default_rng(5)
X = rng.normal(size=(70, 8)).astype("float32")
TARGET = X[:, :1] * 3
LABELS = (X[:, 0] > 0).astype("int32")
IMAGES = rng.random((24, 64, 64, 3)).astype("float32")
WORDS = rng.integers(1, 50, size=(64, 12))


def net(*more):
    return [keras.Input((8,)), layers.Dense(7, activation="tanh"), *more, layers.Dense(1)]


def fitted(model, x=X, y=TARGET, **options):
    model.fit(x, y, **{"batch_size": 16, "epochs": 1, "verbose": 0, "shuffle": False} | options)
    return weights(model)


@keras.saving.register_keras_serializable()
class Centered(layers.Layer):
    def call(self, x):
        return x - tf.reduce_mean(x, axis=0)


class Plain(layers.Layer):
    def call(self, x):
        return 2.0 * x


def a_layer_that_subtracts_the_mean_of_the_batch():
    model = keras.Sequential(net(Centered()))
    model.compile("sgd", "mse")
    fitted(model)


def a_contrastive_loss_in_the_step():
    class Contrastive(keras.Sequential):
        def train_step(self, data):
            x, _ = data
            with tf.GradientTape() as tape:
                unit = tf.math.l2_normalize(self(x, training=True), axis=1)
                rows = tf.range(tf.shape(x)[0])
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(rows, tf.matmul(unit, unit, transpose_b=True), True)
                )
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    model = Contrastive([keras.Input((8,)), layers.Dense(7), layers.Dense(3)])
    model.compile("sgd")
    fitted(model)


def a_masked_mean_in_the_step(*rows):
    class Masked(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                mask = tf.cast(x[:, :1] > 0, x.dtype)
                loss = tf.reduce_sum(mask * tf.square(self(x, training=True) - y)) / tf.reduce_sum(mask)
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    model = Masked(net())
    model.compile("sgd")
    fitted(model, *rows)


def a_masked_mean_that_counts_as_much_on_each_rank():
    every_second = X[:8].copy()
    every_second[:, 0] = [1, -1] * 4
    a_masked_mean_in_the_step(every_second, TARGET[:8])


def gradients_of_single_rows():
    class Private(keras.Sequential):
        def train_step(self, data):
            x, y = data
            totals = [tf.zeros_like(each) for each in self.trainable_variables]
            for row in range(2):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(self(x[row : row + 1], training=True) - y[row : row + 1]))
                gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self.trainable_variables), 0.1)
                totals = [total + gradient for total, gradient in zip(totals, gradients, strict=True)]
            self.optimizer.apply(totals, self.trainable_variables)
            return {"loss": loss}

    model = Private(net())
    model.compile("sgd")
    fitted(model)


def a_moving_mean():
    class Moving(layers.Layer):
        def build(self, shape):
            self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="moving")

        def call(self, x, training=False):
            if training:
                self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, 0))
            return x

    model = keras.Sequential(net(Moving()))
    model.compile("sgd", "mse")
    fitted(model)


def a_log_that_is_a_ratio():
    class Telling(keras.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            return {**logs, "spread": tf.math.reduce_std(data[0])}

    model = Telling(net())
    model.compile("sgd", "mse")
    fitted(model)


WRONG = [
    (a_layer_that_subtracts_the_mean_of_the_batch, "gradient of sequential"),
    (a_contrastive_loss_in_the_step, "gradient of"),
    (a_masked_mean_in_the_step, "the log loss"),
    (a_masked_mean_that_counts_as_much_on_each_rank, "the log loss"),
    (gradients_of_single_rows, "gradient of"),
    (a_moving_mean, "the change of"),
    (a_log_that_is_a_ratio, "the log spread"),
]


@pytest.mark.parametrize(("body", "named"), WRONG, ids=[body.__name__ for body, _ in WRONG])
def test_what_differs_is_named_in_a_warning(body, named):
    chief, other = ranks(body)
    (message,) = [event.message for event in chief.events if isinstance(event, Warned) and "first step" in event.message]
    assert named in message
    assert "train with -n 1" in message
    assert not [event for event in other.events if isinstance(event, Warned)]


def an_epoch_whose_second_batch_is_one_row():
    model = keras.Sequential(net(Centered()))
    model.compile("sgd", "mse")
    return fitted(model, X[:17], TARGET[:17])


def one_batch_of_data_that_does_not_know_its_length():
    model = keras.Sequential(net(Centered()))
    model.compile("sgd", "mse")
    rows = tf.data.Dataset.from_tensor_slices((X[:16], TARGET[:16])).filter(lambda x, y: True).batch(16)
    model.fit(rows, verbose=0)
    return weights(model)


class Once(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


def a_fit_that_a_callback_ends_after_one_batch():
    model = keras.Sequential(net(Centered()))
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((X, TARGET)).batch(16)
    model.fit(data, epochs=3, steps_per_epoch=1, callbacks=[Once()], verbose=0)
    return weights(model)


def one_batch_by_hand():
    model = keras.Sequential(net(Centered()))
    model.compile("sgd", "mse")
    model.train_on_batch(X[:16], TARGET[:16])
    return weights(model)


def batches_by_hand_of_which_the_first_is_one_row():
    model = keras.Sequential(net(Centered()))
    model.compile("sgd", "mse")
    for rows in (1, 16, 16):
        model.train_on_batch(X[:rows], TARGET[:rows])
    return weights(model)


def a_model_that_is_compiled_once_more():
    model = keras.Sequential(net(Plain()))
    model.compile("sgd", "mse")
    fitted(model)
    model.add(Centered())
    model.compile("sgd", "mse")
    return fitted(model)


@pytest.mark.parametrize(
    "body",
    [
        an_epoch_whose_second_batch_is_one_row,
        one_batch_of_data_that_does_not_know_its_length,
        a_fit_that_a_callback_ends_after_one_batch,
        one_batch_by_hand,
        batches_by_hand_of_which_the_first_is_one_row,
        a_model_that_is_compiled_once_more,
    ],
    ids=lambda f: f.__name__,
)
def test_a_short_fit_is_checked_too(body):
    chief, _ = ranks(body)
    assert distance(plain(body), chief.result) > 1e-3
    assert "gradient of sequential" in "".join(event.message for event in chief.events if isinstance(event, Warned))


def test_a_short_evaluation_after_a_fit_of_several_epochs_is_checked():
    class Spread(keras.Sequential):
        def test_step(self, data):
            return {**super().test_step(data), "spread": tf.math.reduce_std(data[0])}

    def body():
        model = Spread(net())
        model.compile("sgd", "mse")
        model.fit(X, TARGET, epochs=2, verbose=0)
        return model.evaluate(X[:16], TARGET[:16], return_dict=True, verbose=0)

    chief, _ = ranks(body)
    assert "the log spread" in "".join(event.message for event in chief.events if isinstance(event, Warned))


def test_strict_refuses_before_time_is_spent():
    for ended in ranks(a_layer_that_subtracts_the_mean_of_the_batch, check="strict", may_fail=True):
        assert "UnsupportedError: the first step is not that of one process" in ended.error


def test_never_checks_nothing_and_models_of_kerass_own_parts_are_not_checked():
    def own():
        model = keras.Sequential(net())
        model.compile("adam", "mse", metrics=["mae"])
        return fitted(model)

    assert not [event for event in ranks(own)[0].events if isinstance(event, Noted)]
    assert not [
        event
        for event in ranks(a_layer_that_subtracts_the_mean_of_the_batch, check="never")[0].events
        if isinstance(event, Noted | Warned) and "first step" in event.message
    ]


def a_network_of_half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, dtype="float32"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return fitted(model, IMAGES, np.arange(24) % 4, batch_size=12)


def a_mobile_network():
    whole = keras.applications.MobileNetV2((64, 64, 3), weights=None, include_top=False)
    # a third of its blocks has all kinds of its layers
    pooled = layers.GlobalAveragePooling2D()(whole.get_layer("block_5_add").output)
    model = keras.Model(whole.input, layers.Dense(4, "softmax")(pooled))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return fitted(model, IMAGES, np.arange(24) % 4, batch_size=12)


def a_transformer():
    inputs = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 16)(inputs) + layers.Embedding(12, 16)(keras.ops.arange(12))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8, dropout=0.1)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    outputs = layers.Dense(2)(layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(x)))
    model = keras.Model(inputs, outputs)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return fitted(model, WORDS, np.arange(64) % 2)


@pytest.mark.parametrize(
    "body", [a_network_of_half_precision, a_mobile_network, a_transformer], ids=lambda body: body.__name__
)
def test_no_false_alarm(body):
    chief, _ = ranks(body, check="always")
    assert [event.message for event in chief.events if isinstance(event, Warned)] == []
    (note,) = [event.message for event in chief.events if isinstance(event, Noted)]
    assert "agrees with one process" in note


def test_the_check_leaves_nothing_behind():
    def body():
        model = keras.Sequential(net(layers.BatchNormalization(), Plain(), layers.Dropout(0.3)))
        model.compile("adam", "mse", metrics=["mae"])
        return fitted(model, epochs=2)

    checked, unchecked = (ranks(body, check=mode)[0].result for mode in ("always", "never"))
    assert distance(unchecked, checked) == 0.0
    assert plain(body).keys() == checked.keys()
