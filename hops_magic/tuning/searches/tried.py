"""Which points of a space have been proposed or told."""

from __future__ import annotations

import json

from hops_magic.tuning.search import Point
from hops_magic.tuning.space import Space


class Tried:
    """Points by what the cell sees: raw coordinates may differ, as 2 and 2.0 do, and mean the same."""

    def __init__(self, space: Space) -> None:
        self._dimensions = space.dimensions()
        self._keys: set[str] = set()

    def __contains__(self, point: Point) -> bool:
        return self._key(point) in self._keys

    def add(self, point: Point) -> None:
        """Remember a point."""
        self._keys.add(self._key(point))

    def _key(self, point: Point) -> str:
        return json.dumps({label: self._dimensions[label].cast(raw) for label, raw in point.items()}, sort_keys=True)
