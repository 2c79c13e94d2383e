"""Ranks train exactly as one process does: weights, optimizer state and history, over models, inputs and options."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

ROWS = 150
rng = np.random.default_rng(5)
X = rng.normal(size=(ROWS, 12)).astype("float32")
IMAGES = rng.normal(size=(ROWS, 8, 8, 1)).astype("float32")
WORDS = rng.integers(1, 40, size=(ROWS, 7))
WORDS[:, 4:][rng.random((ROWS, 3)) < 0.5] = 0
Y = (X[:, 0] * X[:, 1] + 0.3 * X[:, 2] > 0).astype("int32")
TARGET = (X @ rng.normal(size=(12, 1))).astype("float32")
WEIGHT = rng.random(ROWS).astype("float32") + 0.1


def mlp(outputs=2, activation=None, **kwargs):
    return keras.Sequential(
        [keras.Input((12,)), layers.Dense(16, activation="relu", **kwargs), layers.Dense(outputs, activation=activation)]
    )


def cnn():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def crossentropy(**kwargs):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **kwargs)


def fitted(model, *args, **kwargs):
    """Fit, and return all that must agree."""
    history = model.fit(*args, **kwargs)
    result = weights(model)
    return {**result, **{f"h.{name}": np.array(values) for name, values in history.history.items()}}


def case_mlp():
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    return fitted(model, X, Y, batch_size=30, epochs=5, verbose=0)


def case_cnn_sgd_momentum():
    model = cnn()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True), crossentropy(), metrics=["accuracy"])
    return fitted(model, IMAGES, Y, batch_size=30, epochs=4, verbose=0)


def case_batchnorm():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", crossentropy(), metrics=["accuracy"])
    return fitted(model, 3 + 2 * IMAGES, Y, batch_size=30, epochs=4, validation_data=(IMAGES[:40], Y[:40]), verbose=0)


def case_batchnorm_uneven():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)])
    model.compile("sgd", crossentropy())
    return fitted(model, X, Y, batch_size=29, epochs=4, verbose=0)


def case_uneven_batches_and_an_empty_shard():
    # 150 rows in batches of 37: the last batch has 2 rows, fewer than three ranks
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    return fitted(model, X, Y, batch_size=37, epochs=5, verbose=0)


def case_one_row_left():
    model = cnn()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    return fitted(model, IMAGES[:121], Y[:121], batch_size=30, epochs=4, verbose=0)


def case_a_rank_without_rows_counts_nothing():
    # 121 rows in batches of 30 leave one: batch moments, weighted denominators and thresholds must not see it twice
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    loss = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
    metrics = ["accuracy", keras.metrics.AUC(num_thresholds=20)]
    model.compile("adam", loss, metrics=metrics, weighted_metrics=[keras.metrics.Precision()])
    data = (IMAGES[:121], Y[:121].astype("float32")[:, None], WEIGHT[:121])
    return fitted(model, *data[:2], sample_weight=data[2], batch_size=30, epochs=4, validation_data=data, verbose=0)


def case_metric_objects_alone_where_a_rank_has_no_rows():
    # Keras tells nothing of metrics that were all given as objects before their first update
    model = mlp(1)
    model.compile("sgd", "mse", metrics=[keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score()])
    return fitted(model, X[:121], TARGET[:121], batch_size=30, epochs=1, verbose=0)


def case_a_rank_without_rows_visits_no_embedding():
    model = keras.Sequential(
        [layers.Embedding(40, 6, mask_zero=True), layers.LSTM(5, return_sequences=True), layers.Dense(3)]
    )
    model.compile("adam", crossentropy())
    return fitted(model, WORDS[:121], WORDS[:121] % 3, batch_size=30, epochs=4, verbose=0)


def case_embedding():
    model = keras.Sequential([layers.Embedding(40, 6), layers.GlobalAveragePooling1D(), layers.Dense(2)])
    model.compile("adam", crossentropy())
    return fitted(model, WORDS, Y, batch_size=30, epochs=4, verbose=0)


def case_masks_in_a_sequence_model():
    model = keras.Sequential(
        [layers.Embedding(40, 6, mask_zero=True), layers.LSTM(5, return_sequences=True), layers.Dense(3)]
    )
    model.compile("sgd", crossentropy())
    return fitted(model, WORDS, WORDS % 3, batch_size=25, epochs=3, verbose=0)


def case_two_inputs_two_outputs():
    a, b = keras.Input((12,), name="a"), keras.Input((8, 8, 1), name="b")
    joined = layers.Concatenate()([layers.Dense(6, activation="relu")(a), layers.Flatten()(b)])
    model = keras.Model(
        {"a": a, "b": b}, {"klass": layers.Dense(2, name="klass")(joined), "value": layers.Dense(1, name="value")(joined)}
    )
    model.compile(
        "adam",
        {"klass": crossentropy(), "value": "mse"},
        loss_weights={"klass": 1.0, "value": 0.3},
        metrics={"klass": "accuracy"},
    )
    return fitted(model, {"a": X, "b": IMAGES}, {"klass": Y, "value": TARGET}, batch_size=30, epochs=4, verbose=0)


def case_sample_weight():
    model = mlp()
    model.compile("adam", crossentropy(), weighted_metrics=["accuracy"])
    return fitted(model, X, Y, sample_weight=WEIGHT, batch_size=28, epochs=4, verbose=0)


def case_class_weight():
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    return fitted(model, X, Y, class_weight={0: 1.0, 1: 3.0}, batch_size=28, epochs=4, verbose=0)


def case_sum_reduction():
    model = mlp(1)
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.MeanSquaredError(reduction="sum"))
    return fitted(model, X, TARGET, batch_size=28, epochs=4, verbose=0)


def case_mean_with_sample_weight():
    model = mlp(1)
    model.compile("adam", keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"))
    return fitted(model, X, TARGET, sample_weight=WEIGHT, batch_size=28, epochs=4, verbose=0)


def case_plain_function_as_loss():
    def loss(y, p):
        return tf.reduce_mean(tf.abs(y - p), axis=-1)

    model = mlp(1)
    model.compile("adam", loss)
    return fitted(model, X, TARGET, batch_size=28, epochs=4, verbose=0)


def case_regularizers_and_add_loss():
    class Shy(layers.Layer):
        def call(self, x):
            self.add_loss(0.01 * tf.reduce_mean(tf.square(x)))
            return x

    model = keras.Sequential(
        [keras.Input((12,)), layers.Dense(16, activation="relu", kernel_regularizer="l2"), Shy(), layers.Dense(2)]
    )
    model.compile("adam", crossentropy())
    return fitted(model, X, Y, batch_size=28, epochs=4, verbose=0)


def case_validation_split_and_metrics():
    model = mlp(1, "sigmoid")
    model.compile(
        "adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(num_thresholds=50), keras.metrics.Precision()]
    )
    return fitted(model, X, Y.astype("float32")[:, None], batch_size=30, epochs=5, validation_split=0.2, verbose=0)


def case_adamw_clipnorm_schedule():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.7)
    model = mlp()
    model.compile(keras.optimizers.AdamW(schedule, global_clipnorm=0.2), crossentropy())
    return fitted(model, X, Y, batch_size=28, epochs=5, verbose=0)


def case_clipnorm_each():
    model = mlp()
    model.compile(keras.optimizers.SGD(0.1, clipnorm=0.05), crossentropy())
    return fitted(model, X, Y, batch_size=28, epochs=4, verbose=0)


def case_gradient_accumulation():
    model = mlp()
    model.compile(keras.optimizers.Adam(0.01, gradient_accumulation_steps=3), crossentropy())
    return fitted(model, X, Y, batch_size=28, epochs=4, verbose=0)


def case_ema():
    model = mlp()
    model.compile(keras.optimizers.SGD(0.05, use_ema=True), crossentropy())
    return fitted(model, X, Y, batch_size=30, epochs=4, verbose=0)


def case_tf_data():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(64, seed=3).batch(28)
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    return fitted(model, data, epochs=4, verbose=0)


def case_endless_tf_data():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).repeat().batch(28)
    model = mlp()
    model.compile("adam", crossentropy())
    return fitted(model, data, epochs=4, steps_per_epoch=6, verbose=0)


def case_generator():
    def batches():
        while True:
            for start in range(0, ROWS, 28):
                yield X[start : start + 28], Y[start : start + 28]

    model = mlp()
    model.compile("adam", crossentropy())
    return fitted(model, batches(), epochs=4, steps_per_epoch=6, verbose=0)


def case_py_dataset():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return X[index * 28 : (index + 1) * 28], Y[index * 28 : (index + 1) * 28]

    model = mlp()
    model.compile("adam", crossentropy())
    return fitted(model, Batches(), epochs=4, shuffle=False, verbose=0)


def case_callbacks():
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.3),
        keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.9),
    ]
    return fitted(model, X, Y, batch_size=30, epochs=12, validation_split=0.3, callbacks=callbacks, verbose=0)


def case_steps_per_execution():
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"], steps_per_execution=2)
    return fitted(model, X, Y, batch_size=30, epochs=4, verbose=0)


def case_custom_train_step():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = layers.Dense(8, activation="relu"), layers.Dense(2)
            self.tracker = keras.metrics.Mean(name="loss")

        def call(self, x):
            return self.outer(self.inner(x))

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

        @property
        def metrics(self):
            return [self.tracker]

    model = Model()
    model.compile("adam", crossentropy())
    return fitted(model, X, Y, batch_size=30, epochs=4, verbose=0)


def case_evaluate_and_predict():
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    model.fit(X, Y, batch_size=30, epochs=4, verbose=0)
    scores = model.evaluate(X, Y, batch_size=37, verbose=0, return_dict=True)
    return {
        **weights(model),
        **{k: np.array(v) for k, v in scores.items()},
        "predicted": model.predict(X, batch_size=37, verbose=0),
    }


def case_train_on_batch():
    model = mlp()
    model.compile("adam", crossentropy(), metrics=["accuracy"])
    logs = [model.train_on_batch(X[i * 7 : i * 7 + 15], Y[i * 7 : i * 7 + 15]) for i in range(20)]
    tested = model.test_on_batch(X[:31], Y[:31])
    return {**weights(model), "logs": np.array(logs), "tested": np.array(tested)}


def case_custom_loop_with_tape():
    import hops_magic as hops

    model = mlp()
    optimizer = keras.optimizers.Adam(0.01)
    loss_of = crossentropy()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    for start in range(0, 140, 28):
        for _ in range(4):
            step(tf.constant(hops.shard(X[start : start + 28])), tf.constant(hops.shard(Y[start : start + 28])))
    return {f"w{i}": w for i, w in enumerate(model.get_weights())}


def case_custom_loop_with_strategy(strategy=None):
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = keras.Sequential(
            [keras.Input((12,)), layers.Dense(16, use_bias=False), layers.BatchNormalization(), layers.Dense(2)]
        )
        optimizer = keras.optimizers.Adam(0.01, global_clipnorm=0.5)
    loss_of = crossentropy(reduction="none")
    # 123 rows in batches of 30: the last has 3, unequal parts for two ranks
    data = tf.data.Dataset.from_tensor_slices((X[:123], Y[:123])).batch(30)
    parts = strategy.experimental_distribute_dataset(data)

    def replica_step(x, y, rows):
        with tf.GradientTape() as tape:
            losses = loss_of(y, model(x, training=True))
            loss = tf.nn.compute_average_loss(losses, global_batch_size=rows)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    @tf.function
    def step(x, y):
        rows = strategy.reduce(tf.distribute.ReduceOp.SUM, tf.shape(y)[0], axis=None)
        return strategy.reduce("SUM", strategy.run(replica_step, args=(x, y, rows)), axis=None)

    losses = [float(step(x, y)) for _ in range(4) for x, y in parts]
    average = strategy.run(lambda: tf.nn.compute_average_loss(tf.ones([4])))
    return {
        **{f"w{i}": w for i, w in enumerate(model.get_weights())},
        "losses": np.array(losses),
        "mean": np.array([float(strategy.reduce("MEAN", x, axis=None)[0, 0]) for x in [tf.ones([2, 2])]]),
        "average": np.array(float(strategy.reduce("SUM", average, axis=None))),
    }


def mixed(policy):
    def case():
        keras.mixed_precision.set_global_policy(policy)
        model = keras.Sequential(
            [
                keras.Input((12,)),
                layers.Dense(16, activation="relu"),
                layers.Dense(2),
                layers.Activation("linear", dtype="float32"),
            ]
        )
        model.compile("adam", crossentropy())
        return fitted(model, X, Y, batch_size=30, epochs=5, verbose=0)

    return case


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_within_its_own_rounding(policy):
    expected = plain(mixed(policy))
    for ended in ranks(mixed(policy), 2):
        weights_only = {name: value for name, value in expected.items() if name[0] == "w"}
        assert distance(weights_only, {name: ended.result[name] for name in weights_only}) < 0.05
        assert ended.result["h.loss"][-1] == pytest.approx(expected["h.loss"][-1], rel=0.02)


def test_variance_is_found_far_from_zero():
    # as raw features are, before any scaling: a difference of squares would leave nothing of it
    def case():
        model = keras.Sequential([keras.Input((12,)), layers.BatchNormalization(), layers.Dense(2)])
        model.compile("sgd", crossentropy())
        return fitted(model, 1024 + X, Y, batch_size=30, epochs=4, verbose=0)

    expected = plain(case)
    for ended in ranks(case, 2):
        # the numbers themselves have three digits after the point
        assert distance(expected, ended.result) < 1e-3


CASES = [value for name, value in list(globals().items()) if name.startswith("case_")]
# in 64 bits what remains is arithmetic done in another order: no mistake can hide in it. Three ranks share no batch evenly
EXACT = {
    "case_batchnorm",
    "case_batchnorm_uneven",
    "case_uneven_batches_and_an_empty_shard",
    "case_one_row_left",
    "case_a_rank_without_rows_counts_nothing",
    "case_a_rank_without_rows_visits_no_embedding",
    "case_sum_reduction",
    "case_mean_with_sample_weight",
    "case_masks_in_a_sequence_model",
    "case_sample_weight",
    "case_gradient_accumulation",
    "case_evaluate_and_predict",
    "case_custom_loop_with_strategy",
}


def in_64_bits(case):
    def body(strategy=None):
        keras.config.set_floatx("float64")
        return case(strategy) if case.__code__.co_argcount else case()

    return body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.removeprefix("case_"))
def test_ranks_equal_one_process(case):
    expected = plain(case)
    for world in (2, 3) if case.__name__ in EXACT else (2,):
        for ended in ranks(case, world):
            assert distance(expected, ended.result) < 1e-5, (case.__name__, world)


@pytest.mark.parametrize("case", [case for case in CASES if case.__name__ in EXACT], ids=lambda case: case.__name__[5:])
def test_three_ranks_equal_one_process_exactly(case):
    expected = plain(in_64_bits(case))
    for ended in ranks(in_64_bits(case), 3):
        assert distance(expected, ended.result) < 1e-12
