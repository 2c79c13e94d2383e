"""Which features the notebook's names come from, followed from cell to cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hops_magic.cells.analysis import reads_and_binds
from hops_magic.runs.inputs import FeatureInput, merged


class Provenance:
    """The features behind each name of a notebook.

    What a cell binds comes from all that the cell read: from the store itself, and from names that have come from it. That
    may name too much where a cell does several things, and never too little.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[FeatureInput, ...]] = {}

    def cell_ran(self, source: str, read: Iterable[FeatureInput]) -> None:
        """Follow a cell that has been executed, and read this from the store meanwhile."""
        reads, binds = reads_and_binds(source)
        inputs = merged([*read, *(each for name in sorted(reads) for each in self._by_name.get(name, ()))])
        for name in binds:
            if inputs:
                self._by_name[name] = inputs
            else:
                self._by_name.pop(name, None)

    def named(self, name: str, inputs: Iterable[FeatureInput]) -> None:
        """Say that a name comes from this: a magic has bound it."""
        self._by_name[name] = merged(inputs)

    def of(self, names: Iterable[str]) -> tuple[FeatureInput, ...]:
        """Return the features behind some names."""
        return merged(each for name in names for each in self._by_name.get(name, ()))

    @property
    def by_name(self) -> Mapping[str, tuple[FeatureInput, ...]]:
        """The features behind each name, as they are now."""
        return dict(self._by_name)
