"""What a loop trains with, as parameters of the run's record: the size of its batches, its optimizers, its modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST = 40
_NOT_TOLD = ("params", "initial_lr")


def parameters_of(names: Mapping[str, Any], batch_size: int | None) -> dict[str, int | float | str]:
    """Return what the names that a loop sees say of its training.

    Parameters
    ----------
    names
        Of the user's code, with their values.
    batch_size
        Rows of a global batch, as far as the loader tells.
    """
    import torch

    found: dict[str, int | float | str] = {} if batch_size is None else {"batch_size": batch_size}
    optimizers = _unique(names, torch.optim.Optimizer)
    for name, optimizer in optimizers.items():
        found |= dict(_of_optimizer("optimizer" if len(optimizers) == 1 else name, optimizer))
    for name, module in _unique(names, torch.nn.Module).items():
        if count := sum(each.numel() for each in module.parameters()):
            found[f"{name}.weights"] = count
    return dict(list(found.items())[:MOST])


def _unique(names: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Return the values of a kind by the first of their names."""
    found: dict[int, str] = {}
    for name, value in names.items():
        if isinstance(value, kind) and not name.startswith("_"):
            found.setdefault(id(value), name)
    return {name: names[name] for name in found.values()}


def _of_optimizer(name: str, optimizer: Any) -> Iterator[tuple[str, int | float | str]]:
    yield name, type(optimizer).__name__
    groups = optimizer.param_groups
    for option, value in groups[0].items() if groups else ():
        if option not in _NOT_TOLD and value is not None and value is not False:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            yield f"{name}.{option}", value if is_number else str(value)[:200]
