"""Keras 2 on several ranks: refused before anything is trained; one rank trains as ever."""

import numpy as np
import pytest
import tensorflow as tf
from parity import ranks

pytest.importorskip("tf_keras")
X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


def legacy_model():
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def body_fit():
    model = legacy_model()
    before = model.get_weights()
    history = model.fit(X, X[:, :1], epochs=1, verbose=0).history
    return {"moved": any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True)), **history}


def body_on_batch():
    legacy_model().train_on_batch(X, X[:, :1])


def body_own_loop():
    import tf_keras

    variable = tf.Variable([1.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(variable**2)
    tf_keras.optimizers.Adam().apply_gradients([(tape.gradient(loss, variable), variable)])


def body_own_loop_with_an_old_optimizer():
    import tf_keras

    variable = tf.Variable([1.0])
    tf_keras.optimizers.legacy.SGD().minimize(lambda: tf.reduce_sum(variable**2), [variable])


@pytest.mark.parametrize("body", [body_fit, body_on_batch, body_own_loop, body_own_loop_with_an_old_optimizer])
def test_several_ranks_refuse(body):
    for ended in ranks(body, 2, may_fail=True):
        assert "UnsupportedError" in ended.error
        assert "of tf_keras (Keras 2), which several ranks cannot train together" in ended.error


def test_several_ranks_predict_and_evaluate():
    def body():
        model = legacy_model()
        return {"shape": model.predict(X, verbose=0).shape, "loss": model.evaluate(X, X[:, :1], verbose=0) >= 0}

    assert all(ended.result == {"shape": (32, 1), "loss": True} for ended in ranks(body, 2))


def test_one_rank_trains():
    (ended,) = ranks(body_fit, 1)
    assert ended.result["moved"]
    assert len(ended.result["loss"]) == 1
