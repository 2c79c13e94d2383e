"""Replace attributes of Keras for the time of a session, and check beforehand that they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hops_magic.errors import UnsupportedError

_MISSING = object()


class Patches:
    """Attributes that were replaced; :meth:`undo` brings the originals back in reverse order."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` by ``make(original)``.

        Raises
        ------
        UnsupportedError
            If this version of Keras has no such attribute.
        """
        original = getattr(owner, name, _MISSING)
        if original is _MISSING:
            import keras

            raise UnsupportedError(
                f"Keras {keras.__version__} has no {getattr(owner, '__name__', owner)}.{name}: "
                "data-parallel fit supports Keras 3.15; install that version, or train with -n 1"
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
