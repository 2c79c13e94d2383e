"""Which values are pickled together, and in which order they must arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hops_magic.cells.pickled import Pickled
from hops_magic.cells.tables import array_of, joined

_FEW = 1_000


def bundled(values: Mapping[str, Any], pickles: Mapping[str, Pickled]) -> list[dict[str, Any]]:
    """Part values into bundles, in the order in which they must arrive.

    Values that share something mutable, or memory, are pickled together, to share it again. What a value's functions read
    comes before the value, whose making may call them.
    """
    leader = _leaders(values, pickles)
    bundles: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        bundles.setdefault(leader[name], {})[name] = value
    done: dict[str, dict[str, Any]] = {}
    for first in bundles:
        _arrange(first, leader, bundles, pickles, done, set())
    return list(done.values())


def _leaders(values: Mapping[str, Any], pickles: Mapping[str, Pickled]) -> dict[str, str]:
    leader = {name: name for name in values}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for one, other in [*_sharing(values, pickles), *_overlapping(values, pickles)]:
        leader[find(one)] = find(other)
    return {name: find(name) for name in values}


def _sharing(names: Iterable[str], pickles: Mapping[str, Pickled]) -> Iterator[tuple[str, str]]:
    """Yield pairs of names whose values have an object in common."""
    *others, largest = sorted(names, key=lambda name: len(pickles[name].stream)) or [""]
    owners: dict[int, str] = {}
    parts: dict[int, object] = {}
    for name in others:
        for number, part in pickles[name].parts.items():
            if number in owners:
                yield name, owners[number]
            owners[number], parts[number] = name, part
    if not parts:
        return
    large = pickles[largest]
    # to ask for a few is much faster than to look at all of it
    common = (
        filter(large.holds, parts.values()) if len(parts) <= _FEW else (large.parts[n] for n in parts if n in large.parts)
    )
    for part in common:
        yield largest, owners[id(part)]


def _overlapping(names: Iterable[str], pickles: Mapping[str, Pickled]) -> Iterator[tuple[str, str]]:
    """Yield pairs of names whose arrays, or tables, lie in the same memory."""
    owners = {id(array): name for name in names for array in pickles[name].arrays}
    owners |= {id(array_of(block)): name for name in names for block in pickles[name].blocks}
    arrays = {id(array): array for name in names for array in pickles[name].arrays}
    for group in joined([*arrays.values()], [block for name in names for block in pickles[name].blocks]):
        first, *others = (owners[id(array)] for array in group)
        yield from ((other, first) for other in others)


def _arrange(
    first: str,
    leader: Mapping[str, str],
    bundles: Mapping[str, dict[str, Any]],
    pickles: Mapping[str, Pickled],
    done: dict[str, dict[str, Any]],
    above: set[str],
) -> None:
    if first in done or first in above:  # functions that read each other may arrive in any order
        return
    above.add(first)
    reads: set[str] = set().union(*(pickles[name].reads for name in bundles[first]))
    for name in sorted(reads):
        if name in leader:
            _arrange(leader[name], leader, bundles, pickles, done, above)
    done[first] = bundles[first]
