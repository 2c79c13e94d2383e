"""Losses whose mean counts more than rows: class weights, and targets that are ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hops_magic.frameworks.patches import Patches
from hops_magic.frameworks.torch.state import MEAN, StepState


def install(patches: Patches, state: StepState) -> None:
    """Hook ``cross_entropy`` and ``nll_loss``: what they divide by is that of the global batch."""
    import torch

    for name in ("cross_entropy", "nll_loss"):
        patches.wrap(torch.nn.functional, name, lambda original: _over_ranks(original, state))


def _over_ranks(original: Callable[..., Any], state: StepState) -> Callable[..., Any]:
    import torch

    def loss(
        input: Any,
        target: Any,
        weight: Any = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        **more: Any,
    ) -> Any:
        is_mean = reduction == "mean" and size_average is None and reduce is None
        if (
            not is_mean
            or target.is_floating_point()
            or not (state.is_inside and not state.is_whole and torch.is_grad_enabled())
        ):
            return original(input, target, weight, size_average, ignore_index, reduce, reduction, **more)
        counted = target != ignore_index
        own = float((weight[target[counted]].sum() if weight is not None else counted.sum()).detach()) if state.own else 0.0
        divisor = float(state.collective.all_reduce(np.array([own]), what="weights of targets")[0])
        total = original(input, target, weight, ignore_index=ignore_index, reduction="sum", **more)
        if not state.own:
            return total * 0.0
        # ranks' losses are joined as means over rows, each by its share of them
        return total / (divisor * state.weight_by(MEAN))

    return loss
