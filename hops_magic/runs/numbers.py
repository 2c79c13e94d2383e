"""Numbers as any library has them."""

from __future__ import annotations

import math
from typing import Any


def as_number(value: Any) -> float:
    """Return the number that a scalar of any library is, or an array or tensor of one number.

    Raises
    ------
    TypeError, ValueError
        For anything else, texts and whole numbers beyond all floats included.
    """
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r:.80} is a text")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("it is larger than any float") from None
    except TypeError:
        shape = getattr(value, "shape", None)
        if shape is None or math.prod(shape) != 1:
            raise
        array = value.numpy() if callable(getattr(value, "numpy", None)) else value
        if not callable(getattr(array, "item", None)):
            raise
        return float(array.item())
