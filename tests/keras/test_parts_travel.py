"""Parts that travel without their model: an optimizer keeps what it has learnt."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain

from hops_magic.cells.travel import dumps, loads
from hops_magic.frameworks import reducers
from hops_magic.frameworks.keras.pickling import update_in_place


def there_and_back(value):
    pickled = dumps(value, {}, reducers())
    return loads(pickled.stream, {}, pickled.buffers)


X = np.random.default_rng(3).normal(size=(40, 6)).astype("float32")


@pytest.mark.parametrize("in_graph", [True, False], ids=["graph", "eager"])
def test_an_optimizer_that_travels_alone_goes_on_where_it_was(in_graph):
    def body(travels):
        model = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.Dense(1)])
        optimizer = keras.optimizers.Adam(0.05)

        def trained(optimizer, steps):
            def step(x):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(model(x) - 1.0))
                optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

            step = tf.function(step) if in_graph else step
            for _ in range(steps):
                step(tf.constant(X))

        trained(optimizer, 3)
        other = keras.optimizers.Adam(0.05)
        if travels:
            other = there_and_back(optimizer)
        else:
            other.build(model.trainable_variables)
            for mine, theirs in zip(other.variables, optimizer.variables, strict=True):
                mine.assign(theirs)
        trained(other, 4)
        state = [*model.get_weights(), *(variable.numpy() for variable in other.variables)]
        return {str(place): np.array(value) for place, value in enumerate(state)}

    assert distance(plain(lambda: body(False)), plain(lambda: body(True))) == 0.0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("F1Score", {"average": "macro"}),
        ("FBetaScore", {"average": "micro"}),
        ("R2Score", {}),
        ("AUC", {"multi_label": True}),
    ],
)
def test_a_metric_that_waits_for_a_batch_to_make_its_weights_travels_with_them(kind, options):
    def body():
        metric = getattr(keras.metrics, kind)(**options)
        assert there_and_back(metric).name == metric.name
        truth, said = np.eye(3, dtype="float32")[[0, 1, 2, 1]], np.eye(3, dtype="float32")[[0, 1, 1, 2]] * 0.9
        metric.update_state(truth, said)
        again = there_and_back(metric)
        results = [np.array(each.result()) for each in (metric, again)]
        for each in (metric, again):
            each.update_state(truth[::-1], said)
            results.append(np.array(each.result()))
        return {str(place): result for place, result in enumerate(results)}

    found = plain(body)
    np.testing.assert_array_equal(found["0"], found["1"])
    np.testing.assert_array_equal(found["2"], found["3"])


def test_a_class_registered_under_a_package_keeps_its_name_where_it_arrives():
    def body():
        from keras.src.saving import object_registration as registry

        space = {"__module__": "__main__", "call": lambda self, x: x * 2.0}
        kind = keras.saving.register_keras_serializable("mine")(type("Scale", (layers.Layer,), space))
        pickled = dumps(kind, {}, reducers())
        registry.GLOBAL_CUSTOM_OBJECTS.clear()
        registry.GLOBAL_CUSTOM_NAMES.clear()
        arrived = loads(pickled.stream, {}, pickled.buffers)
        known = registry.get_registered_object("mine>Scale") is arrived
        return {"known": np.array(known and registry.get_registered_name(arrived) == "mine>Scale")}

    assert plain(body)["known"]


@pytest.mark.parametrize("first", ["model", "part"])
@pytest.mark.parametrize("part", ["layer", "weight"])
def test_a_part_that_a_cell_took_out_of_a_model_shares_weights_with_the_notebooks_own(first, part):
    def body():
        model = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.Dense(1)])
        kernel = model.layers[0].kernel
        taken = kernel if part == "weight" else model.layers[0]
        if first == "model":
            returned, taken = there_and_back(model), there_and_back(taken)
        else:
            taken, returned = there_and_back(taken), there_and_back(model)
        assert update_in_place(model, returned)
        kernel.assign(kernel * 0.0 + 5.0)
        return {"here": np.array(kernel), "taken": np.array(taken if part == "weight" else taken.kernel)}

    found = plain(body)
    np.testing.assert_array_equal(found["taken"], found["here"])
