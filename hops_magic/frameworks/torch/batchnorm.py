"""Batch normalisation over the global batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hops_magic.frameworks.patches import Patches
from hops_magic.frameworks.torch.state import StepState


def install(patches: Patches, state: StepState) -> None:
    """Hook ``torch.nn.functional.batch_norm``, which the layers call."""
    import torch

    patches.wrap(torch.nn.functional, "batch_norm", lambda original: _batch_norm(original, state))


def _batch_norm(original: Callable[..., Any], state: StepState) -> Callable[..., Any]:
    import torch

    class OverRanks(torch.autograd.Function):
        """Normalise by the moments of all ranks' rows. Ranks send sums about their own means: no digits are lost."""

        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
            axes = [0, *range(2, x.dim())]
            count = float(x.numel() / x.shape[1]) if state.own else 0.0
            wide = _wide(x)
            own_mean = wide.mean(axes)
            about_own = ((wide - _column(own_mean, x)) ** 2).sum(axes)
            total, mean, squares = _joined(state, count, own_mean, about_own)
            variance = squares / total
            inverse = torch.rsqrt(variance + eps)
            normal = (wide - _column(mean, x)) * _column(inverse, x)
            ctx.save_for_backward(normal.to(x.dtype), weight, inverse)
            ctx.total = total
            ctx.mark_non_differentiable(mean, variance)
            out = normal if weight is None else normal * _column(weight.to(wide.dtype), x) + _column(bias.to(wide.dtype), x)
            return out.to(x.dtype), mean, variance

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, gradient: Any, *_: Any) -> Any:
            normal, weight, inverse = ctx.saved_tensors
            axes = [0, *range(2, normal.dim())]
            wide, high = _wide(gradient), _wide(normal)
            along, across = wide.sum(axes), (wide * high).sum(axes)
            scaled = wide if weight is None else wide * _column(weight.to(wide.dtype), normal)
            share = state.weight
            # each rank's loss counts by its rows: the others' parts are brought to the scale of this rank's
            sums = np.stack([scaled.sum(axes).numpy(force=True), (scaled * high).sum(axes).numpy(force=True)]) * share
            if not share:
                sums = np.zeros_like(sums)
            first, second = torch.from_numpy(state.collective.all_reduce(sums, what="moments' gradients")).to(wide)
            back = 1.0 / (share * ctx.total) if share else 0.0
            inner = scaled - _column(first, normal) * back - high * _column(second, normal) * back
            to_x = (inner * _column(inverse.to(wide), normal)).to(gradient.dtype)
            if weight is None:
                return to_x, None, None, None
            return to_x, across.to(weight.dtype), along.to(weight.dtype), None

    def batch_norm(
        x: Any,
        running_mean: Any,
        running_var: Any,
        weight: Any = None,
        bias: Any = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if not (training and state.is_inside and not state.is_whole and torch.is_grad_enabled()):
            return original(x, running_mean, running_var, weight, bias, training, momentum, eps)
        state.has_moments = True
        out, mean, variance = OverRanks.apply(x, weight, bias, eps)
        if running_mean is not None:
            # the values per channel of all rows: a rank has borrowed a row if it has none
            rows = x.numel() / x.shape[1] / max(state.own, 1) * state.whole
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_((variance * (rows / max(rows - 1, 1))).to(running_var), momentum)
        return out

    return batch_norm


def _joined(state: StepState, count: float, mean: Any, about: Any) -> tuple[float, Any, Any]:
    """Return the number, mean and sum of squares about it of all ranks' values, from those of each rank's own."""
    import torch

    means, squares = mean.double().numpy(force=True), about.double().numpy(force=True)
    parts = state.collective.all_gather_objects((count, means, squares))
    total = sum(part[0] for part in parts)
    # in the order of ranks: the same bits everywhere
    centre = sum(number * values for number, values, _ in parts if number) / total
    spread = sum(square + number * (values - centre) ** 2 for number, values, square in parts if number)
    return total, torch.from_numpy(np.asarray(centre)).to(mean), torch.from_numpy(np.asarray(spread)).to(mean)


def _wide(x: Any) -> Any:
    import torch

    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _column(values: Any, like: Any) -> Any:
    return values.view(1, -1, *[1] * (like.dim() - 2))
