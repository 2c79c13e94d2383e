"""Where ranks could drift apart without a word: each case agrees with one process, is refused, or is told."""

import os
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

import hops_magic as hops
from hops_magic.frameworks.keras import metric_updates
from hops_magic.runs.events import Warned

ROWS = 150
rng = np.random.default_rng(5)
X = rng.normal(size=(ROWS, 12)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype("int32")
TARGET = (X @ rng.normal(size=(12, 1))).astype("float32")


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp(outputs=2, **kwargs):
    return keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="relu", **kwargs), layers.Dense(outputs)])


def compiled(optimizer="adam", **kwargs):
    model = mlp()
    model.compile(optimizer, crossentropy(), **kwargs)
    return model


def fitted(model, *args, **kwargs):
    history = model.fit(*args, verbose=0, **kwargs)
    found = {f"h.{name}": np.array(values) for name, values in history.history.items()}
    return {**(weights(model) if model.optimizer else {}), **found}


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = layers.Dense(8, activation="relu"), layers.Dense(2)
        self.tracker = keras.metrics.Mean(name="loss")

    def call(self, x):
        return self.outer(self.inner(x))

    @property
    def metrics(self):
        return [self.tracker]


def case_losses_that_make_nan_of_an_empty_part():
    class Shy(layers.Layer):
        def call(self, x):
            self.add_loss(0.01 * tf.reduce_mean(tf.square(x)))
            return x

    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activity_regularizer="l2"), Shy(), layers.Dense(1)])
    model.compile("adam", lambda y, p: tf.reduce_mean(tf.square(y - p)))
    return fitted(model, X, TARGET, batch_size=37, epochs=4)


def case_losses_of_a_step_of_ones_own():
    class Model(OwnStep):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    model = Model()
    model.compile("adam", crossentropy())
    return fitted(model, X, Y, batch_size=37, epochs=4)


def case_model_built_by_its_shape():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Model()
    model.build((None, 12))
    model.compile("adam", crossentropy())
    return fitted(model, X, Y, epochs=2)


def case_two_optimizers_and_none_compiled():
    class Model(OwnStep):
        def compile(self):
            super().compile(optimizer=None)
            self.first, self.second = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.01)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape(persistent=True) as tape:
                loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, self(x), from_logits=True))
            for optimizer, part in ((self.first, self.inner), (self.second, self.outer)):
                optimizer.apply(tape.gradient(loss, part.trainable_variables), part.trainable_variables)
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    model = Model()
    model.compile()
    return fitted(model, X, Y, batch_size=37, epochs=4) | {f"w{i}": w for i, w in enumerate(model.get_weights())}


def case_losses_of_each_output_in_uneven_batches():
    a = keras.Input((12,))
    hidden = layers.Dense(6, activation="relu")(a)
    model = keras.Model(a, {"klass": layers.Dense(2, name="klass")(hidden), "value": layers.Dense(1, name="value")(hidden)})
    model.compile("adam", {"klass": crossentropy(), "value": "mse"}, metrics={"klass": "accuracy"})
    return fitted(model, X, {"klass": Y, "value": TARGET}, batch_size=37, epochs=4)


def case_arguments_by_place():
    model = compiled()
    model.fit(X, Y, 28, 4, 0, [keras.callbacks.EarlyStopping("loss")])
    tested = model.test_on_batch(X[:31], Y[:31], None, True)["loss"]
    return {**weights(model), "e": np.array([model.evaluate(X, Y, 28, 0), tested]), "p": model.predict(X, 28, 0)}


def case_callback_that_steers_by_the_logs_of_a_batch():
    class Steers(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.02 * float(logs["loss"]) * float(logs["accuracy"])

    return fitted(compiled("sgd", metrics=["accuracy"]), X, Y, batch_size=37, epochs=4, callbacks=[Steers()])


def case_end_at_nan():
    broken = X.copy()
    broken[20] = np.nan  # a row of the second half of the first batch: of the last rank
    model = compiled("sgd")
    model.fit(broken, Y, batch_size=30, epochs=2, shuffle=False, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])
    return {"steps": np.array(int(model.optimizer.iterations.numpy()))}


