"""What a fit was called with and what its model was compiled with, as parameters of the run's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_OF_FIT = (
    "epochs",
    "initial_epoch",
    "steps_per_epoch",
    "validation_split",
    "validation_steps",
    "validation_freq",
    "shuffle",
)
_DEFAULTS = {"initial_epoch": 0, "validation_split": 0.0, "validation_freq": 1, "shuffle": True}
_NOT_TOLD = ("name", "use_ema", "ema_momentum", "ema_overwrite_frequency", "inner_optimizer")
MOST = 40


def parameters_of(model: Any, arguments: Mapping[str, Any], batch_size: int | None) -> dict[str, int | float | str]:
    """Return the arguments of a fit, the model's loss and its optimizer with what that is made of, by name.

    Parameters
    ----------
    model
        A compiled Keras model.
    arguments
        What ``fit`` was given, by name.
    batch_size
        Rows of a global batch, as far as the data tell.
    """
    found: dict[str, int | float | str] = {"epochs": int(arguments.get("epochs", 1))}
    for name in _OF_FIT:
        value = arguments.get(name)
        if value is not None and value != _DEFAULTS.get(name):
            found[name] = _plain(value)
    if batch_size is not None:
        found["batch_size"] = batch_size
    if arguments.get("class_weight") is not None:
        found["class_weight"] = _plain(arguments["class_weight"])
    if (loss := getattr(model, "loss", None)) is not None:
        found["loss"] = _named(loss)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        found |= dict(_of_optimizer(optimizer))
    if model.built:
        found["model.weights"] = int(model.count_params())
    return dict(list(found.items())[:MOST])


def _of_optimizer(optimizer: Any) -> Iterator[tuple[str, int | float | str]]:
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of mixed precision
    yield "optimizer", type(optimizer).__name__
    try:
        config = optimizer.get_config()
    except Exception:  # noqa: BLE001 (an optimizer of the user's that cannot be described must not fail the run)
        return
    for name, value in config.items():
        if name in _NOT_TOLD or value is None or value is False:
            continue
        if isinstance(value, Mapping) and "class_name" in value:  # a schedule
            yield f"optimizer.{name}", str(value["class_name"])
            for part, number in value.get("config", {}).items():
                if part != "name" and number is not None:
                    yield f"optimizer.{name}.{part}", _plain(number)
        else:
            yield f"optimizer.{name}", _plain(value)


def _plain(value: Any) -> int | float | str:
    if isinstance(value, bool | int | str):
        return str(value) if isinstance(value, bool) else value
    try:
        # Keras keeps rates in float32: more digits than those are not the user's
        return float(f"{float(value):.7g}")
    except (TypeError, ValueError):
        return str(value)[:200]


def _named(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    if isinstance(loss, Mapping):
        return ", ".join(f"{name}: {_named(each)}" for name, each in loss.items())[:200]
    if isinstance(loss, list | tuple):
        return ", ".join(_named(each) for each in loss)[:200]
    return str(getattr(loss, "__name__", type(loss).__name__))


__all__ = ["parameters_of"]
