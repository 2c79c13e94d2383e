"""Gradients are made global where they appear: after ``backward()`` and ``autograd.grad``, before anything uses them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.patches import Patches
from hops_magic.frameworks.torch.calibration import Calibration
from hops_magic.frameworks.torch.state import Site, place_of, site
from hops_magic.frameworks.torch.watching import Watch


def install(patches: Patches, calibration: Calibration, watch: Watch) -> None:
    """Hook ``torch.autograd.backward``, which ``Tensor.backward`` calls, and ``torch.autograd.grad``."""
    import torch

    patches.wrap(torch.autograd, "backward", lambda original: _backward(original, calibration, watch))
    patches.wrap(torch.autograd, "grad", lambda original: _grad(original, calibration, watch))


def _backward(original: Callable[..., Any], calibration: Calibration, watch: Watch) -> Callable[..., Any]:
    import torch

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **options: Any) -> None:
        roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
        creates = options.get("create_graph", args[2] if len(args) > 2 else False)
        keeps = options.get("retain_graph", args[1] if len(args) > 1 else None) or creates
        here = site(2)
        watch.computing(here)
        if creates:
            raise UnsupportedError(
                f"backward(create_graph=True) in {place_of(here)} keeps the graph of gradients that ranks exchange, "
                "which cannot be differentiated again: train this cell with -n 1"
            )
        leaves, calibration.is_mixed = leaves_of(roots)
        _refuse_steps_in_backward(leaves, here)
        before = [leaf.grad for leaf in leaves]
        value = roots[0].detach() if len(roots) == 1 and roots[0].numel() == 1 else None
        if keeps and value is not None:
            value = value.clone()  # a graph that is used again may need the loss as it is

        def run(*, again: bool) -> list[Any]:
            """Return what each leaf gets of this rank alone."""
            for leaf in leaves:
                leaf.grad = None
            kept = {**options, "retain_graph": True} if again else options
            original(tensors, *(args[:1] if again else args), **kept)
            return [leaf.grad for leaf in leaves]

        reached = calibration.joined(here, leaves, run, value)
        for leaf, old, new in zip(leaves, before, reached, strict=True):
            leaf.grad = new if old is None else old if new is None else old.add_(new)
        watch.computed(here, roots[0], value)

    return backward


def _grad(original: Callable[..., Any], calibration: Calibration, watch: Watch) -> Callable[..., Any]:
    import torch

    @functools.wraps(original)
    def grad(outputs: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        wanted = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        if not all(isinstance(each, torch.nn.Parameter) for each in wanted):
            return original(outputs, inputs, *args, **options)
        here = site(2)
        watch.computing(here)
        if options.get("create_graph"):
            raise UnsupportedError(
                f"autograd.grad(..., create_graph=True) of parameters in {place_of(here)} keeps the graph of gradients that "
                "ranks exchange, which cannot be differentiated again: train this cell with -n 1"
            )

        def run(*, again: bool) -> list[Any]:
            kept = {**options, "retain_graph": True} if again else options
            return [None if each is None else each.clone() for each in original(outputs, inputs, *args, **kept)]

        roots = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        _, calibration.is_mixed = leaves_of(roots)
        value = roots[0].detach().clone() if len(roots) == 1 and roots[0].numel() == 1 else None
        joined = tuple(calibration.joined(here, wanted, run, value))
        watch.computed(here, roots[0], value)
        return joined

    return grad


def leaves_of(roots: Sequence[Any]) -> tuple[list[Any], bool]:
    """Return the leaves of a graph, in the order in which they are met: the same on every rank.

    Returns
    -------
    list
        The leaves.
    bool
        Whether numbers are converted on the way, as autocast does.
    """
    is_mixed = False
    seen: set[Any] = set()
    found: dict[int, Any] = {}
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    for root in roots:
        if root.grad_fn is None and root.requires_grad:
            found[id(root)] = root
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        is_mixed = is_mixed or node.name().startswith("ToCopyBackward")
        variable = getattr(node, "variable", None)
        if variable is not None and variable.is_leaf:
            found.setdefault(id(variable), variable)
        waiting += [following for following, _ in node.next_functions if following is not None]
    return list(found.values()), is_mixed


def _refuse_steps_in_backward(leaves: Sequence[Any], here: Site) -> None:
    if any(getattr(leaf, "_post_accumulate_grad_hooks", None) for leaf in leaves):
        raise UnsupportedError(
            "a hook that runs when a gradient has been accumulated (register_post_accumulate_grad_hook) would see "
            f"this rank's gradient alone, in {place_of(here)}: call the optimizer after backward()"
        )
