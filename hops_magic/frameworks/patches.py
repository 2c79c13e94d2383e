"""Replace attributes of a framework for the time of a session, and check beforehand that they are there."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hops_magic.errors import UnsupportedError

_MISSING = object()


class Patches:
    """Attributes that were replaced; :meth:`undo` brings the originals back in reverse order.

    Parameters
    ----------
    library
        Module whose attributes they are.
    needed
        The version that has them, for the error where one is missing.
    """

    def __init__(self, library: str = "keras", needed: str = "data-parallel fit supports Keras 3.15") -> None:
        self._library, self._needed = library, needed
        self._replaced: list[tuple[Any, str, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` by ``make(original)``.

        Raises
        ------
        UnsupportedError
            If this version of the library has no such attribute.
        """
        original = getattr(owner, name, _MISSING)
        if original is _MISSING:
            version = importlib.import_module(self._library).__version__
            raise UnsupportedError(
                f"{self._library.capitalize()} {version} has no {getattr(owner, '__name__', owner)}.{name}: "
                f"{self._needed}; install that version, or train with -n 1"
            )
        self._replaced.append((owner, name, original))
        setattr(owner, name, make(original))

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Bring the originals back for a while."""
        now = [(owner, name, getattr(owner, name)) for owner, name, _ in self._replaced]
        for owner, name, original in reversed(self._replaced):
            setattr(owner, name, original)
        try:
            yield
        finally:
            for each in now:
                setattr(*each)

    def undo(self) -> None:
        """Restore what was there before."""
        while self._replaced:
            setattr(*self._replaced.pop())
