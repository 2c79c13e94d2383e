"""A pickled value, and what lies inside it.

That is read from the pickler's memo, and only when somebody asks: to read the memo of a million small objects takes several
times as long as to pickle them.
"""

from __future__ import annotations

import contextlib
import gc
import io
import pickle
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cloudpickle.cloudpickle import _should_pickle_by_reference

from hops_magic.cells.tables import InTable, array_of

if TYPE_CHECKING:
    from hops_magic.cells.travel import Pickler

# two values that share one of these need not share it on the other side
_VALUES = (str, bytes, int, float, complex, tuple, frozenset)
_FIXED = (types.BuiltinFunctionType, types.ModuleType, types.CodeType, pickle.PickleBuffer)
_CONTAINERS = frozenset({list, dict, set, bytearray})
_PLAIN = frozenset({str, bytes, int, float, tuple, frozenset, complex})
_GETS = ((b"h", 3), (b"j", 6))  # opcode, number of one byte or four, and the stop
_FRAME, _FRAMED = b"\x95", 11  # where the first opcode stands: behind the protocol, or behind a frame's length too


class Memo:
    """What a pickler has pickled."""

    def __init__(self, pickler: Pickler, file: io.BytesIO, mark: object) -> None:
        self._pickler, self._file, self._mark = pickler, file, mark
        self._end: int | None = None

    @cached_property
    def parts(self) -> dict[int, object]:
        """By id, those of these things that are no classes: a class that arrives twice is one class."""
        return {id(part): part for part in self.numbered.values() if not isinstance(part, type | InTable)}

    def clear(self) -> None:
        """Forget it all: what it refers to would look as if somebody else held it."""
        self._pickler.clear_memo()
        self._end = None
        for found in ("numbered", "parts"):
            vars(self).pop(found, None)

    @property
    def places(self) -> dict[int, int]:
        """By id, the numbers of all that was pickled."""
        return {part: number for part, (number, _) in self.entries.items()}

    @property
    def entries(self) -> dict[int, tuple[int, object]]:
        """All that was pickled: by id, its number and itself."""
        entries: dict[int, tuple[int, object]] = self._pickler.memo.copy()
        end = self._end
        return entries if end is None else {part: entry for part, entry in entries.items() if entry[0] < end}

    @cached_property
    def numbered(self) -> dict[int, object]:
        """Things that may change, and classes, by the number that unpickling gives each too."""
        with without_collector():
            memo = self.entries
            found = {number: part for number, part in memo.values() if type(part) in _CONTAINERS or may_change(part)}
            left_out = {*self._pickler.inside(), *map(id, self._pickler.temporary), id(self._mark)}
            found = {number: part for number, part in found.items() if id(part) not in left_out}
            # what nobody else has of a table is part of it, and none that another value may share
            tables = {id(array_of(block)): block for block in self._pickler.blocks if not block.refs.has_reference()}
            alone = {memo[array][0]: InTable(tables[array]) for array in left_out & tables.keys() & memo.keys()}
            return {**found, **alone}

    def holds(self, thing: object) -> bool:
        """Whether the pickler has pickled this object: then it says no more than where."""
        if self._end is None:
            mark: list[Any] = []
            self._said(mark)
            self._end = self._number(self._said(mark))  # what has a number from here on is none of it
        number = self._number(self._said(thing))
        return number is not None and self._end is not None and number < self._end

    def _number(self, said: bytes) -> int | None:
        """The number that a pickle consists of; None if there is more in it."""
        first = _FRAMED if said[2:3] == _FRAME else 2
        is_number = (said[first : first + 1], len(said) - first) in _GETS
        return int.from_bytes(said[first + 1 : -1], "little") if is_number else None

    def _said(self, thing: object) -> bytes:
        self._file.seek(0)
        self._file.truncate()
        self._pickler.dump(thing)
        return self._file.getvalue()


@dataclass(frozen=True, kw_only=True)
class Pickled:
    """A pickled value, and what was learnt of it on the way.

    Attributes
    ----------
    stream : bytes
    buffers : tuple of memoryview
        Its large buffers, in the order in which the stream wants them; not copied.
    memo : Memo
    arrays : tuple of numpy.ndarray
        The arrays inside it whose memory another one may share.
    blocks : tuple
        The blocks of tables inside it whose arrays a NumPy array outside may share.
    owners : mapping
        By id, the bytes of Python's own in which some of these arrays lie.
    reads : frozenset of str
        Names of the notebook that functions inside it read.
    writes : frozenset of str
        Names of the notebook that functions inside it bind.
    modules : frozenset of str
        Modules that must be importable where it arrives.
    files : frozenset of str
        Files of the code inside it, to show its lines in tracebacks.
    notes : tuple of str
        What of it will be otherwise where it arrives.
    """

    stream: bytes
    buffers: tuple[memoryview, ...]
    memo: Memo
    arrays: tuple[Any, ...]
    blocks: tuple[Any, ...]
    owners: Mapping[int, object]
    reads: frozenset[str]
    writes: frozenset[str]
    modules: frozenset[str]
    files: frozenset[str]
    notes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes that travel."""
        return len(self.stream) + sum(raw.nbytes for raw in self.buffers)

    @property
    def numbered(self) -> Mapping[int, object]:
        """The things inside it that may change and the classes, by the number that unpickling gives each too."""
        return self.memo.numbered

    def holds(self, part: object) -> bool:
        """Whether this object is inside, or an array that is inside lies in it."""
        return id(part) in self.owners or self.memo.holds(part)

    @property
    def parts(self) -> Mapping[int, object]:
        """By id, the things inside it that another value may share with it."""
        return {**self.memo.parts, **self.owners} if self.owners else self.memo.parts


def may_change(part: object) -> bool:
    """Whether an object may be changed, as far as its kind tells."""
    if type(part) in _PLAIN:
        return False
    if isinstance(part, types.FunctionType | type):
        return not _should_pickle_by_reference(part)
    if isinstance(part, _VALUES):  # a number or a text of a class of the user's own may have attributes
        return bool(getattr(part, "__dict__", None))
    return not isinstance(part, _FIXED)


def numbered_in(memo: Mapping[int, Any]) -> dict[int, Any]:
    """Return the same of the memo of an unpickler."""
    with without_collector():
        return {number: part for number, part in memo.items() if type(part) in _CONTAINERS or may_change(part)}


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """A million new tuples make the collector look at the whole heap again and again, for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
