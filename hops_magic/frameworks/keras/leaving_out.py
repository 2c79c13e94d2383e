"""Leave layers of a Keras model out by name: where the model calls one, it gets the layer's input back."""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.ablating import Ablation
from hops_magic.frameworks.patches import Patches


def install(patches: Patches, ablation: Ablation) -> None:
    """Make layers of the ablation's components answer with their input, if their component is left out."""
    import keras

    def make(original: Any) -> Any:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            component = None if isinstance(layer, keras.Model) else ablation.layer_of(layer.name)
            if component is None or ablation.is_on(component) or not args:
                return original(layer, *args, **kwargs)
            return args[0]

        return call

    patches.wrap(keras.layers.Layer, "__call__", make)
