"""Questions that code asks its user: a rank has no keyboard, and says so instead of failing on the end of its input."""

from __future__ import annotations

import builtins
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from hops_magic.errors import UsageError


@contextmanager
def no_questions() -> Iterator[None]:
    """Refuse ``input`` and ``getpass`` in one sentence, for the time of a cell."""
    before = builtins.input, getpass.getpass
    builtins.input, getpass.getpass = _refusing("input"), _refusing("getpass")
    try:
        yield
    finally:
        builtins.input, getpass.getpass = before


def _refusing(name: str) -> Any:
    def ask(prompt: object = "", *_: object, **__: object) -> NoReturn:
        asked = repr(str(prompt)[:80]) if prompt else ""
        raise UsageError(
            f"nobody can answer {name}({asked}) on a rank: ask in a cell before this one, and use the answer here"
        )

    return ask
