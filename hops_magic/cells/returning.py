"""What comes back beside the names that a cell bound or changed, and how it is told from what had come from the notebook."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hops_magic.cells.arrays import arrays_in, is_array
from hops_magic.cells.homecoming import ReturnPickler, view_layout
from hops_magic.cells.layouts import is_memory
from hops_magic.cells.pickled import Pickled, may_change
from hops_magic.cells.program import Outcome
from hops_magic.cells.travel import LARGE_BYTES, Reducer, dumps
from hops_magic.cells.watch import Changes, Watch

BEFORE = " as it came"
"""Ends the name under which an object travels whose own name the cell gave to something else."""
PARTED = " no longer holds"
"""Ends the name under which objects travel that the named one held when it came."""


def plain(name: str) -> str:
    """Return a name without what tells how it travels."""
    return name.removesuffix(BEFORE).removesuffix(PARTED)


@dataclass(frozen=True, kw_only=True)
class TakenAlong:
    """What came from the notebook: numbers by id, ids of what may have changed and of what has a name, arrays that stay."""

    numbers: Mapping[int, int]
    changed: frozenset[int]
    named: frozenset[int]
    arrays: Mapping[int, Any]

    @classmethod
    def of(cls, outcome: Outcome, pickles: Mapping[str, Pickled], changes: Changes | None) -> TakenAlong:
        # nothing comes back that could be the notebook's own
        things = outcome.taken.things if any(pickled.parts for pickled in pickles.values()) else {}
        numbers = {id(thing): number for number, thing in things.items()}
        # without a watch, all that comes back may have changed
        names = pickles if changes is None else [name for name in pickles if plain(name) in changes.names]
        changed = (
            {number for name in names for number in numbers.keys() & pickles[name].memo.entries.keys()} if numbers else set()
        )
        coming = {id(part) for pickled in pickles.values() for part in pickled.arrays}
        stale = changes.edited_arrays if changes is not None else frozenset()
        arrays = {numbers[id(array)]: array for array in arrays_in(things.values()) if not is_memory(array)}
        kept = {number: array for number, array in arrays.items() if id(array) in coming or id(array) not in stale}
        named = frozenset(map(id, outcome.taken.names.values()))
        return cls(numbers=numbers, changed=frozenset(changed), named=named, arrays=kept)

    def by_name(self, names: Mapping[str, Any]) -> dict[str, int]:
        return {name: self.numbers[id(value)] for name, value in names.items() if id(value) in self.numbers}

    def pickle(
        self, value: Any, pickled: Iterable[Pickled], namespace: Mapping[str, Any], reducers: Sequence[Reducer]
    ) -> Pickled:
        """Pickle a value that was pickled in parts."""
        pickler = functools.partial(ReturnPickler, numbers=self.numbers, changed=self.changed, named=self.named)
        return dumps(value, namespace, reducers, pickler=pickler, layout=view_layout(self.arrays, pickled))


def add_made(pickles: dict[str, Pickled], values: dict[str, Any], outcome: Outcome, reducers: Sequence[Reducer]) -> None:
    """Add the variables that modules made here and that come back anyhow, as those of their modules."""
    made = {name: value for name, value in outcome.taken.variables.made.items() if name not in values and may_change(value)}
    inside = set().union(*(pickled.parts for pickled in pickles.values())) if made else set()
    for name, value in made.items():
        if id(value) in inside:
            values[name], pickles[name] = value, dumps(value, outcome.namespace, reducers)


def _may_have_changed(part: Any, changes: Changes) -> bool:
    return not is_array(part) or part.nbytes < LARGE_BYTES or id(part) in changes.edited_arrays


def add_parted(
    pickles: dict[str, Pickled],
    values: dict[str, Any],
    watch: Watch,
    changes: Changes,
    outcome: Outcome,
    reducers: Sequence[Reducer],
) -> None:
    """Add what a changed object holds no more: it may have changed before, and the notebook may have it elsewhere."""
    inside = {number for pickled in pickles.values() for number in pickled.parts} if changes.names else set()
    for name in changes.names:
        if name not in pickles and name + BEFORE not in pickles:  # it is left behind
            continue
        parted = [
            part
            for part in watch.parts_before(name)
            if id(part) not in inside and not isinstance(part, type) and _may_have_changed(part, changes)
        ]
        if parted:
            try:
                pickles[name + PARTED] = dumps(parted, outcome.namespace, reducers)
            except Exception:  # noqa: BLE001, S112 (pickling runs code of any library; it could be pickled when it came)
                continue
            values[name + PARTED] = parted
            inside |= set(pickles[name + PARTED].parts)
