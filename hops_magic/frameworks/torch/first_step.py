"""The first step, which a shadow of rank 0 makes with all rows: what rules it gives, and what differs from one process."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.torch import rows, shadow
from hops_magic.frameworks.torch.calibration import Calibration
from hops_magic.frameworks.torch.randomness import RowwiseRandomness
from hops_magic.frameworks.torch.state import StepState, names_here

_LEAST = 1e-3
_MOST_NAMED = 5
_MOST_IDLE = 3
_WEIGHTS_ALIKE = {"float32": 5e-2}
"""Adaptive optimizers make of a gradient that is rounding in some places a step of full size there."""


class FirstStep:
    """Begins and ends the step that is compared, and remembers what it has shown.

    Parameters
    ----------
    state : StepState
    """

    def __init__(self, state: StepState) -> None:
        self._state = state
        self.calibration = Calibration(state, _names_of_parameters)
        self._at = 0
        self._idle_shadows = 0
        self._draws = False
        self._is_rowwise = False
        # by identity: tensors and arrays are datasets too, and compare element by element
        self._pure: dict[int, weakref.ref[Any]] = {}
        self._candidate: Any = None
        self._found_pure = False

    @property
    def backwards(self) -> int:
        """How often gradients were computed so far."""
        return self.calibration.backwards

    @property
    def wants_whole(self) -> bool:
        """Whether the next batch is needed whole too."""
        return self.calibration.wants_shadow and self.calibration.shadow is None and self._idle_shadows < _MOST_IDLE

    def tell(self, sentence: str) -> None:
        """Warn once."""
        self.calibration.tell(sentence, warns=True)

    def begin(self, candidate: Any, whole: Any) -> bool:
        """Begin a batch that is shared out; return whether this process is the shadow, which gets it whole.

        Parameters
        ----------
        candidate
            Loader, indices and own part of the batch, to be tried for loading a rank's own samples alone; None if not.
        """
        if not self.wants_whole or whole is None:
            return False
        can_fork = self._state.collective.broadcast_object(_can_fork())
        self.calibration.shadows += 1
        self._at = self.backwards
        self._candidate = candidate
        if not can_fork:
            self.calibration.shadows = sys.maxsize
            return False
        if self._state.context.rank:
            self.calibration.shadow = shadow.Shadow()
            return False
        made = shadow.fork()
        if isinstance(made, shadow.Shadow):
            self.calibration.shadow = made
            return False
        self.calibration.said = made
        self._found_pure = candidate is not None and _loads_by_rows(*candidate)
        self._state.is_whole, self._state.own, self._state.first = True, self._state.whole, 0
        return True

    @contextmanager
    def randomness(self) -> Iterator[None]:
        """Let random numbers be drawn for all rows while the user's code works on a batch, where it draws any."""
        is_needed = self._draws or self.calibration.shadow is not None
        # of loaders side by side, the first one's batch is enough: numbers are drawn for all rows once
        if self._state.is_whole or self._is_rowwise or not is_needed:
            yield
            return
        mode, self._is_rowwise = RowwiseRandomness(self._state), True
        try:
            with mode:
                yield
        finally:
            self._draws, self._is_rowwise = self._draws or mode.has_drawn, False

    def next_asked(self) -> None:
        """The user's code asks a loader for another batch than it has."""
        if self.backwards > self._at:
            self._end()
        elif self._state.is_whole:
            shadow.leave()
        elif self.calibration.shadow is not None:
            self._idle_shadows += 1
            self._drop()

    def boundary(self) -> None:
        """A loop over a loader begins: a step that has computed gradients is over."""
        if self.backwards > self._at:
            self._end()

    def may_load_own(self, loader: Any) -> bool:
        """Whether a rank may load its own samples alone."""
        known = self._pure.get(id(loader.dataset))
        return _collates_by_rows(loader) and known is not None and known() is loader.dataset

    def close(self) -> None:
        """The cell is over: say what was never compared."""
        self.calibration.tell_open()

    def end(self) -> None:
        """End the shadow, if there is one still."""
        self._drop()

    # -- the end of the first step -----------------------------------------------------------------------------------

    def _end(self) -> None:
        if self.calibration.said is not None:
            self.calibration.said.say(("end", _snapshot(), self._found_pure))
            shadow.leave()
        if self.calibration.shadow is not None:
            self._finish()

    def _drop(self) -> None:
        if self.calibration.shadow is not None:
            self.calibration.shadow.end()
            self.calibration.shadow = None

    def _finish(self) -> None:
        found: Any = None
        if self._state.context.rank == 0:
            assert self.calibration.shadow is not None
            found = self._compared(self.calibration.shadow)
        found = self._state.collective.broadcast_object(found)
        self._drop()
        if found is None:
            self.tell("the end of the first step could not be compared with one process: it came to no end there")
            return
        numbers, weights, is_pure = found
        if is_pure and self._candidate is not None:
            dataset = self._candidate[0].dataset
            self._pure[id(dataset)] = weakref.ref(dataset)
        self._candidate = None
        self._tell_numbers(numbers)
        self._check_weights(weights)

    def _compared(self, its: shadow.Shadow) -> Any:
        while (message := its.receive()) is not None:
            if message[0] == "end":
                _, (numbers, weights), is_pure = message
                own_numbers, own_weights = _snapshot()
                faint = {name for key, name in _names_of_parameters().items() if key in self.calibration.faint}
                known = {name: value for name, value in own_weights.items() if name not in faint}
                return _other_numbers(own_numbers, numbers), _other_weights(known, weights), is_pure
        return None

    def _tell_numbers(self, names: list[str]) -> None:
        if names:
            shown = ", ".join(names[:_MOST_NAMED])
            self.tell(
                f"{shown} {'holds' if len(names) == 1 else 'hold'} what a rank computes of its own rows: "
                "rank 0's comes back; hops.all_reduce(value) adds up those of all ranks"
            )

    def _check_weights(self, differing: list[tuple[float, str, str]]) -> None:
        for error, name, dtype in differing:
            if error > max(_WEIGHTS_ALIKE.get(dtype, 0.0), self.calibration.allowed_for(dtype)):
                sentence = (
                    f"after the first step {name} differs from one process by {error:.1e} of its size, though the gradients "
                    "agree: something between backward() and the next batch depends on the rank's rows"
                )
                if self._state.context.check == "never":
                    return
                raise UnsupportedError(f"{sentence}; train this cell with -n 1")


