"""Answers as JSON that every client can read."""

from __future__ import annotations

import json
import math
from typing import Any


def encoded(plain: Any) -> str:
    """Return plain values as JSON; numbers that JSON does not know are null."""
    try:
        return json.dumps(plain, allow_nan=False)
    except ValueError:
        return json.dumps(cleaned(plain), allow_nan=False)


def cleaned(plain: Any) -> Any:
    """Return plain values with null for numbers that JSON does not know, which free fields such as options may hold."""
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, dict):
        return {_name(key): cleaned(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [cleaned(value) for value in plain]
    return plain


def _name(key: Any) -> Any:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
