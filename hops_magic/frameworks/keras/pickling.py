"""How Keras's objects travel between the notebook and the ranks. Keras is imported only when one does travel."""

from __future__ import annotations

import hashlib
import io
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hops_magic.errors import CaptureError

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]


def reducers() -> tuple[Reducer, ...]:
    """Return how models, optimizers and tensors are pickled."""
    return ((is_model, reduce_model), (_is_tensor, _reduce_tensor), (_is_keras_variable, _reduce_keras_variable))


def is_model(value: Any) -> bool:
    """Whether a value is a Keras model."""
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Model") and isinstance(value, keras.Model)


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.startswith("tensorflow.") and type(value).__name__ in ("EagerTensor", "ResourceVariable")


def _is_keras_variable(value: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Variable") and isinstance(value, keras.Variable)


def _reduce_tensor(value: Any) -> Any:
    return _tensor, (value.numpy(), type(value).__name__ == "ResourceVariable")


def _tensor(array: Any, is_variable: bool) -> Any:
    import tensorflow as tf

    return tf.Variable(array) if is_variable else tf.constant(array)


def _reduce_keras_variable(value: Any) -> Any:
    return _keras_variable, (np.asarray(value.numpy()), value.dtype, value.trainable, value.name)


def _keras_variable(array: Any, dtype: str, trainable: bool, name: str) -> Any:
    import keras

    return keras.Variable(array, dtype=dtype, trainable=trainable, name=name)


def reduce_model(model: Any) -> Any:
    """Pickle a model with its compile and optimizer state, and the user's classes and functions that it is made of."""
    from keras.src.saving import saving_lib

    file = io.BytesIO()
    try:
        saving_lib._save_model_to_fileobj(model, file, "h5")
    except (NotImplementedError, TypeError, ValueError) as error:
        raise CaptureError(
            f"the model {model.name!r} cannot be serialised: {str(error).splitlines()[0]}; "
            "give its class a get_config(), or make it inside the cell"
        ) from error
    return _model, (
        file.getvalue(),
        dict(custom_objects(model)),
        model.stop_training if hasattr(model, "stop_training") else False,
    )


def _model(data: bytes, custom: dict[str, Any], stop_training: bool) -> Any:
    from keras.src.saving import saving_lib

    model = saving_lib._load_model_from_fileobj(io.BytesIO(data), custom_objects=custom, compile=True, safe_mode=False)
    if stop_training:
        model.stop_training = stop_training
    return model


def custom_objects(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the classes and functions behind a model that Keras does not know by itself, by name."""
    from keras.src.saving.object_registration import get_registered_name

    for value in _parts(model):
        kind = value if isinstance(value, type | types.FunctionType) else type(value)
        module = getattr(kind, "__module__", "") or ""
        if module.split(".")[0] in ("keras", "builtins", "numpy", "tensorflow"):
            continue
        yield kind.__name__, kind
        registered = get_registered_name(kind)
        if registered != kind.__name__:
            yield registered, kind


def _parts(model: Any) -> Iterator[Any]:
    yield model
    for layer in model._flatten_layers(include_self=False, recursive=True):
        yield layer
        for value in vars(layer).values():
            if isinstance(value, types.FunctionType):
                yield value
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        yield optimizer
        yield getattr(optimizer, "_learning_rate", None)
    config = getattr(model, "_compile_config", None)
    yield from _leaves(getattr(config, "config", None), set())


def _leaves(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part, seen)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part, seen)
    elif isinstance(value, types.FunctionType | type) or hasattr(value, "get_config"):
        yield value


def fingerprint(value: Any) -> bytes | None:
    """Return a model's content: its weights and its optimizer's state; None for anything else."""
    if not is_model(value):
        return None
    found = hashlib.blake2b(digest_size=20)
    optimizer = getattr(value, "optimizer", None)
    for variable in [*value.variables, *(optimizer.variables if optimizer is not None else ())]:
        found.update(np.ascontiguousarray(variable.numpy()).tobytes())
    found.update(str(getattr(value, "compiled", False)).encode())
    return found.digest()


def update_in_place(original: Any, returned: Any) -> bool:
    """Make a model of the notebook what the one that came back is: weights, optimizer and its state."""
    if not (is_model(original) and is_model(returned)):
        return False
    if not original.built:
        config = returned.get_build_config()
        if config:
            original.build_from_config(config)
    shapes = [tuple(variable.shape) for variable in original.variables]
    if shapes != [tuple(variable.shape) for variable in returned.variables]:
        return False
    if returned.compiled:
        original.compile_from_config(returned.get_compile_config()) if not original.compiled else None
        _copy(returned.optimizer, original.optimizer, original)
    for mine, theirs in zip(original.variables, returned.variables, strict=True):
        mine.assign(theirs.numpy())
    return True


def _copy(source: Any, target: Any, model: Any) -> None:
    if source is None or target is None or not source.built:
        return
    if not target.built:
        target.build(model.trainable_variables)
    for mine, theirs in zip(target.variables, source.variables, strict=False):
        mine.assign(theirs.numpy())


def save_model(model: Any, path: Path) -> None:
    """Save a model to a ``.keras`` file; whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"draft-{path.name}")
    model.save(draft)
    draft.replace(path)


def load_model(path: Path) -> Any:
    """Load a model from a ``.keras`` file."""
    import keras

    return keras.saving.load_model(path, safe_mode=False)
