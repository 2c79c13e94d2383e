"""Steps, losses, metrics and optimizers of the user's own: ranks do what one process does, to the last digits of float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, in_float64, plain, ranks, weights

import hops_magic as hops

rng = np.random.default_rng(5)
X = rng.normal(size=(70, 8))
Y = (X[:, 0] > 0).astype("int32")
TARGET = X[:, :1] * 3
WORDS = rng.integers(1, 20, size=(70, 6))
BATCH = 16  # the last batch has 6 rows; neither divides by three


def net(*more, outputs=1):
    return [keras.Input((8,)), layers.Dense(7, activation="tanh"), *more, layers.Dense(outputs)]


def fitted(model, x=X, y=TARGET, **options):
    history = model.fit(x, y, **{"batch_size": BATCH, "epochs": 2, "verbose": 0, "shuffle": False} | options)
    result = weights(model) if model.optimizer is not None else {}
    return {**result, **{f"h.{name}": np.array(values) for name, values in history.history.items()}}


def gradients_of(model, data, **losses):
    x, y = data
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), **losses)
    return loss, tape.gradient(loss, model.trainable_variables)


def case_gradients_clipped_in_the_step():
    class Clipping(keras.Sequential):
        def train_step(self, data):
            loss, gradients = gradients_of(self, data)
            gradients, norm = tf.clip_by_global_norm(gradients, 0.05)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss, "norm": norm}

    model = Clipping(net())
    model.compile("sgd", "mse")
    return fitted(model)


def case_an_optimizer_that_takes_signs():
    class SignSGD(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables=None):
            return super().apply([tf.sign(gradient) for gradient in grads], trainable_variables)

    model = keras.Sequential(net())
    model.compile(SignSGD(0.01), "mse")
    return fitted(model)


def case_steps_that_look_around():
    class Sharp(keras.Sequential):
        def train_step(self, data):
            loss, gradients = gradients_of(self, data)
            scale = 0.05 / (tf.linalg.global_norm(gradients) + 1e-12)
            moves = [gradient * scale for gradient in gradients]
            for variable, move in zip(self.trainable_variables, moves, strict=True):
                variable.assign_add(move)
            _, gradients = gradients_of(self, data)
            for variable, move in zip(self.trainable_variables, moves, strict=True):
                variable.assign_sub(move)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    model = Sharp(net())
    model.compile("adam", "mse")
    return fitted(model)


def case_gradients_accumulated_by_hand():
    class Accumulating(keras.Sequential):
        def train_step(self, data):
            loss, gradients = gradients_of(self, data)
            for total, gradient in zip(self.totals, gradients, strict=True):
                total.assign_add(gradient)
            self.count.assign_add(1)

            def apply():
                self.optimizer.apply([tf.clip_by_norm(total, 0.3) for total in self.totals], self.trainable_variables)
                for total in self.totals:
                    total.assign(tf.zeros_like(total))
                return True

            tf.cond(tf.equal(self.count % 2, 0), apply, lambda: False)
            return {"loss": loss}

    model = Accumulating(net())
    model.compile("sgd", "mse")
    model.totals = [tf.Variable(tf.zeros_like(each)) for each in model.trainable_variables]
    model.count = tf.Variable(0)
    model.optimizer.build(model.trainable_variables)
    return fitted(model)


class Critic(keras.Model):
    def __init__(self):
        super().__init__()
        self.net = keras.Sequential(net(layers.BatchNormalization(), layers.Activation("tanh")))

    def call(self, x, training=False):
        return self.net(x, training=training)

    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = self(x, training=True)
            slope = inner.gradient(y, x)
            loss = tf.reduce_mean(y) + tf.reduce_mean((tf.norm(slope, axis=1) - 1.0) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def critic():
    model = Critic()
    model.compile(keras.optimizers.SGD(0.05))
    return model


def case_a_gradient_penalty_through_batch_normalisation():
    return fitted(critic())


def case_a_gradient_penalty_where_a_batch_has_fewer_rows_than_there_are_ranks():
    return fitted(critic(), X[: BATCH + 2], TARGET[: BATCH + 2])


def case_a_loss_that_is_summed_over_rows():
    class Summing(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(self(x, training=True) - y))
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            with tf.GradientTape() as tape:
                each = tf.reduce_sum(tf.square(self(x, training=True) - y), axis=1)
            self.optimizer.apply(tape.gradient(each, self.trainable_variables), self.trainable_variables)
            return {"loss": loss, "average": loss / tf.cast(tf.shape(x)[0], loss.dtype)}

    model = Summing(net())
    model.compile(keras.optimizers.SGD(1e-3))
    return fitted(model)


class TokenAndPosition(layers.Layer):
    def __init__(self):
        super().__init__()
        self.token, self.position = layers.Embedding(20, 5), layers.Embedding(6, 5)

    def call(self, x):
        return self.token(x) + self.position(keras.ops.arange(6))


def case_a_position_embedding():
    model = keras.Sequential(
        [keras.Input((6,), dtype="int32"), TokenAndPosition(), layers.GlobalAveragePooling1D(), layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-2, epsilon=1e-3, clipnorm=0.1), "mse")
    return fitted(model, WORDS)


def case_a_loss_in_a_function_of_tensorflow_beside_validation():
    summed = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")

    @tf.function
    def loss(y, p):
        return summed(tf.cast(y, p.dtype)[:, None], p)

    model = keras.Sequential(net())
    model.compile(keras.optimizers.SGD(0.01), loss)
    return fitted(model, y=Y, validation_data=(X[:40], Y[:40]))


def root_of_mean(y, p):
    return tf.sqrt(tf.reduce_mean((y - p) ** 2))


def case_a_loss_that_is_a_root_of_a_mean():
    model = keras.Sequential(net())
    model.compile(keras.optimizers.SGD(0.1), root_of_mean)
    return fitted(model)


def case_a_loss_that_compares_rows():
    def contrast(y, p):
        unit = tf.math.l2_normalize(p, axis=1)
        return keras.losses.sparse_categorical_crossentropy(
            tf.range(tf.shape(p)[0]), tf.matmul(unit, unit, transpose_b=True) / 0.5, from_logits=True
        )

    model = keras.Sequential(net(outputs=4))
    model.compile(keras.optimizers.SGD(0.1), contrast)
    return fitted(model)


def case_dice_over_the_batch():
    model = keras.Sequential([*net(), layers.Activation("sigmoid")])
    model.compile("sgd", keras.losses.Dice())
    return fitted(model, y=Y.astype("float64")[:, None])


def case_circle():
    model = keras.Sequential([*net(outputs=4), layers.UnitNormalization()])
    model.compile("sgd", "circle")
    return fitted(model, y=Y)


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_max(tf.abs(y_true - y_pred)) + tf.reduce_mean(y_pred**2)


def case_a_class_of_loss():
    model = keras.Sequential(net())
    model.compile("sgd", OwnLoss())
    return fitted(model)


def case_a_loss_of_one_number_with_weights():
    model = keras.Sequential(net())
    model.compile("sgd", lambda y, p: tf.reduce_mean(tf.square(y - p)), weighted_metrics=["mae"])
    return fitted(model, sample_weight=np.linspace(0.1, 2.0, 70))


class Adding(layers.Layer):
    def call(self, x):
        self.add_loss(0.01 * tf.reduce_sum(tf.square(x)))
        self.add_loss(0.01 * tf.reduce_mean(tf.abs(x)))
        return x


def case_losses_that_layers_add():
    model = keras.Sequential(net(Adding()))
    model.compile("sgd", "mse")
    return fitted(model)


def r_squared(y, p):
    return 1.0 - tf.reduce_sum((y - p) ** 2) / tf.reduce_sum((y - tf.reduce_mean(y)) ** 2)


def total_error(y, p):
    return tf.reduce_sum(tf.abs(y - p))


def case_metrics_that_are_functions_of_the_batch():
    model = keras.Sequential(net())
    model.compile("sgd", "mse", metrics=[r_squared, root_of_mean, total_error])
    return fitted(model, validation_data=(X[:37], TARGET[:37]))


class Largest(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", name="value")
        self.updates = self.add_variable((), "zeros", name="updates")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(tf.maximum(self.value, tf.reduce_max(y_pred)))
        self.updates.assign_add(1.0)

    def result(self):
        return self.value + self.updates


def case_a_metric_whose_state_is_no_sum():
    model = keras.Sequential(net())
    model.compile("sgd", "mse", metrics=[Largest(), "mae"])
    return fitted(model, validation_data=(X[:37], TARGET[:37]))


def case_numbers_of_batches_in_metrics():
    class Counting(keras.Sequential):
        def __init__(self, *args):
            super().__init__(*args)
            kinds = [("total", keras.metrics.Sum), ("batches", keras.metrics.Sum), ("peak", keras.metrics.Mean)]
            self.kept = {name: kind(name) for name, kind in kinds} | {"rows": keras.metrics.Sum("rows")}

        def train_step(self, data):
            loss, gradients = gradients_of(self, data)
            self.optimizer.apply(gradients, self.trainable_variables)
            self.kept["total"].update_state(loss)
            self.kept["batches"].update_state(1.0)
            self.kept["peak"].update_state(tf.reduce_max(tf.abs(data[0])))
            self.kept["rows"].update_state(tf.shape(data[0])[0])
            return {metric.name: metric.result() for metric in self.kept.values()}

    model = Counting(net())
    model.compile("sgd", "mse")
    return fitted(model)


def case_logs_of_ones_own_beside_metrics():
    class Telling(keras.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            error = tf.abs(self(data[0]) - tf.cast(data[1], self.compute_dtype)[:, None])
            return {**logs, "lr": tf.constant(0.1), "worst": tf.reduce_max(error), "error": tf.reduce_sum(error)}

    model = Telling([*net(), layers.Activation("sigmoid")])
    metrics = [keras.metrics.AUC(name="auc"), keras.metrics.Precision(name="precision")]
    model.compile("sgd", "binary_crossentropy", metrics=metrics)
    return fitted(model, y=Y)


def case_trackers_under_other_names():
    class Telling(keras.Sequential):
        def __init__(self, *args):
            super().__init__(*args)
            self.tracker = keras.metrics.Mean(name="total_loss")

        def train_step(self, data):
            loss, gradients = gradients_of(self, data)
            self.optimizer.apply(gradients, self.trainable_variables)
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    model = Telling(net())
    model.compile("sgd", "mse")
    return fitted(model)


CASES = [value for name, value in list(globals().items()) if name.startswith("case_")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("case_"))
def test_ranks_do_what_one_process_does(case):
    expected = plain(in_float64(case))
    for ended in ranks(in_float64(case), 3):
        assert distance(expected, ended.result) < 1e-11


def test_noise_differs_between_ranks_and_what_is_drawn_once_for_a_batch_does_not():
    class Noise(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.of_rows, self.of_batch = (self.add_weight(shape=(), trainable=False) for _ in range(2))
            self.generator, self.stream = keras.random.SeedGenerator(3), tf.random.Generator.from_seed(4)

        def call(self, x):
            shape = tf.shape(x)
            drawn = tf.random.normal(shape) + keras.random.normal(shape, seed=self.generator)
            drawn += tf.random.stateless_uniform(shape, (1, 2)) + self.stream.uniform(shape)
            self.of_rows.assign(tf.reduce_sum(drawn[0]))
            self.of_batch.assign(tf.random.uniform([]) + tf.random.stateless_normal([], (3, 4)))
            return x + drawn

    def body():
        model = keras.Sequential([keras.Input((8,)), Noise(name="noise"), layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(X, TARGET, batch_size=BATCH, epochs=1, verbose=0)
        noise = model.get_layer("noise")
        drawn = float(noise.of_rows.numpy()), float(noise.of_batch.numpy())
        return {"drawn": hops.gather(drawn), **weights(model)}

    first, again = ranks(body), ranks(body)
    (mine, once), (theirs, once_too) = first[0].result["drawn"]
    assert mine != theirs
    assert once == once_too
    assert again[0].result["drawn"] == first[0].result["drawn"]
    assert np.array_equal(first[0].result["w2"], first[1].result["w2"])


def test_a_callback_of_fit_predicts_for_all_rows():
    class Predicts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.found = self.model.predict(X[:5], verbose=0)

    def body():
        model = keras.Sequential(net())
        model.compile("sgd", "mse")
        predicts = Predicts()
        return {**fitted(model, callbacks=[predicts]), "found": predicts.found}

    expected = plain(body)
    for ended in ranks(body):
        assert ended.result["found"].shape == (5, 1)
        assert distance(expected, ended.result) < 1e-5


def test_parts_of_other_lengths_are_refused_by_name():
    def body():
        def batches():
            for start in range(0, 64, 16):
                yield (X[start : start + 16], X[:6]), TARGET[start : start + 16]

        class Bank(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(4)

            def call(self, both):
                return tf.reduce_mean(tf.matmul(self.dense(both[0]), self.dense(both[1]), transpose_b=True), 1)

        spec = ((tf.TensorSpec((None, 8)), tf.TensorSpec((None, 8))), tf.TensorSpec((None, 1)))
        model = Bank()
        model.compile("sgd", "mse")
        model.fit(tf.data.Dataset.from_generator(batches, output_signature=spec), verbose=0)

    for ended in ranks(body, may_fail=True):
        last = ended.error.strip().splitlines()[-1]
        assert "UnsupportedError" in last
        assert "x[0] has 16, x[1] has 6, y has 16" in last
