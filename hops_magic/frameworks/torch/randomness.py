"""Random numbers as one process draws them: for all rows of the global batch, of which a rank keeps its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.torch.state import StepState

_ATEN = torch.ops.aten
_BY_SIZE = {_ATEN.randn.default, _ATEN.rand.default}
_BY_SIZE_LATER = {_ATEN.randint.default: 1, _ATEN.randint.low: 2}
"""Where the size is not the first argument."""
_LIKE = {_ATEN.randn_like.default, _ATEN.rand_like.default, _ATEN.randint_like.default, _ATEN.randint_like.low_dtype}
_FILLING = {
    _ATEN.bernoulli_.float,
    _ATEN.normal_.default,
    _ATEN.uniform_.default,
    _ATEN.exponential_.default,
    _ATEN.random_.default,
    getattr(_ATEN.random_, "from"),
    _ATEN.random_.to,
}
_DROPOUT = {_ATEN.native_dropout.default}
_BY_PROBABILITIES = {_ATEN.bernoulli.default, _ATEN.bernoulli_.Tensor, _ATEN.multinomial.default, _ATEN.normal.Tensor_Tensor}


class RowwiseRandomness(TorchDispatchMode):  # type: ignore[misc]
    """While it is on, operators that draw random numbers draw them for all rows; all ranks' generators stay alike.

    Parameters
    ----------
    state : StepState
    """

    def __init__(self, state: StepState) -> None:
        super().__init__()
        self._state = state
        self.has_drawn = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        state = self._state
        if not state.is_inside or state.own == state.whole or state.is_whole:
            return func(*args, **options)
        if func in _BY_SIZE:
            return self._made(list(args[0]), lambda size: func(size, *args[1:], **options))
        if (at := _BY_SIZE_LATER.get(func)) is not None:
            return self._made(list(args[at]), lambda size: func(*args[:at], size, *args[at + 1 :], **options))
        if func in _LIKE:
            like = args[0]
            return self._made(list(like.shape), lambda size: func(like.new_empty(size), *args[1:], **options))
        if func in _FILLING:
            return self._filled(args[0], lambda room: func(room, *args[1:], **options))
        if func in _DROPOUT:
            return self._dropped(args[0], args[1])
        if func in _BY_PROBABILITIES:
            self.has_drawn = True
            raise UnsupportedError(
                f"torch.{func.overloadpacket.__name__} draws by numbers that each rank knows for its own rows only, so "
                "ranks would draw other numbers than one process: draw before the loop, or train this cell with -n 1"
            )
        return func(*args, **options)

    def _made(self, size: list[int], draw: Any) -> Any:
        self.has_drawn = True
        axis, times = self._axis(size)
        if axis is None:
            return draw(size)
        wide = [*size]
        wide[axis] = self._state.whole * times
        return self._own(draw(wide), axis, times).contiguous()

    def _filled(self, tensor: Any, draw: Any) -> Any:
        self.has_drawn = True
        axis, times = self._axis(list(tensor.shape))
        if axis is None:
            return draw(tensor)
        wide = list(tensor.shape)
        wide[axis] = self._state.whole * times
        # filled in the order of memory, which is that of the strides; one row alone lies where more would lie
        order = sorted(range(len(wide)), key=lambda each: (-tensor.stride(each), each == axis))
        room = tensor.new_empty([wide[each] for each in order]).permute([order.index(each) for each in range(len(wide))])
        return tensor.copy_(self._own(draw(room), axis, times))

    def _dropped(self, tensor: Any, share: float) -> Any:
        self.has_drawn = True
        axis, times = self._axis(list(tensor.shape))
        wide = list(tensor.shape)
        if axis is not None:
            wide[axis] = self._state.whole * times
        mask = torch.empty(wide, dtype=tensor.dtype, device=tensor.device).bernoulli_(1 - share)
        own = mask if axis is None else self._own(mask, axis, times)
        return tensor * own / (1 - share), own.bool()

    def _own(self, wide: Any, axis: int, times: int) -> Any:
        state = self._state
        first = min(state.first, state.whole - 1) if not state.own else state.first
        return wide.narrow(axis, first * times, max(state.own, 1) * times)

    def _axis(self, size: Sequence[int]) -> tuple[int | None, int]:
        """Return the axis that holds the rows, and how many places each row has there (heads of an attention, say)."""
        rows = max(self._state.own, 1)
        for axis, length in enumerate(size):
            if length == rows:
                return axis, 1
        if size and size[0] and size[0] % rows == 0:
            return 0, size[0] // rows
        return None, 1
