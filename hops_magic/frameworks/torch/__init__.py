"""PyTorch: an ordinary training loop made data-parallel, as one process would run it.

Nothing here imports PyTorch before a session begins, or before one of its objects travels.
"""

from __future__ import annotations

from hops_magic.frameworks.torch.adapter import TorchFramework
from hops_magic.frameworks.torch.keeping import ML_MODEL, is_module, load_model, save_model
from hops_magic.frameworks.torch.pickling import reducers, update_in_place
from hops_magic.frameworks.torch.settings import settings_here

__all__ = [
    "ML_MODEL",
    "TorchFramework",
    "is_module",
    "load_model",
    "reducers",
    "save_model",
    "settings_here",
    "update_in_place",
]
