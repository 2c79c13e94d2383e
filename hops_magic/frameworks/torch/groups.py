"""Code that makes its own process group is refused: two ways of making gradients global would join them twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.patches import Patches


def install(patches: Patches) -> None:
    """Hook ``torch.distributed.init_process_group``."""
    import torch.distributed

    if torch.distributed.is_available():
        patches.wrap(torch.distributed, "init_process_group", _refusing)


def _refusing(_: Callable[..., Any]) -> Callable[..., NoReturn]:
    def init_process_group(*_: object, **__: object) -> NoReturn:
        raise UnsupportedError(
            "the cell makes a process group of its own (init_process_group), while its gradients are joined already: "
            "leave out the group, DistributedDataParallel and the sampler; a plain loop is data-parallel here"
        )

    return init_process_group
