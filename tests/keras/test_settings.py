"""What a notebook has set in Keras holds on its ranks."""

import keras
from parity import plain, ranks

from hops_magic.frameworks import settings_of_notebook


def test_global_settings_of_keras_are_those_of_the_notebook():
    def notebook():
        keras.config.set_floatx("float64")
        keras.config.set_epsilon(1e-4)
        keras.config.set_image_data_format("channels_first")
        keras.config.set_dtype_policy("mixed_bfloat16")
        return {"settings": settings_of_notebook()}

    def cell():
        dense = keras.layers.Dense(1)
        return {
            "floatx": keras.config.floatx(),
            "epsilon": keras.config.epsilon(),
            "format": keras.config.image_data_format(),
            "computes": dense.compute_dtype,
        }

    settings = plain(notebook)["settings"]
    for ended in ranks(cell, settings=settings):
        assert ended.result == {
            "floatx": "float64",
            "epsilon": 1e-4,
            "format": "channels_first",
            "computes": "bfloat16",
        }


def test_float64_alone_makes_layers_of_that_type():
    def notebook():
        keras.config.set_floatx("float64")
        return {"settings": settings_of_notebook()}

    settings = plain(notebook)["settings"]
    for ended in ranks(lambda: {"computes": keras.layers.Dense(1).compute_dtype}, settings=settings):
        assert ended.result == {"computes": "float64"}