def case_lambda_callback_that_stops_one_rank():
    model = compiled("sgd")

    def end(batch, logs):
        if hops.rank == hops.world_size - 1 and model.optimizer.iterations.numpy() == 7:
            model.stop_training = True

    model.fit(X, Y, batch_size=30, epochs=9, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=end)])
    return {"steps": np.array(int(model.optimizer.iterations.numpy()))}


def case_batchnorm_in_a_loop_of_ones_own():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)])
    optimizer, loss_of = keras.optimizers.SGD(0.05), crossentropy()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    for start in [*range(0, 140, 28)] * 5:
        step(*(tf.constant(hops.shard(part[start : start + 28])) for part in (X, Y)))
    return {f"w{i}": w for i, w in enumerate(model.get_weights())}


def case_sparse_matrix():
    sparse = pytest.importorskip("scipy.sparse")
    model = keras.Sequential([keras.Input((12,), sparse=True), layers.Dense(2)])
    model.compile("sgd", crossentropy())
    return fitted(model, sparse.csr_matrix((np.abs(X) > 1) * X), Y, batch_size=37, epochs=4, shuffle=False)


def case_generator_of_numpys_random_numbers():
    def batches():
        while True:
            rows = np.random.permutation(ROWS)[:29]
            yield X[rows], Y[rows]

    return fitted(compiled(), batches(), steps_per_epoch=6, epochs=4)


CASES = [value for name, value in list(globals().items()) if name.startswith("case_")]
THREE = {"case_losses_that_make_nan_of_an_empty_part", "case_losses_of_a_step_of_ones_own"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("case_"))
def test_ranks_agree_with_one_process(case):
    expected = plain(case)
    for world in (3,) if case.__name__ in THREE else (2,):
        for ended in ranks(case, world):
            assert distance(expected, ended.result) < 1e-5, world


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_agrees_as_far_as_half_precision_goes(policy):
    def body():
        keras.mixed_precision.set_global_policy(policy)
        model = keras.Sequential(
            [keras.Input((12,)), layers.Dense(16), layers.BatchNormalization(), layers.Dense(2, dtype="float32")]
        )
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), crossentropy())
        history = model.fit(X, Y, batch_size=28, epochs=4, verbose=0)
        # the scale of the loss must move alike, too
        found = {"loss": np.array(history.history["loss"]), "kernel": model.get_weights()[0]}
        scale = getattr(model.optimizer, "dynamic_scale", None)
        return found | ({} if scale is None else {"scale": scale.numpy()})

    expected, together = plain(body), ranks(body)
    assert distance(expected, together[0].result) < 2e-2
    assert distance(together[0].result, together[1].result) == 0.0


def own_rows():
    compiled().fit(X[hops.rank :: 2], Y[hops.rank :: 2], batch_size=15, verbose=0)


def own_rows_as_a_dataset():
    compiled().fit(tf.data.Dataset.from_tensor_slices((X[hops.rank :: 2], Y[hops.rank :: 2])).batch(15), verbose=0)


def own_rows_to_evaluate():
    data = tf.data.Dataset.from_tensor_slices((X[hops.rank :: 2], Y[hops.rank :: 2])).batch(15)
    compiled().evaluate(data, verbose=0)


def other_initial_weights():
    if hops.rank:
        keras.utils.set_random_seed(99)
    model = keras.Sequential([layers.Dense(8), layers.Dense(2)])
    model.compile("sgd", crossentropy())
    model.fit(X, Y, shuffle=False, verbose=0)


