"""Where large buffers lie in this process, and which of them were written to."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hops_magic.cells.arrays import address_of
from hops_magic.cells.digests import digest
from hops_magic.cells.program import Mapped

_AREA = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)")
# pages that are this process's own copies, in memory or swapped out
_OWN_PAGES = ("Anonymous:", "Swap:")


class BufferMemory:
    """The mapped buffers of a program, by address."""

    def __init__(self, mapped: Sequence[Mapped]) -> None:
        self._regions = sorted(((address_of(one.memory), one) for one in mapped), key=lambda region: region[0])
        self._starts = [start for start, _ in self._regions]

    def region_of(self, raw: memoryview) -> tuple[int, int] | None:
        """Return the number of the mapped buffer in which some memory lies, and its offset there; None if in none."""
        start = address_of(raw)
        return self.region_at(start, start + raw.nbytes)

    def region_at(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the same of the memory between two addresses."""
        number = bisect.bisect_right(self._starts, start) - 1
        if number < 0 or end > self._starts[number] + self._regions[number][1].memory.nbytes:
            return None
        return number, start - self._starts[number]

    def digest_of_region(self, number: int) -> str:
        """Return the hash that a mapped buffer had when it arrived."""
        return self._regions[number][1].digest

    def edited(self) -> set[int]:
        """Return the numbers of the mapped buffers that this process has written to."""
        if not self._regions:
            return set()
        areas = list(_areas())
        return {number for number in range(len(self._regions)) if self._is_edited(number, areas)}

    def _is_edited(self, number: int, areas: Sequence[tuple[int, int, bool, int]]) -> bool:
        start, (_, one) = self._starts[number], self._regions[number]
        end = start + one.memory.nbytes
        inside = [area for area in areas if area[0] < end and area[1] > start]
        if inside and all(is_file for _, _, is_file, _ in inside):
            return any(own for *_, own in inside)
        # not mapped from a file, or no such system: read it all
        return digest(one.memory) != one.digest


def _areas() -> Iterator[tuple[int, int, bool, int]]:
    """The process's memory areas: start, end, whether of a file, and KiB that are its own copies."""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return
    area: tuple[int, int, bool] | None = None
    own = 0
    for line in lines:
        if found := _AREA.match(line):
            if area is not None:
                yield *area, own
            area, own = (int(found[1], 16), int(found[2], 16), found[3] != "0"), 0
        elif line.startswith(_OWN_PAGES):
            own += int(line.split()[1])
    if area is not None:
        yield *area, own
