"""The user's own classes and functions inside models: found where a model leaves, made known where it arrives."""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from cloudpickle import cloudpickle

# what Keras adds to the arguments of a layer's or a model's constructor
_ADDED_ARGUMENTS = frozenset({"name", "trainable", "dtype"})


def custom_objects(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the classes and functions behind a model or a part of one that Keras does not know by itself, by name."""
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


def has_own_parts(model: Any) -> bool:
    """Whether anything that a model's step runs is not Keras's own, or is used in a way that joins rows."""
    if any(True for _ in custom_objects(model)):
        return True
    layers = layers_of(model)
    if any(not hasattr(operation, "compute_dtype") for operation in getattr(model, "operations", ())):
        return True  # operations on tensors between the layers of a functional model
    return any(type(layer).__name__ in ("Lambda", "TFSMLayer") or getattr(layer, "axis", None) == 0 for layer in layers)


def _parts(value: Any) -> Iterator[Any]:
    yield value
    for layer in layers_of(value) or [value]:
        yield layer
        for part in vars(layer).values():
            yield from _leaves(part, set())
    optimizer = getattr(value, "optimizer", None)
    for part in (value, optimizer) if optimizer is not None else (value,):
        yield part
        yield getattr(part, "_learning_rate", None)
    config = getattr(value, "_compile_config", None)
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
    elif isinstance(value, types.FunctionType):
        if not is_of_keras(value):
            yield value
    elif isinstance(value, type) or hasattr(value, "get_config"):
        yield value


def layers_of(value: Any) -> list[Any]:
    """Return a model's layers, those inside others too; none for what has none."""
    return list(value._flatten_layers()) if hasattr(value, "_flatten_layers") else []


def is_of_keras(function: types.FunctionType) -> bool:
    """Whether a function of a layer is not the user's own."""
    # Keras wraps a layer's methods in functions of its own, which bear the methods' names, and we wrap its steps
    return str(function.__globals__.get("__name__")).split(".")[0] in ("keras", "tensorflow", "hops_magic")


def make_known(custom: Mapping[str, Any]) -> None:
    """Let constructors find the classes of the notebook that they name, which arrive together with the model."""
    kinds = [kind for kind in custom.values() if isinstance(kind, type)]
    for home in (part.__globals__ for kind in kinds for part in vars(kind).values() if isinstance(part, types.FunctionType)):
        for kind in kinds:
            home.setdefault(kind.__name__, kind)


@contextlib.contextmanager
def forgiving(custom: Mapping[str, Any]) -> Iterator[None]:
    """Let classes be rebuilt whose constructors do not take what Keras adds to their arguments."""
    import keras

    kinds = {kind for kind in custom.values() if isinstance(kind, type) and issubclass(kind, keras.layers.Layer)}
    changed: list[Any] = [kind for kind in kinds if "from_config" not in vars(kind) and not _takes_any(kind)]
    for kind in changed:
        kind.from_config = classmethod(_from_config)
    try:
        yield
    finally:
        for kind in changed:
            del kind.from_config


def _takes_any(kind: type) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(kind).parameters.values())


def _from_config(kind: Any, /, config: dict[str, Any], **others: Any) -> Any:
    taken = inspect.signature(kind).parameters
    left_out = {key: config[key] for key in _ADDED_ARGUMENTS & set(config) if key not in taken}
    config = {key: value for key, value in config.items() if key not in left_out}
    made = super(kind, kind).from_config(config, **others)
    if "trainable" in left_out:
        made.trainable = left_out["trainable"]
    return made


def is_registered_here(value: Any) -> bool:
    """Whether a value is a class of the notebook that is registered with Keras, under a package of the user's say."""
    registry = sys.modules.get("keras.src.saving.object_registration")
    if registry is None or not isinstance(value, type) or value not in registry.GLOBAL_CUSTOM_NAMES:
        return False
    return not cloudpickle._should_pickle_by_reference(value)


def reduce_registered(kind: type) -> Any:
    """Pickle a class together with the name under which files call it."""
    from keras.src.saving.object_registration import GLOBAL_CUSTOM_NAMES

    make, arguments, state, *_ = cloudpickle._dynamic_class_reduce(kind)
    return make, arguments, (GLOBAL_CUSTOM_NAMES[kind], state), None, None, _set_registered


def _set_registered(kind: type, named: tuple[str, Any]) -> Any:
    from keras.src.saving.object_registration import GLOBAL_CUSTOM_NAMES, GLOBAL_CUSTOM_OBJECTS

    name, state = named
    GLOBAL_CUSTOM_OBJECTS[name] = kind
    GLOBAL_CUSTOM_NAMES[kind] = name
    return cloudpickle._class_setstate(kind, state)
