"""What comes back from rank 0: packed into a parcel there, put into the notebook's namespace here."""

from __future__ import annotations

import ast
import importlib
import operator
import sys
import types
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hops_magic.cells.adopting import Update
from hops_magic.cells.analysis import imported_modules
from hops_magic.cells.bundling import bundled
from hops_magic.cells.culprits import find_culprit
from hops_magic.cells.homecoming import Homecoming, HomeUnpickler
from hops_magic.cells.module_state import delete_variable, is_variable, set_variable
from hops_magic.cells.parcel import Index, PackedBundle, Parcel, Parts, write_parcel
from hops_magic.cells.pickled import Pickled
from hops_magic.cells.program import Outcome, Program
from hops_magic.cells.returning import BEFORE, TakenAlong, add_made, add_parted, plain
from hops_magic.cells.staying import CannotTravelError
from hops_magic.cells.travel import LARGE_BYTES, Reducer, dumps, failure_of, loads
from hops_magic.cells.watch import Changes, Watch
from hops_magic.errors import first_sentence

__all__ = ["Packed", "Unpacked", "Watch", "pack", "unpack"]

_VALUE = "the cell's value"
"""The last value travels under this name, which no variable can have."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What a parcel holds, and why a name was left behind."""

    names: tuple[str, ...]
    size_bytes: int
    left_behind: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What a parcel brought: names that are in the namespace now, and the cell's last value.

    ``display`` is the value as the rank would show it, if it could not travel itself; ``left_behind`` says why a name that
    came could not be rebuilt here.
    """

    names: tuple[str, ...] = ()
    value: Any = None
    has_value: bool = False
    display: Mapping[str, Any] = field(default_factory=dict)
    left_behind: Mapping[str, str] = field(default_factory=dict)


def pack(
    program: Program,
    outcome: Outcome,
    path: Path | BinaryIO,
    *,
    reducers: Sequence[Reducer] = (),
    watch: Watch | None = None,
) -> Packed:
    """Write what comes back to a file, whole or not at all, or into an open one.

    That is the names which the cell bound and the objects it changed, or those which the user asked for, and the last value.
    A value that cannot be pickled is left behind, the others come. Values that share objects share them again here.

    Raises
    ------
    ClusterError
        If the file cannot be written, for want of room say.
    """
    changes = watch.changes() if watch is not None else Changes()
    values, left_behind = _chosen(program, outcome, changes)
    if outcome.has_value and program.out != ():
        values[_VALUE] = outcome.value
    pickles: dict[str, Pickled] = {}
    for name, value in values.items():
        try:
            pickles[name] = dumps(value, outcome.namespace, reducers)
        except Exception as error:  # noqa: BLE001 (pickling runs code of any library; whatever it raises is explained)
            left_behind[plain(name)] = _why(plain(name), value, outcome.namespace, reducers, error)
    if program.out is None:
        add_made(pickles, values, outcome, reducers)
    if watch is not None and program.out is None:
        add_parted(pickles, values, watch, changes, outcome, reducers)
    display = _shown(outcome.value) if left_behind.pop(_VALUE, "") else {}
    returned = tuple(name for name in pickles if name.isidentifier() and not _is_own_code(values[name], name, outcome))
    left_behind = {name: why for name, why in left_behind.items() if not _is_inside(name, outcome, pickles)}
    taken_along = TakenAlong.of(outcome, pickles, changes if watch is not None else None)
    helpers = _helpers(pickles, outcome, reducers)
    values = {name: values[name] if name in values else outcome.taken.names[name] for name in pickles}
    groups = bundled(values, pickles)
    parts = []
    for group in groups:
        try:
            parts.append(_parts(group, helpers, pickles, outcome, reducers, taken_along))
        except CannotTravelError as error:  # each can by itself
            left_behind.update({plain(name): f"it is {error.why.what}" for name in group if plain(name).isidentifier()})
            returned = tuple(name for name in returned if name not in group)
    deleted = () if program.out is not None else (*_deleted(outcome), *outcome.taken.variables.deleted())
    index = Index(
        display=display,
        deleted=deleted,
        numbers=taken_along.by_name(outcome.taken.names),
        modules=_imported(program, outcome),
    )
    size = write_parcel(path, parts, index)
    return Packed(names=returned, size_bytes=size, left_behind=left_behind)


def _helpers(pickles: dict[str, Pickled], outcome: Outcome, reducers: Sequence[Reducer]) -> frozenset[str]:
    """Add to ``pickles`` what their functions read of the notebook, which may have been restarted since."""
    found: set[str] = set()
    queue = [name for pickled in pickles.values() for name in pickled.reads]
    while queue:
        name = queue.pop()
        if name in pickles or name in found or not _is_as_taken(name, outcome):
            continue
        found.add(name)
        try:
            pickled = dumps(outcome.taken.names[name], outcome.namespace, reducers)
        except Exception:  # noqa: BLE001, S112 (it is only needed by a notebook that has lost it)
            continue
        if pickled.size_bytes < LARGE_BYTES:
            pickles[name] = pickled
            queue += pickled.reads
    return frozenset(found & set(pickles))


def _parts(
    group: Mapping[str, Any],
    helpers: frozenset[str],
    pickles: Mapping[str, Pickled],
    outcome: Outcome,
    reducers: Sequence[Reducer],
    taken_along: TakenAlong,
) -> Parts:
    companions = _companions(group, pickles, outcome)
    values = (*group.values(), *companions.values())
    # companions are inside the others, and so are their arrays
    inside = [pickles[name] for name in group]
    together = taken_along.pickle(values if len(values) > 1 else values[0], inside, outcome.namespace, reducers)
    return Parts(
        names=tuple(group),
        taken=frozenset(name for name in group if _is_as_taken(name, outcome)),
        helpers=helpers & set(group),
        companions=tuple(companions),
        pickled=together,
    )


def _chosen(program: Program, outcome: Outcome, changes: Changes) -> tuple[dict[str, Any], dict[str, str]]:
    namespace, left_behind = outcome.namespace, {}
    if program.out is not None:
        names = list(program.out)
        left_behind = {name: "the cell made no such name" for name in names if name not in namespace}
    else:
        names = [name for name, value in namespace.items() if _is_bound_by_cell(name, value, outcome)]
        # data that was prepared in place is seldom wanted back, and may be many times what the results are
        edited = changes.in_place - {*names, *_deleted(outcome)}
        large = [name for name in sorted(edited) if hasattr(type(namespace[name]), "__array__")]
        left_behind = {name: f"its data was changed in place; bring it back with --out {name}" for name in large}
        names += [name for name in changes.names if _is_as_taken(name, outcome) and name not in large]
    values = {name: namespace[name] for name in names if name in namespace}
    values |= {**changes.made, **outcome.taken.variables.set_since()} if program.out is None else {}
    # what the cell changed before it gave its name to something else, or to nothing: the notebook may have other ways to it
    values |= {name + BEFORE: outcome.taken.names[name] for name in changes.names if not _is_as_taken(name, outcome)}
    return values, left_behind


def _is_bound_by_cell(name: str, value: Any, outcome: Outcome) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return False
    return name not in outcome.initial or outcome.initial[name] is not value


def _is_inside(name: str, outcome: Outcome, pickles: Mapping[str, Pickled]) -> bool:
    """Whether a large array that was to stay comes back all the same, inside something else."""
    value = outcome.namespace.get(name)
    return hasattr(type(value), "__array__") and any(id(value) in pickled.parts for pickled in pickles.values())


def _imported(program: Program, outcome: Outcome) -> tuple[str, ...]:
    """The modules that the notebook has imported after the cell: its own, and those inside packages."""
    named = [name for name in imported_modules(ast.parse(program.source)) if "." in name and name in sys.modules]
    bound = {name for name, value in outcome.namespace.items() if isinstance(value, types.ModuleType)}
    return (*outcome.taken.variables.modules, *(name for name in named if name.partition(".")[0] in bound))


def _deleted(outcome: Outcome) -> tuple[str, ...]:
    return tuple(name for name in outcome.taken.names if name not in outcome.namespace and not is_variable(name))


def _is_own_code(value: Any, name: str, outcome: Outcome) -> bool:
    """Whether this is a function or class of the notebook: what changed is behind it, a variable of its closure say."""
    return _is_code(value) and _is_as_taken(name, outcome)


def _is_as_taken(name: str, outcome: Outcome) -> bool:
    return name in outcome.taken.names and outcome.taken.names[name] is outcome.namespace.get(name)


def _companions(group: Mapping[str, Any], pickles: Mapping[str, Pickled], outcome: Outcome) -> dict[str, Any]:
    """Return the notebook's own objects inside some values, that they may be these objects again there."""
    inside = set().union(*(pickles[name].parts for name in group))
    taken = outcome.taken.names
    return {
        name: value
        for name, value in taken.items()
        if id(value) in inside and name not in group and outcome.namespace.get(name) is value
    }


