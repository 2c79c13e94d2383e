"""Tell which of the things that a program took along its cell has changed."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hops_magic.cells.arrays import arrays_in, extent
from hops_magic.cells.digests import digest
from hops_magic.cells.memory import BufferMemory
from hops_magic.cells.pickled import Memo
from hops_magic.cells.program import Taken
from hops_magic.cells.travel import Reducer, dumps

Fingerprint = Callable[[Any], bytes | None]
"""Content of an object that pickles differently each time; None if it does not know such objects."""

# values of these types cannot be changed, or are not looked into
_UNWATCHED = (types.ModuleType, str, bytes, int, float, complex)


@dataclass(frozen=True)
class Changes:
    """Names whose objects the cell changed; ``in_place`` are those of them whose mapped data it wrote to.

    ``edited_arrays`` are the ids of the arrays in that data. ``made`` are variables of modules that made them on the rank.
    """

    names: tuple[str, ...] = ()
    in_place: frozenset[str] = frozenset()
    edited_arrays: frozenset[int] = frozenset()
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _State:
    content: str
    regions: frozenset[int] = field(default_factory=frozenset)
    memo: Memo | None = None
    places: dict[int, int] = field(default_factory=dict)

    def settle(self) -> None:
        """Keep where things are, and not the things: they would look as if somebody else held them."""
        if self.memo is not None:
            self.places = self.memo.places
            self.memo.clear()
            self.memo = None


class Watch:
    """Remembers what the taken names were, to tell which the cell changed."""

    def __init__(self, reducers: Sequence[Reducer] = (), fingerprint: Fingerprint | None = None) -> None:
        self._reducers, self._fingerprint = reducers, fingerprint
        self._before: dict[str, _State] = {}
        self._values: dict[str, Any] = {}
        self._memory = BufferMemory(())
        self._taken: Taken | None = None

    def begin(self, taken: Taken) -> None:
        """Take note of the names as they came."""
        self._taken, self._memory = taken, BufferMemory(taken.mapped)
        for name, value in {**taken.variables.made, **taken.names}.items():
            self._note(name, value)
        # what a module holds that the cell imports first
        taken.variables.on_made = self._note

    def _note(self, name: str, value: Any) -> None:
        if value is not None and type(value) not in _UNWATCHED and (state := self._state(value)) is not None:
            self._before[name], self._values[name] = state, value

    def changes(self) -> Changes:
        """Return the names whose objects are not what they were."""
        if self._taken is None:
            return Changes()
        edited = self._memory.edited()
        for before in self._before.values():
            before.settle()
        names, in_place = [], set()
        for name, before in self._before.items():
            now = self._state(self._values[name])
            if before.regions & edited:
                in_place.add(name)
            if name in in_place or (now is not None and not (now.content == before.content and self._same(before, now))):
                names.append(name)
        taken = [name for name in names if name in self._taken.names]
        made = {name: self._values[name] for name in names if name not in self._taken.names}
        return Changes(tuple(taken), frozenset(in_place), self._arrays_in(edited), made)

    def parts_before(self, name: str) -> list[object]:
        """Return what had come from the notebook and could be reached from a name when the cell began."""
        places = self._before[name].places
        return [thing for number, thing in self._arrived.items() if number in places]

    def _same(self, before: _State, now: _State) -> bool:
        """Whether the same objects are in the same places: objects that changed places may well look alike."""
        now.settle()
        if before.places == now.places:
            return True
        # what is made anew each time a value is pickled has no place to keep
        first, second = (
            sorted((place, part) for part, place in state.places.items() if part in self._arrived) for state in (before, now)
        )
        return first == second

    @cached_property
    def _arrived(self) -> dict[int, object]:
        return {id(thing): thing for thing in self._taken.things.values()} if self._taken is not None else {}

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
        return _State(" ".join(content), frozenset(regions), pickled.memo)
