"""What fit and compile were given is told once for each fit, as the user would write it."""

import keras
import numpy as np
from keras import layers
from parity import ranks

from hops_magic.runs.events import Parameters

X = np.ones((40, 4), "float32")


def fitted():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0), keras.losses.Huber())
    model.fit(X, X[:, :1], epochs=2, batch_size=8, validation_split=0.2, verbose=0)
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.96)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    model.fit(X, X[:, :1], shuffle=False, verbose=0)
    return {}


def test_fits_say_their_parameters():
    chief, other = ranks(fitted)
    said = [event for event in chief.events if isinstance(event, Parameters)]
    assert [event.series for event in said] == [1, 2]
    first, second = (dict(event.values) for event in said)
    adam = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "clipnorm": 1.0}
    assert first == {
        "epochs": 2,
        "validation_split": 0.2,
        "batch_size": 8,
        "loss": "Huber",
        "optimizer": "Adam",
        **{f"optimizer.{name}": value for name, value in adam.items()},
        "model.weights": 5,
    }
    assert second["loss"] == "mse"
    assert second["shuffle"] == "False"
    assert second["optimizer.learning_rate"] == "ExponentialDecay"
    assert second["optimizer.learning_rate.initial_learning_rate"] == 0.1
    assert not [event for event in other.events if isinstance(event, Parameters)]
