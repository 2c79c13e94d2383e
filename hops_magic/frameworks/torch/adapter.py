"""The adapter: a rank's process made ready for PyTorch, and its hooks for the time of the cell."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.patches import Patches
from hops_magic.frameworks.stopping import StopRequested

if TYPE_CHECKING:
    from hops_magic.frameworks.torch.watching import Watch

_NO_GPU_FOUND = (
    "PyTorch finds no GPU where the ranks have one, and trains on the CPU: is a CUDA build of PyTorch installed there, "
    "and does nvidia-smi work?"
)
_NEEDED = "training loops are watched, and made data-parallel, with PyTorch 2.13"


class TorchFramework:
    """PyTorch."""

    name = "torch"
    preload: tuple[str, ...] = ("torch",)

    @contextmanager
    def session(self, context: RankContext) -> Iterator[Mapping[str, Any]]:
        """Prepare the process, and hook what a training loop calls.

        Raises
        ------
        UnsupportedError
            Where PyTorch is not installed, or lacks what is hooked.
        """
        if importlib.util.find_spec("torch") is None:
            raise UnsupportedError("PyTorch is not installed where the ranks run: install it there, or use --framework none")
        import numpy as np
        import torch

        from hops_magic.frameworks.torch.settings import apply_settings

        apply_settings(context.settings.get("torch", {}))
        torch.set_num_threads(context.threads)
        random.seed(context.seed)
        np.random.seed(context.seed % 2**32)
        torch.manual_seed(context.seed)
        if context.gpus and not torch.backends.cuda.is_built():
            from hops_magic.runs.events import Warned

            context.emit(Warned(message=_NO_GPU_FOUND))
        with _hooks(context):
            yield {}


def _hooks(context: RankContext) -> AbstractContextManager[None]:
    if context.world_size == 1:
        return _watched(context)
    return nullcontext() if context.strategy == "none" else _hooked(context)


@contextmanager
def _watched(context: RankContext) -> Iterator[None]:
    from hops_magic.frameworks.torch import watching
    from hops_magic.frameworks.torch.state import StepState

    watch, patches = watching.Watch(StepState(context)), Patches("torch", _NEEDED)
    try:
        watching.install_alone(patches, watch)
        watching.install(patches, watch)
        with _keeping(watch):
            yield
    finally:
        watch.close()
        patches.undo()


@contextmanager
def _hooked(context: RankContext) -> Iterator[None]:
    from hops_magic.frameworks.torch import batchnorm, gradients, groups, loaders, losses, watching
    from hops_magic.frameworks.torch.first_step import FirstStep
    from hops_magic.frameworks.torch.state import StepState

    state = StepState(context)
    first_step, watch = FirstStep(state), watching.Watch(state)
    patches = Patches("torch", _NEEDED)
    try:
        loaders.install(patches, state, first_step, watch)
        gradients.install(patches, first_step.calibration, watch)
        watching.install(patches, watch)
        batchnorm.install(patches, state)
        losses.install(patches, state)
        groups.install(patches)
        with _keeping(watch):
            yield
        first_step.close()
    finally:
        watch.close()
        patches.undo()
        first_step.end()


@contextmanager
def _keeping(watch: Watch) -> Iterator[None]:
    """Keep the model at the end of the cell, and where a stop has ended it."""
    try:
        yield
    except StopRequested:
        watch.keep_model()
        raise
    watch.keep_model()
