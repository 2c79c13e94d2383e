"""Which modules a cell trains, and what they are called with: seen in the first step, of which nothing is left then."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from hops_magic.frameworks.torch.keeping import Seen
from hops_magic.frameworks.torch.state import StepState


class Calls:
    """Looks at the calls of modules by the user's code until the first step is over.

    Parameters
    ----------
    state : StepState
    """

    def __init__(self, state: StepState) -> None:
        self._state = state
        self._depth = 0
        self._hooks: list[Any] = []
        self._seen: dict[int, tuple[Any, Seen]] = {}
        self._in_train_mode: list[Any] = []
        self.trained: dict[int, tuple[str, Any, Seen]] = {}
        """Names of the modules that the cell trains, the modules, and with what they were called, by their ids."""

    def begin(self) -> None:
        """Look at all modules."""
        from torch.nn.modules import module

        # a compiled module tells of it, which is no concern of the user's: the hooks look, and are gone after a step
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks")
        self._hooks = [
            module.register_module_forward_pre_hook(self._called),
            module.register_module_forward_hook(self._returned, with_kwargs=True, always_call=True),
        ]

    def end(self) -> None:
        """Look no more: hooks of all modules cost time at each call."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def settle(self, names: Mapping[str, Any]) -> None:
        """The first step is over: find the modules that hold what was called, by the names of the user's code."""
        from torch import nn

        self.end()
        named = [(name, value) for name, value in names.items() if isinstance(value, nn.Module) and name[0] != "_"]
        for module, seen in self._seen.values():
            parts = set(map(id, module.parameters()))
            holders = [(name, value) for name, value in named if parts <= set(map(id, value.parameters()))]
            name, holder = max(holders, key=lambda each: len(list(each[1].parameters())), default=("", module))
            self.trained.setdefault(id(holder), (name, holder, seen if holder is module else Seen()))
        self._seen = {}
        self._in_train_mode = [module for _, module, _ in self.trained.values() if module.training]

    def are_in_eval_mode(self) -> bool:
        """Whether the modules that were trained, in ``train`` mode then, are all in ``eval`` mode."""
        return bool(self._in_train_mode) and not any(module.training for module in self._in_train_mode)

    def _called(self, _module: Any, _given: Any) -> None:
        import torch

        # what torch.compile looks into is called by a module that is seen, and would keep the hook for good
        if not torch.compiler.is_compiling():
            self._depth += 1

    def _returned(self, module: Any, given: Any, named: Any, made: Any) -> None:
        import torch

        if torch.compiler.is_compiling():
            return
        self._depth = max(0, self._depth - 1)
        if self._depth or id(module) in self._seen or not torch.is_grad_enabled():
            return
        if any(parameter.requires_grad for parameter in module.parameters()):
            rows = self._state.own if self._state.is_inside else 0
            self._seen[id(module)] = (module, Seen((*given, *named.values()), made, rows))
