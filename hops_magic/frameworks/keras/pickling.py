"""How Keras's objects travel between the notebook and the ranks. Keras is imported only when one does travel."""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import secrets
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hops_magic.errors import CaptureError
from hops_magic.frameworks.keras.custom_code import (
    custom_objects,
    forgiving,
    is_of_keras,
    is_registered_here,
    layers_of,
    make_known,
    reduce_registered,
)

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]

_HERE = secrets.token_hex(8)
"""With the process's number tells its variables from those of others, which may be forks of it."""
_SHARING = "_hops_sharing"
"""Attribute of variables that came here: all that share one value, themselves included."""
_arrived: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""Variables that came here, by the name that they had where they came from."""


def reducers() -> tuple[Reducer, ...]:
    """Return how models, their parts and tensors are pickled."""
    return (
        (is_saveable, reduce_saveable),
        (_is_tensor, _reduce_tensor),
        (_is_keras_variable, _reduce_keras_variable),
        (_is_symbolic, _refuse_symbolic),
        (is_registered_here, reduce_registered),
    )


def is_model(value: Any) -> bool:
    """Whether a value is a Keras model."""
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Model") and isinstance(value, keras.Model)


def is_saveable(value: Any) -> bool:
    """Whether a value is a model, layer, optimizer, loss or metric of Keras, or a user's own."""
    module = sys.modules.get("keras.src.saving.keras_saveable")
    return module is not None and isinstance(value, module.KerasSaveable)


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.startswith("tensorflow.") and type(value).__name__ in ("EagerTensor", "ResourceVariable")


