"""Tell which of the things that a program took along its cell has changed."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hops_magic.cells.arrays import arrays_in, extent
from hops_magic.cells.memory import BufferMemory
from hops_magic.cells.program import Taken
from hops_magic.cells.travel import Reducer, digest, dumps

Fingerprint = Callable[[Any], bytes | None]
"""Content of an object that pickles differently each time; None if it does not know such objects."""

# values of these types cannot be changed, or are not looked into
_UNWATCHED = (types.ModuleType, str, bytes, int, float, complex)


@dataclass(frozen=True)
class Changes:
    """Names whose objects the cell changed; ``in_place`` are those of them whose mapped data it wrote to.

    ``edited_arrays`` are the ids of the arrays in that data.
    """

    names: tuple[str, ...] = ()
    in_place: frozenset[str] = frozenset()
    edited_arrays: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _State:
    content: str
    regions: frozenset[int] = field(default_factory=frozenset)


class Watch:
    """Remembers what the taken names were, to tell which the cell changed."""

    def __init__(self, reducers: Sequence[Reducer] = (), fingerprint: Fingerprint | None = None) -> None:
        self._reducers, self._fingerprint = reducers, fingerprint
        self._before: dict[str, _State] = {}
        self._memory = BufferMemory(())
        self._taken: Taken | None = None

    def begin(self, taken: Taken) -> None:
        """Take note of the names as they came."""
        self._taken, self._memory = taken, BufferMemory(taken.mapped)
        for name, value in taken.names.items():
            if value is not None and not isinstance(value, _UNWATCHED) and (state := self._state(value)) is not None:
                self._before[name] = state

    def changes(self) -> Changes:
        """Return the names whose objects are not what they were."""
        if self._taken is None:
            return Changes()
        edited = self._memory.edited()
        names, in_place = [], set()
        for name, before in self._before.items():
            now = self._state(self._taken.names[name])
            if before.regions & edited:
                in_place.add(name)
            if name in in_place or (now is not None and now.content != before.content):
                names.append(name)
        return Changes(tuple(names), frozenset(in_place), self._arrays_in(edited))

    def _arrays_in(self, edited: set[int]) -> frozenset[int]:
        arrays = arrays_in(self._taken.things.values()) if self._taken is not None and edited else ()
        places = {id(array): self._memory.region_at(*extent(array)) for array in arrays}
        return frozenset(array for array, place in places.items() if place is not None and place[0] in edited)

    def _state(self, value: Any) -> _State | None:
        namespace: Mapping[str, Any] = self._taken.namespace if self._taken else {}
        try:
            if self._fingerprint is not None and (found := self._fingerprint(value)) is not None:
                return _State(digest(found))
            pickled = dumps(value, namespace, self._reducers)
        except Exception:  # noqa: BLE001 (what cannot be pickled cannot come back either, whatever it raises)
            return None
        content, regions = [digest(pickled.stream)], set()
        for raw in pickled.buffers:
            if place := self._memory.region_of(raw):
                number, offset = place
                regions.add(number)
                content.append(f"{self._memory.digest_of_region(number)}+{offset}+{raw.nbytes}")
            else:
                content.append(digest(raw))
        return _State(" ".join(content), frozenset(regions))
