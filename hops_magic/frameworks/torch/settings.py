"""PyTorch's global settings, which a notebook makes in one cell and relies on in the next: they travel with a program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def settings_here() -> dict[str, Any]:
    """Return the settings of this process, by name; none where PyTorch is not imported."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):
        return {}
    return {
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "only_warns": torch.is_deterministic_algorithms_warn_only_enabled(),
    }


def apply_settings(settings: Mapping[str, Any]) -> None:
    """Make this process's settings those of the notebook."""
    if not settings:
        return
    import torch

    torch.set_default_dtype(getattr(torch, settings["default_dtype"]))
    torch.set_float32_matmul_precision(settings["float32_matmul_precision"])
    torch.use_deterministic_algorithms(settings["deterministic"], warn_only=settings["only_warns"])
