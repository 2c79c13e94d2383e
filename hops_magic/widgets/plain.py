"""Text that ranks wrote, made harmless: escapes and control characters read as a terminal would read them."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\-_]?)")
_BACKSPACES = re.compile(r"\x08+")


def clean(text: str) -> str:
    """Strip escapes, apply carriage returns and backspaces, drop other control and direction characters."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    if "\r" in text or "\x08" in text:
        text = "\n".join(_overwritten(line) for line in text.split("\n"))
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf"))


def one_line(text: str, limit: int = 200) -> str:
    """Clean a text and keep what fits on one line of ``limit`` characters."""
    # more than the limit is cleaned, for what escapes and spaces take away
    flat = " ".join(clean(text[: 4 * limit]).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _overwritten(line: str) -> str:
    """Return what a terminal shows of a line whose cursor went back."""
    shown = ""
    for part in _BACKSPACES.sub("\r", line).split("\r"):
        # progress bars rewrite the whole line; what they do not reach stays, as on a terminal
        shown = part + shown[len(part) :]
    return shown