def _why(name: str, value: Any, namespace: Mapping[str, Any], reducers: Sequence[Reducer], error: Exception) -> str:
    culprit = find_culprit(name, value, lambda part: failure_of(part, namespace, reducers), namespace)
    if culprit is None:  # it could be pickled the second time
        return f"it cannot travel: {error}"
    subject = "it" if culprit.path == name else culprit.path
    return f"{subject} is {culprit.why.what}".replace(" is of type ", " is a ")


def _shown(value: Any) -> dict[str, Any]:
    """A value's MIME bundle, for one that can only be looked at."""
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(value)
    return {mime: content for mime, content in data.items() if isinstance(content, str)}


def unpack(
    source: Path | bytes,
    namespace: MutableMapping[str, Any],
    *,
    updates: Iterable[Update] = (),
    originals: Mapping[int, Any] | None = None,
) -> Unpacked:
    """Put a parcel's values into the notebook's namespace, and delete there what the cell deleted.

    Nothing is assigned before all is decoded.

    An object of the notebook that the cell changed stays the same object, where its kind allows that. Large arrays are
    mapped from the file, which may be deleted afterwards.

    Parameters
    ----------
    updates
        How objects of frameworks are updated in place.
    originals
        What the program took along, by number; None if that is not known any more, as in a notebook that was restarted.
    """
    arriving = _Arriving(Parcel(source), namespace, originals)
    before = {name: namespace[name] for name in arriving.bound if name in namespace}
    try:
        arriving.import_modules()
        arriving.decode()
    except BaseException:  # an interrupt, say: nothing has happened
        for name in arriving.bound:
            namespace.pop(name, None)
        namespace.update(before)
        raise
    values = arriving.settled(tuple(updates))
    has_value = _VALUE in values
    value = values.pop(_VALUE, None)
    values = {name: each for name, each in values.items() if name.isidentifier()}
    for name, each in arriving.values.items():
        if is_variable(name) and not arriving.is_own(name):
            set_variable(name, each)
    # a name that means something else since the cell began keeps its meaning: the cell changed the object, not the name
    namespace.update({name: each for name, each in values.items() if name not in namespace or not arriving.is_own(name)})
    for name in arriving.parcel.index.deleted:
        delete_variable(name) if is_variable(name) else namespace.pop(name, None)
    for name, helper in {**arriving.helpers, **arriving.companions}.items():
        namespace.setdefault(name, helper)
    return Unpacked(
        names=tuple(name for name, each in values.items() if not (arriving.is_own(name) and _is_code(each))),
        value=value,
        has_value=has_value,
        display=arriving.parcel.index.display,
        left_behind=arriving.left_behind,
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, types.FunctionType | type)