def _can_fork() -> bool:
    import torch

    # what has spoken to a GPU cannot be forked
    return not torch.cuda.is_initialized()


def _collates_by_rows(loader: Any) -> bool:
    """Whether a loader makes a batch of each row by itself: a function of the user's own may pad, or mix."""
    from torch.utils.data import default_collate

    return loader.collate_fn is default_collate


def _loads_by_rows(loader: Any, part: rows.Part, mine: Any) -> bool:
    """Whether loading the rank's own samples alone gives the same; tried in the shadow, where it changes nothing."""
    from torch.utils.data import _utils

    if not _collates_by_rows(loader):
        return False
    try:
        weakref.ref(loader.dataset)  # a list, say, cannot be remembered
        states = rows.random_states()
        fetcher = _utils.fetch._MapDatasetFetcher(loader.dataset, True, loader.collate_fn, False)
        again = fetcher.fetch(part.own)
        is_pure = not rows.have_moved(states) and rows.are_equal(again, mine)
        rows.restore(states)
    except Exception:  # noqa: BLE001 (whatever a dataset raises: its rows are loaded as they were)
        return False
    return is_pure


def _names_of_parameters() -> dict[int, str]:
    import torch

    found: dict[int, str] = {}
    for name, value in names_here().items():
        if isinstance(value, torch.nn.Module):
            for path, parameter in value.named_parameters():
                found.setdefault(id(parameter), f"{name}.{path}")
        elif isinstance(value, torch.Tensor):
            found.setdefault(id(value), name)
    return found


def _snapshot() -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """Return the numbers, and the weights of the modules, that have names where the user's code is."""
    import torch

    numbers: dict[str, float] = {}
    weights: dict[str, NDArray[Any]] = {}
    for name, value in names_here().items():
        if name.startswith("_"):
            continue
        if isinstance(value, bool | int | float | np.generic) or (isinstance(value, torch.Tensor) and value.dim() == 0):
            try:
                numbers[name] = float(value.detach() if isinstance(value, torch.Tensor) else value)
            except (TypeError, ValueError, RuntimeError):
                continue
        elif isinstance(value, torch.nn.Module):
            for path, tensor in value.state_dict().items():
                if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                    wide = tensor.detach().to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor.detach()
                    weights[f"{name}.{path}"] = wide.cpu().numpy().copy()
    return numbers, weights


def _other_numbers(own: dict[str, float], whole: dict[str, float]) -> list[str]:
    """Return the names of numbers that are not those of one process."""
    return [
        name
        for name, value in own.items()
        if name in whole and not np.isclose(value, whole[name], rtol=_LEAST, atol=1e-6, equal_nan=True)
    ]


def _other_weights(own: dict[str, NDArray[Any]], whole: dict[str, NDArray[Any]]) -> list[tuple[float, str, str]]:
    """Return by how much of their size weights differ from those of one process, their names and dtypes; the worst first."""
    found = []
    for name, value in own.items():
        other = whole.get(name)
        if other is not None and other.shape == value.shape and value.size:
            size = float(np.sqrt(np.mean(np.square(other, dtype=np.float64))))
            error = float(np.sqrt(np.mean(np.square(value - other, dtype=np.float64)))) / (_LEAST + size)
            found.append((error, name, str(value.dtype)))
    return sorted(found, reverse=True)
