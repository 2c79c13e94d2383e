"""Gradients as few flat arrays, for the exchange among ranks, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


class Packed:
    """Gradients, one flat array for each dtype.

    Parameters
    ----------
    gradients
        Tensors, or None for a leaf that has no gradient.
    """

    def __init__(self, gradients: Sequence[Any]) -> None:
        self._gradients = gradients
        self._places: dict[Any, list[int]] = {}
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                self._places.setdefault(_wide(gradient.dtype), []).append(place)

    def arrays(self) -> list[NDArray[Any]]:
        """Return them, copied."""
        import torch

        made = []
        for wide, places in self._places.items():
            parts = [_dense(self._gradients[place]).reshape(-1).to(wide) for place in places]
            made.append(torch.cat(parts).cpu().numpy())
        return made

    def unpacked(self, arrays: Sequence[NDArray[Any]]) -> list[Any]:
        """Return gradients like these with the values of the arrays."""
        import torch

        made: list[Any] = [None] * len(self._gradients)
        for array, places in zip(arrays, self._places.values(), strict=True):
            start, flat = 0, torch.from_numpy(array)
            for place in places:
                like = self._gradients[place]
                end = start + like.numel()
                made[place] = flat[start:end].view(like.shape).to(like.device, like.dtype)
                start = end
        return made


def numbers_of(tensor: Any) -> NDArray[Any]:
    """Return a tensor's values as numpy has them."""
    array: NDArray[Any] = _dense(tensor).to(_wide(tensor.dtype)).cpu().numpy()
    return array


def _dense(tensor: Any) -> Any:
    import torch

    return tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()


def _wide(dtype: Any) -> Any:
    """Return in which dtype numbers are exchanged: numpy knows no bfloat16, and halves are summed in float32."""
    import torch

    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