class _Arriving:
    """Decodes the bundles of a parcel.

    What the cell bound goes into the namespace at once, for the making of later values may call functions that read it.
    """

    def __init__(self, parcel: Parcel, namespace: MutableMapping[str, Any], originals: Mapping[int, Any] | None) -> None:
        self.parcel, self._namespace = parcel, namespace
        self.values: dict[str, Any] = {}
        self.helpers: dict[str, Any] = {}
        self.companions: dict[str, Any] = {}
        self.taken: set[str] = set()
        self.left_behind: dict[str, str] = {}
        self.bound = [name for bundle in parcel.index.bundles for name in bundle.names if self._is_bound(name, bundle)]
        if originals is None:
            by_name = parcel.index.numbers.items()
            originals = {number: namespace[name] for name, number in by_name if name in namespace}
        self._originals = originals
        self._homes: dict[str, Homecoming] = {}

    def _is_bound(self, name: str, bundle: PackedBundle) -> bool:
        if not name.isidentifier() or name in bundle.companions:
            return False
        return name not in bundle.taken or name not in self._namespace

    def import_modules(self) -> None:
        """Import the modules that the cell has imported."""
        for name in self.parcel.index.modules:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 (importing runs code of any module; the values still come)
                reason = f"it cannot be imported in the notebook: {type(error).__name__}: {first_sentence(error)}"
                self.left_behind[f"the module {name}"] = reason

    def decode(self) -> None:
        for bundle in self.parcel.index.bundles:
            home = Homecoming(self._originals)
            try:
                arrived = _decoded(self.parcel, bundle, self._namespace, home)
            except Exception as error:  # noqa: BLE001 (unpickling runs code of any library; the other values still come)
                reason = f"it cannot be rebuilt in the notebook: {type(error).__name__}: {first_sentence(error)}"
                own = set(map(plain, bundle.names)) - bundle.helpers - bundle.companions - {_VALUE}
                self.left_behind.update(dict.fromkeys(sorted(own), reason))
                continue
            for name, value in arrived.items():
                kept = self.companions if name in bundle.companions else self.values
                (self.helpers if name in bundle.helpers else kept)[name] = value
                if self._is_bound(name, bundle):
                    self._namespace[name] = value
            self.taken |= bundle.taken - bundle.helpers
            self._homes.update(dict.fromkeys(bundle.names, home))

    def settled(self, updates: Sequence[Update]) -> dict[str, Any]:
        """Let the notebook's objects take over what they are to become; return the values, with these objects in place."""
        for home in dict.fromkeys(self._homes.values()):
            replaced = home.settle(updates)
            for original, error in home.failures:
                name = next((name for name, value in self._namespace.items() if value is original), "")
                reason = f"it keeps its old state, {type(error).__name__}: {first_sentence(error)}"
                self.left_behind[name or f"an object of type {type(original).__qualname__}"] = reason
            for found in (self.values, self.helpers, self.companions):
                found.update({name: replaced[id(value)] for name, value in found.items() if id(value) in replaced})
        return dict(self.values)

    def is_own(self, name: str) -> bool:
        """Whether what came under a name is the notebook's own object, or a tuple of the same objects."""
        if name not in self.taken:
            return False
        value, here = self.values[name], self._namespace.get(name, ())
        if isinstance(value, tuple) and type(value) is type(here):
            return len(value) == len(here) and all(map(operator.is_, value, here))
        return self._homes[name].is_original(value)


def _decoded(parcel: Parcel, bundle: PackedBundle, namespace: MutableMapping[str, Any], home: Homecoming) -> dict[str, Any]:
    # functions need a real dict as their globals; IPython's namespace is one
    scope = namespace if isinstance(namespace, dict) else dict(namespace)
    buffers = [parcel.blob(place) for place in bundle.buffers]
    value = home.load(lambda: loads(parcel.blob(bundle.stream), scope, buffers, unpickler=HomeUnpickler))
    return dict(zip(bundle.names, value if len(bundle.names) > 1 else (value,), strict=True))