def stateful():
    model = keras.Sequential([keras.Input(batch_shape=(30, 4, 3)), layers.LSTM(5, stateful=True), layers.Dense(2)])
    model.compile("sgd", crossentropy())
    model.fit(X.reshape(ROWS, 4, 3), Y, batch_size=30, verbose=0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (own_rows, "feed different rows"),
        (own_rows_as_a_dataset, "feed different rows"),
        (own_rows_to_evaluate, "feed different rows"),
        (other_initial_weights, "different initial weights"),
        (stateful, "is stateful"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_would_be_wrong_without_a_word_is_refused(body, words):
    for ended in ranks(body, may_fail=True):
        assert ended.error.strip().splitlines()[-1].startswith("hops_magic.errors.UnsupportedError"), ended.error
        assert words in ended.error


def test_a_strategy_says_what_it_cannot_split_and_what_it_is_not():
    def body(strategy):
        alone = tf.data.Dataset.from_tensor_slices(X[:31]).batch(30)
        with pytest.raises(
            AttributeError, match=r"strategy\.extended: on several ranks a strategy has .*num_replicas_in_sync"
        ):
            _ = strategy.extended
        with pytest.raises(tf.errors.InvalidArgumentError, match="fewer rows than the 2 ranks"):
            list(strategy.experimental_distribute_dataset(alone))
        return {"replicas": strategy.num_replicas_in_sync}

    assert [ended.result["replicas"] for ended in ranks(body)] == [2, 2]


def test_ranks_that_call_different_collectives_learn_it_from_both_calls():
    class Asks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if hops.rank == 0:
                hops.all_reduce(1.0)

    def body():
        compiled().fit(X, Y, epochs=2, verbose=0, callbacks=[Asks()])

    last = [ended.error.strip().splitlines()[-1] for ended in ranks(body, may_fail=True)]
    assert all(line.startswith("hops_magic.errors.") for line in last), last
    assert any("do not call the same collectives" in line for line in last), last


class Largest(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", name="value")
        self.rows = self.add_variable((), "zeros", name="rows")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(tf.maximum(self.value, tf.reduce_max(y_pred)))
        self.rows.assign(self.rows + 1.0)

    def result(self):
        return self.value


class MovingMean(layers.Layer):
    def build(self, shape):
        self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="moving")

    def call(self, x, training=False):
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, 0))
        return x - self.mean


def test_what_cannot_be_mended_is_told(monkeypatch):
    # as if predictions were so large that sending them to all ranks cost more than it is worth
    monkeypatch.setattr(metric_updates, "_WIDEST_ROW", 0)

    def body():
        model = keras.Sequential([keras.Input((12,)), MovingMean(), layers.Dense(2)])
        model.compile("sgd", crossentropy(), metrics=[Largest()])
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[keras.callbacks.BackupAndRestore("/tmp/not-made-ever")])

    # by the check of the first steps it would be told, too, before
    chief, other = (
        [event.message for event in ended.events if isinstance(event, Warned)] for ended in ranks(body, check="never")
    )
    assert [sum(words in message for message in chief) for words in ("moving", "BackupAndRestore")] == [1, 1]
    (told,) = (message for message in chief if "largest" in message)
    assert "its state value instead" in told
    assert not other


class Dies(keras.callbacks.Callback):
    """Ends the process at a step, once a checkpoint is there."""

    def __init__(self, step, checkpoint):
        super().__init__()
        self.step, self.checkpoint = step, checkpoint

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() == self.step:
            end = time.monotonic() + 30
            while not self.checkpoint.exists() and time.monotonic() < end:
                time.sleep(0.01)
            os._exit(9)


def test_a_restart_finds_callbacks_first_epochs_and_random_data_again(tmp_path):
    def train(*deaths):
        def batches():
            while True:
                rows = np.random.permutation(ROWS)[:30]
                yield X[rows], Y[rows]

        callbacks = [
            # on the chief only: what follows it stands elsewhere on the others
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True),
            keras.callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=10.0, factor=0.5),
            keras.callbacks.EarlyStopping("loss", patience=6, min_delta=10.0),
        ]
        return fitted(compiled(), batches(), steps_per_epoch=6, initial_epoch=2, epochs=20, callbacks=[*callbacks, *deaths])

    undisturbed = ranks(train)[0].result
    checkpoint = tmp_path / "checkpoints" / "fit-1.ckpt"
    died = ranks(lambda: train(Dies(27, checkpoint)), folder=tmp_path, may_fail=True)
    assert {ended.error for ended in died} == {"the process left nothing"}
    for ended in ranks(train, attempt=1, folder=tmp_path):
        assert distance(undisturbed, ended.result) == 0.0
