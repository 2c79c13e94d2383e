"""Keras's own global settings, which a notebook makes in one cell and relies on in the next: they travel with a program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def settings_here() -> dict[str, Any]:
    """Return the settings of this process, by name; none where Keras is not imported."""
    keras = sys.modules.get("keras")
    if keras is None or not hasattr(keras, "config"):
        return {}
    policy = keras.config.dtype_policy()
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": policy.name if type(policy).__module__.startswith("keras") else "",
    }


def apply_settings(settings: Mapping[str, Any]) -> None:
    """Make this process's settings those of the notebook."""
    import keras

    for name, value in settings.items():
        if name == "dtype_policy":
            # the default policy follows floatx by itself
            if value and value != settings.get("floatx"):
                keras.config.set_dtype_policy(value)
        else:
            getattr(keras.config, f"set_{name}")(value)
