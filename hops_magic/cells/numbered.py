"""The things that a program takes along, by numbers that are the same in the notebook and on the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_STEP = 1 << 32
"""No bundle holds so many things."""


class Numbered(Mapping[int, Any]):
    """The things of several bundles, each of which is looked into when it is first asked for one."""

    def __init__(self) -> None:
        self._bundles: list[Callable[[], Mapping[int, Any]]] = []

    def add(self, things: Callable[[], Mapping[int, Any]]) -> None:
        """Add the next bundle."""
        self._bundles.append(things)

    def __getitem__(self, number: int) -> Any:
        bundle, place = divmod(number, _STEP)
        if bundle >= len(self._bundles):
            raise KeyError(number)
        return self._bundles[bundle]()[place]

    def __iter__(self) -> Iterator[int]:
        for bundle, things in enumerate(self._bundles):
            yield from (bundle * _STEP + number for number in things())

    def __len__(self) -> int:
        return sum(len(things()) for things in self._bundles)
