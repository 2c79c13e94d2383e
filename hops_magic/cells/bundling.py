"""Which values are pickled together, and in which order they must arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hops_magic.cells.arrays import overlapping
from hops_magic.cells.travel import Pickled


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

    owners: dict[int, str] = {}
    for name in values:
        for part in pickles[name].parts:
            if part in owners:
                leader[find(name)] = find(owners[part])
            owners[part] = name
    holders = {id(array): (array, name) for name in values for array in pickles[name].arrays}
    for group in overlapping([array for array, _ in holders.values()]):
        first, *others = (holders[id(array)][1] for array in group)
        for other in others:
            leader[find(other)] = find(first)
    return {name: find(name) for name in values}


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
