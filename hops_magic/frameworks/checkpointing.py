"""Checkpoints of the user's own loops: what the cell names, the random numbers of all ranks, and the place in its loops."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

from hops_magic.errors import UsageError
from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.drafts import write_whole
from hops_magic.runs.events import Checkpointed, Warned


def restore(context: RankContext, given: Mapping[str, Any]) -> SimpleNamespace:
    """Bring back what an earlier attempt kept under these names; on the first attempt, what was given is what there is.

    Raises
    ------
    UsageError
        If the checkpoint has other names.
    """
    context.restored.append(tuple(sorted(given)))
    for name, value in given.items():
        _refuse(name, value)
    if context.attempt == 0:
        return SimpleNamespace(**given)
    path = _path(context)
    # read once for all: they must go on from the same place
    kept = context.collective.broadcast_object(_read(context, path) if context.rank == 0 else None)
    if kept is None:
        return SimpleNamespace(**given)
    if set(kept["named"]) != set(given):
        raise UsageError(
            f"hops.restore was given {', '.join(sorted(given))}, but the checkpoint has {', '.join(sorted(kept['named']))}: "
            "give hops.restore and hops.checkpoint the same names"
        )
    found = {name: _given_back(value, kept["named"][name]) for name, value in given.items()}
    mine = kept["ranks"][context.rank]
    for name, keeper in context.keepers.items():
        keeper.load(mine["keepers"][name])
    set_random_states(mine["random"])
    return SimpleNamespace(**found)


def keep(context: RankContext, given: Mapping[str, Any]) -> None:
    """Keep a checkpoint; every rank calls it, rank 0 writes it, whole or not at all.

    Raises
    ------
    UsageError
        If ``hops.restore`` was not called before, or with other names.
    """
    if not context.restored or context.restored[-1] != tuple(sorted(given)):
        known = "was not called" if not context.restored else f"was given {', '.join(context.restored[-1])}"
        raise UsageError(
            f"hops.checkpoint keeps {', '.join(sorted(given))}, but hops.restore {known}: call state = hops.restore(...) "
            "with the same names before the loop, and begin the loop where state says"
        )
    for name, value in given.items():
        _refuse(name, value)
    mine = {"random": random_states(), "keepers": {name: keeper.state() for name, keeper in context.keepers.items()}}
    ranks = context.collective.all_gather_objects(mine)
    if context.rank == 0:
        kept = {"named": {name: _kept(value) for name, value in given.items()}, "ranks": ranks}
        _write(context, _path(context), kept, [_number(given.get(name)) for name in ("epoch", "step")])


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | np.integer) else 0


def _path(context: RankContext) -> Path:
    # as the loops of a cell are numbered: each hops.restore begins another one
    return context.checkpoint_dir / f"loop-{len(context.restored)}.ckpt"


def _read(context: RankContext, path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _torch().load(file, weights_only=False) if _torch() else pickle.load(file)
    except FileNotFoundError:
        return None
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError) as error:
        context.emit(Warned(message=f"the checkpoint {path} cannot be read ({error}): the loop starts anew"))
        return None


def _write(context: RankContext, path: Path, kept: Any, at: list[int]) -> None:
    def write(file: BinaryIO) -> None:
        if _torch():
            _torch().save(kept, file)
        else:
            pickle.dump(kept, file, protocol=pickle.HIGHEST_PROTOCOL)

    try:
        write_whole(path, write)
    except OSError as error:
        # the training goes on without it, as with checkpoints of fits
        context.emit(Warned(message=f"no checkpoint could be written to {path.parent}: {error.strerror or error}"))
        return
    context.emit(Checkpointed(epoch=at[0], step=at[1], path=str(path)))


# -- values ------------------------------------------------------------------------------------------------------------


def _refuse(name: str, value: Any) -> None:
    kind = type(value).__mro__
    if any(base.__module__.split(".")[0] in ("keras", "tensorflow") for base in kind):
        raise UsageError(
            f"hops.checkpoint cannot keep {name}, a {type(value).__name__}: fit keeps checkpoints by itself; of a loop of "
            "your own, keep model.get_weights()"
        )
    if any(base.__module__ == "torch.utils.data.dataloader" for base in kind):
        raise UsageError(f"hops.checkpoint keeps the place in loops over a DataLoader by itself: leave {name} out")


def _kept(value: Any) -> Any:
    torch = _torch()
    if torch and isinstance(value, torch.Tensor):
        return value.detach(), value.grad
    if torch and isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if _has_state(value):
        gradients = {}
        if torch and isinstance(value, torch.nn.Module):
            # of an accumulation that is under way
            gradients = {name: each.grad for name, each in value.named_parameters() if each.grad is not None}
        return value.state_dict(), gradients
    return value


def _given_back(value: Any, kept: Any) -> Any:
    """Put what was kept into the object that is there; return the object, or what takes the place of a plain value."""
    torch = _torch()
    if torch and isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.copy_(kept[0])
        value.grad = kept[1]
    elif torch and isinstance(value, torch.Generator):
        value.set_state(kept)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = kept
    elif _has_state(value):
        state, gradients = kept
        value.load_state_dict(state)
        if torch and isinstance(value, torch.nn.Module):
            for name, parameter in value.named_parameters():
                parameter.grad = gradients.get(name)
    else:
        return kept
    return value


def _has_state(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


# -- random numbers ----------------------------------------------------------------------------------------------------


def random_states() -> tuple[Any, ...]:
    """Return where the generators of Python, numpy and, if it is in use, PyTorch are."""
    torch = _torch()
    of_gpus = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None, of_gpus


def set_random_states(states: tuple[Any, ...]) -> None:
    """Set the generators back to :func:`random_states`."""
    of_python, of_numpy, of_torch, of_gpus = states
    random.setstate(of_python)
    np.random.set_state(of_numpy)
    torch = _torch()
    if torch and of_torch is not None:
        torch.set_rng_state(of_torch)
    if torch and of_gpus is not None:
        torch.cuda.set_rng_state_all(of_gpus)


def _torch() -> Any:
    return sys.modules.get("torch")
