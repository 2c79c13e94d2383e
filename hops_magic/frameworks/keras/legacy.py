"""Models of Keras 2 (``tf_keras``, and ``tf.keras`` with ``TF_USE_LEGACY_KERAS``): several ranks refuse to train them.

The hooks are Keras 3's. Without them every rank would train a whole model of its own and say nothing.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.patches import Patches

_TRAINING: dict[str, dict[str, tuple[str, ...]]] = {
    "tf_keras.src.engine.training": {"Model": ("fit", "fit_generator", "train_on_batch")},
    "tf_keras.src.engine.training_v1": {"Model": ("fit", "fit_generator", "train_on_batch")},
    "tf_keras.src.optimizers.optimizer": {
        "_BaseOptimizer": ("minimize", "apply_gradients"),
        "Optimizer": ("apply_gradients",),
    },
    "tf_keras.src.optimizers.legacy.optimizer_v2": {"OptimizerV2": ("minimize", "apply_gradients")},
}


def install(patches: Patches) -> None:
    """Refuse Keras 2's training, in modules that are loaded and in those that the cell is going to load."""
    for name in _TRAINING:
        if name in sys.modules:
            _refuse_in(sys.modules[name], patches)
    finders: list[Any] = [_Finder(patches), *sys.meta_path]
    patches.wrap(sys, "meta_path", lambda _: finders)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that train as Python does, and changes them when they have been loaded."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _TRAINING:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._patches)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, patches: Patches) -> None:
        self._loader, self._patches = loader, patches

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _refuse_in(module, self._patches)

    def __getattr__(self, name: str) -> Any:  # the source, for tracebacks and AutoGraph
        return getattr(self._loader, name)


def _refuse_in(module: ModuleType, patches: Patches) -> None:
    for kind, methods in _TRAINING[module.__name__].items():
        owner = getattr(module, kind)
        for method in methods:
            patches.wrap(owner, method, _refusing)


def _refusing(original: Any) -> Any:
    @functools.wraps(original)
    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        called = f"{type(self).__name__}.{original.__name__}"
        raise UnsupportedError(
            f"{called} is of tf_keras (Keras 2), which several ranks cannot train together: "
            "make the model with keras (Keras 3; unset TF_USE_LEGACY_KERAS if it is set), or train with -n 1"
        )

    return refuse