def _is_keras_variable(value: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Variable") and isinstance(value, keras.Variable)


def _is_symbolic(value: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "KerasTensor") and isinstance(value, keras.KerasTensor)


def _refuse_symbolic(value: Any) -> Any:
    raise CaptureError(f"{value.name!r} is a symbolic tensor, a place in a model: make the model of it in the same cell")


def _reduce_tensor(value: Any) -> Any:
    return _tensor, (value.numpy(), type(value).__name__ == "ResourceVariable")


def _tensor(array: Any, is_variable: bool) -> Any:
    import tensorflow as tf

    return tf.Variable(array) if is_variable else tf.constant(array)


def _reduce_keras_variable(value: Any) -> Any:
    return _keras_variable, (np.asarray(value.numpy()), value.dtype, value.trainable, value.name, _name_of(value))


def _keras_variable(array: Any, dtype: str, trainable: bool, name: str, shared: str) -> Any:
    import keras

    variable = keras.Variable(array, dtype=dtype, trainable=trainable, name=name)
    _share([variable], [shared])
    return variable


def _name_of(variable: Any) -> str:
    """Name a variable's value, which models and layers may share."""
    return f"{_HERE}-{os.getpid()}-{id(getattr(variable, '_value', variable))}"


def reduce_saveable(value: Any) -> Any:
    """Pickle a model, with its compile and optimizer state, or a part of one, and the user's code that it is made of."""
    from keras.src.saving import saving_lib

    file, arguments = io.BytesIO(), None
    try:
        saving_lib._save_model_to_fileobj(value, file, "h5")
    except (NotImplementedError, TypeError, ValueError) as error:
        arguments = _arguments(value)
        if arguments is None:
            raise CaptureError(
                f"the {'model' if is_model(value) else type(value).__name__} {value.name!r} cannot be serialised: "
                "its constructor's arguments are not known; give its class a get_config(), or make it inside the cell"
            ) from error
    variables = _variables(value)
    state = {
        "data": file.getvalue() if arguments is None else (type(value), arguments, _build_config(value)),
        "custom": dict(custom_objects(value)),
        "stop_training": getattr(value, "stop_training", False),
        "trainable": [layer.trainable for layer in layers_of(value)],
        "functions": _functions(value),
        "names": [_name_of(variable) for variable in variables],
        "values": [variable.numpy() for variable in variables],
        "compiled": _compiled(value),
    }
    return _saveable, (state,)


def _saveable(state: dict[str, Any]) -> Any:
    custom = state["custom"]
    make_known(custom)
    with forgiving(custom), warnings.catch_warnings():
        # Keras warns of layers that are built when they are called first, which is made good below
        warnings.simplefilter("ignore")
        value = _rebuilt(state["data"], custom)
    _set_functions(value, state["functions"])
    _set_trainable(value, state["trainable"])
    _set_values(value, state["values"])
    _share(_variables(value), state["names"])
    if state["compiled"] is not None:
        _compile(value, *state["compiled"])
    if state["stop_training"]:
        value.stop_training = True
    return value


def _rebuilt(data: Any, custom: dict[str, Any]) -> Any:
    from keras.src.saving import saving_lib

    if isinstance(data, bytes):
        return saving_lib._load_model_from_fileobj(io.BytesIO(data), custom_objects=custom, compile=False, safe_mode=False)
    kind, arguments, build_config = data
    value = kind(**arguments)
    if build_config and not value.built:
        value.build_from_config(build_config)
    return value


def _arguments(value: Any) -> dict[str, Any] | None:
    """The arguments a value was made with, where its constructor keeps each under its own name; None if it does not."""
    found = {}
    for name, parameter in inspect.signature(type(value)).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        kept = name if name in vars(value) else f"_{name}"
        if kept in vars(value) and parameter.kind is not parameter.POSITIONAL_ONLY:
            found[name] = plain(vars(value)[kept])
        elif parameter.default is parameter.empty:
            return None
    return found


def plain(value: Any) -> Any:
    """Keras keeps lists and dictionaries in kinds of its own, bound to the layer."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def _build_config(value: Any) -> Any:
    has_one = getattr(value, "built", False) and hasattr(value, "get_build_config")
    return plain(value.get_build_config()) if has_one else None


def _functions(value: Any) -> dict[tuple[int, str], Any]:
    """The functions of the user's own that layers hold, of a Lambda say: Keras would take them out of their namespace."""
    return {
        (place, name): part
        for place, layer in enumerate(layers_of(value))
        for name, part in vars(layer).items()
        if isinstance(part, types.FunctionType) and not is_of_keras(part)
    }


def _set_functions(value: Any, functions: Mapping[tuple[int, str], Any]) -> None:
    layers = layers_of(value)
    for (place, name), function in functions.items():
        if place < len(layers) and hasattr(layers[place], name):
            object.__setattr__(layers[place], name, function)


def _set_values(value: Any, values: list[Any]) -> None:
    if hasattr(value, "_build") and len(_variables(value)) < len(values):
        _build_metric(value, values)
    variables = _variables(value)
    if [tuple(variable.shape) for variable in variables] != [tuple(array.shape) for array in values]:
        if isinstance(value, _optimizer_type()):
            _set_when_built(value, values)
            return
        raise CaptureError(
            f"{getattr(value, 'name', value)!r} cannot be rebuilt with its {len(values)} weights: "
            "give its class a build() that makes them, or a get_config()"
        )
    for variable, array in zip(variables, values, strict=True):
        variable.assign(array)


def _build_metric(metric: Any, values: list[Any]) -> None:
    """Make the weights of a metric that waits for its first batch to know the number of outputs, such as F1Score."""
    outputs = max((array.shape[-1] for array in values if array.ndim), default=1)
    build = metric._build
    build(*[(None, outputs)] * len(inspect.signature(build).parameters))


def _set_when_built(optimizer: Any, values: list[Any]) -> None:
    """Give an optimizer its state as soon as it learns of the variables that it is for: in a loop of the user's own."""
    build = optimizer.build

    def build_with_state(variables: Any) -> None:
        import tensorflow as tf

        del optimizer.build
        build(variables)
        if [tuple(variable.shape) for variable in optimizer.variables] == [tuple(array.shape) for array in values]:
            with tf.init_scope():  # once, not at each step of the graph in which this may be traced
                for variable, array in zip(optimizer.variables, values, strict=True):
                    variable.assign(array)

    object.__setattr__(optimizer, "build", build_with_state)


def _optimizer_type() -> Any:
    import keras

    return keras.optimizers.Optimizer


def _compiled(value: Any) -> Any:
    """What a model was compiled with, its optimizer, and the optimizer's state."""
    config = getattr(getattr(value, "_compile_config", None), "config", None)
    if not is_model(value) or not value.compiled or config is None:
        return None
    optimizer = value.optimizer
    state = [variable.numpy() for variable in optimizer.variables] if optimizer is not None and optimizer.built else []
    return plain(dict(config)), optimizer, state


def _compile(model: Any, config: dict[str, Any], optimizer: Any, state: list[Any]) -> None:
    import keras

    if type(model).compile is not keras.Model.compile:
        return  # its own compile() takes what we do not know: as with Keras, it is to be called again
    model.compile(**{**config, "optimizer": optimizer})
    optimizer = model.optimizer
    if state and optimizer is not None:
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        for variable, array in zip(optimizer.variables, state, strict=False):
            variable.assign(array)


def _variables(value: Any) -> list[Any]:
    return list(getattr(value, "variables", ()))


def _set_trainable(value: Any, flags: list[bool]) -> None:
    """Freeze what was frozen: Keras forgets it of the layers inside a subclassed model."""
    layers = layers_of(value)
    if len(layers) != len(flags) or [layer.trainable for layer in layers] == flags:
        return
    # from the outside in, for a layer hands its flag on to those inside it
    for layer, flag in zip(layers, flags, strict=True):
        layer.trainable = flag


def _share(variables: list[Any], names: list[str]) -> None:
    """Let models that shared layers, an autoencoder and its encoder say, share their weights again."""
    if len(variables) != len(names):
        return
    for variable, name in zip(variables, names, strict=True):
        first = _arrived.setdefault(name, variable)
        if first.shape == variable.shape and first.dtype == variable.dtype:
            variable._value = first._value
            sharing = first.__dict__.setdefault(_SHARING, [])
            sharing.append(weakref.ref(variable))
            setattr(variable, _SHARING, sharing)


def _share_on(returned: Any, original: Any) -> None:
    """Let what came with a returned variable, in a layer that the cell took out of its model, share the notebook's own."""
    for reference in getattr(returned, _SHARING, ()):
        if (variable := reference()) is not None and variable is not original:
            variable._value = original._value


def fingerprint(value: Any) -> bytes | None:
    """Return the content of a model or of a part of one: weights, an optimizer's state; None for anything else."""
    if not is_saveable(value):
        return None
    found = hashlib.blake2b(digest_size=20)
    optimizer = getattr(value, "optimizer", None)
    for variable in [*_variables(value), *(optimizer.variables if optimizer is not None else ())]:
        found.update(np.ascontiguousarray(variable.numpy()).tobytes())
    found.update(str(getattr(value, "compiled", False)).encode())
    found.update(str([layer.trainable for layer in layers_of(value)]).encode())
    return found.digest()


def update_in_place(original: Any, returned: Any) -> bool:
    """Make a model or layer of the notebook what the one that came back is: weights, optimizer and its state."""
    if not (is_saveable(original) and type(original).__name__ == type(returned).__name__ and hasattr(original, "built")):
        return False
    if not original.built and hasattr(returned, "get_build_config"):
        config = returned.get_build_config()
        if config:
            original.build_from_config(config)
    shapes = [tuple(variable.shape) for variable in original.variables]
    if shapes != [tuple(variable.shape) for variable in returned.variables]:
        return False
    if getattr(returned, "compiled", False):
        original.compile_from_config(returned.get_compile_config()) if not original.compiled else None
        _copy(returned.optimizer, original.optimizer, original)
    for mine, theirs in zip(original.variables, returned.variables, strict=True):
        mine.assign(theirs.numpy())
        _share_on(theirs, mine)
    _set_trainable(original, [layer.trainable for layer in layers_of(returned)])
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
    try:
        model.save(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # of a full disk


def load_model(path: Path) -> Any:
    """Load a model from a ``.keras`` file."""
    import keras

    return keras.saving.load_model(path, safe_mode=False)
