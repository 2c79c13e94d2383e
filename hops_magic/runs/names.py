"""The rule for names that users give to registered models, for whoever checks them early and for the registry."""

from __future__ import annotations

import re

MODEL_NAME_RULE = "must be of letters, digits, spaces and . _ -, at most 200 of them"
_MODEL_NAME = re.compile(r"[\w][\w .-]{0,199}")


def is_model_name(name: str) -> bool:
    """Whether a registered model may have this name."""
    return _MODEL_NAME.fullmatch(name) is not None
