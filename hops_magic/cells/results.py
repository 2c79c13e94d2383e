"""What comes back from rank 0: packed into a parcel there, put into the notebook's namespace here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hops_magic.cells.adopting import Update, adopt, redirect
from hops_magic.cells.bundling import bundled
from hops_magic.cells.culprits import find_culprit
from hops_magic.cells.parcel import PackedBundle, Parcel, Parts, write_parcel
from hops_magic.cells.program import Outcome, Program
from hops_magic.cells.travel import LARGE_BYTES, Pickled, Reducer, dumps, failure_of, loads
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
    values, left_behind = _chosen(program, outcome, watch.changes() if watch is not None else Changes())
    if outcome.has_value and program.out != ():
        values[_VALUE] = outcome.value
    pickles: dict[str, Pickled] = {}
    for name, value in values.items():
        try:
            pickles[name] = dumps(value, outcome.namespace, reducers)
        except Exception as error:  # noqa: BLE001 (pickling runs code of any library; whatever it raises is explained)
            left_behind[name] = _why(name, value, outcome.namespace, reducers, error)
    display = _shown(outcome.value) if left_behind.pop(_VALUE, "") else {}
    returned = tuple(name for name in pickles if name != _VALUE)
    helpers = _helpers(pickles, outcome, reducers)
    values = {name: values[name] if name in values else outcome.taken.names[name] for name in pickles}
    groups = bundled(values, pickles)
    parts = [_parts(group, helpers, pickles, outcome, reducers) for group in groups]
    size = write_parcel(path, parts, display, () if program.out is not None else _deleted(outcome))
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
) -> Parts:
    companions = _companions(group, pickles, outcome)
    together = pickles[next(iter(group))]
    if len(group) + len(companions) > 1:
        together = dumps((*group.values(), *companions.values()), outcome.namespace, reducers)
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
        large = [name for name in sorted(edited) if hasattr(namespace[name], "__array__")]
        left_behind = {name: f"its data was changed in place; bring it back with --out {name}" for name in large}
        names += [name for name in changes.names if name not in names and name not in large]
    return {name: namespace[name] for name in names if name in namespace}, left_behind


def _is_bound_by_cell(name: str, value: Any, outcome: Outcome) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return False
    return name not in outcome.initial or outcome.initial[name] is not value


def _deleted(outcome: Outcome) -> tuple[str, ...]:
    return tuple(name for name in outcome.taken.names if name not in outcome.namespace)


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


def unpack(source: Path | bytes, namespace: MutableMapping[str, Any], *, updates: Iterable[Update] = ()) -> Unpacked:
    """Put a parcel's values into the notebook's namespace, and delete there what the cell deleted.

    Nothing is assigned before all is decoded.

    An object of the notebook that the cell changed stays the same object, where its kind allows that. Large arrays are
    mapped from the file, which may be deleted afterwards.

    Parameters
    ----------
    updates
        How objects of frameworks are updated in place.
    """
    arriving = _Arriving(Parcel(source), namespace)
    before = {name: namespace[name] for name in arriving.bound if name in namespace}
    try:
        arriving.decode()
    except BaseException:  # an interrupt, say: nothing has happened
        for name in arriving.bound:
            namespace.pop(name, None)
        namespace.update(before)
        raise
    values, taken = arriving.values, arriving.taken
    has_value = _VALUE in values
    pairs = _adopted({name: values[name] for name in taken}, namespace, tuple(updates))
    values.update({name: original for name, (_, original) in pairs.items()})
    pairs.update(
        {name: (value, namespace[name]) for name, value in arriving.companions.items() if _is_alike(namespace, name, value)}
    )
    redirect(list(pairs.values()))
    value = values.pop(_VALUE, None)
    namespace.update(values)
    for name in arriving.parcel.index.deleted:
        namespace.pop(name, None)
    for name, helper in {**arriving.helpers, **arriving.companions}.items():
        namespace.setdefault(name, helper)
    return Unpacked(
        names=tuple(values),
        value=value,
        has_value=has_value,
        display=arriving.parcel.index.display,
        left_behind=arriving.left_behind,
    )


class _Arriving:
    """Decodes the bundles of a parcel.

    What the cell bound goes into the namespace at once, for the making of later values may call functions that read it.
    """

    def __init__(self, parcel: Parcel, namespace: MutableMapping[str, Any]) -> None:
        self.parcel, self._namespace = parcel, namespace
        self.values: dict[str, Any] = {}
        self.helpers: dict[str, Any] = {}
        self.companions: dict[str, Any] = {}
        self.taken: set[str] = set()
        self.left_behind: dict[str, str] = {}
        self.bound = [name for bundle in parcel.index.bundles for name in bundle.names if self._is_bound(name, bundle)]

    def _is_bound(self, name: str, bundle: PackedBundle) -> bool:
        if name == _VALUE or name in bundle.companions:
            return False
        return name not in bundle.taken or name not in self._namespace

    def decode(self) -> None:
        for bundle in self.parcel.index.bundles:
            try:
                arrived = _decoded(self.parcel, bundle, self._namespace)
            except Exception as error:  # noqa: BLE001 (unpickling runs code of any library; the other values still come)
                reason = f"it cannot be rebuilt in the notebook: {type(error).__name__}: {first_sentence(error)}"
                own = set(bundle.names) - bundle.helpers - bundle.companions - {_VALUE}
                self.left_behind.update(dict.fromkeys(sorted(own), reason))
                continue
            for name, value in arrived.items():
                kept = self.companions if name in bundle.companions else self.values
                (self.helpers if name in bundle.helpers else kept)[name] = value
                if self._is_bound(name, bundle):
                    self._namespace[name] = value
            self.taken |= bundle.taken - bundle.helpers


def _decoded(parcel: Parcel, bundle: PackedBundle, namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    # functions need a real dict as their globals; IPython's namespace is one
    home = namespace if isinstance(namespace, dict) else dict(namespace)
    buffers = [parcel.blob(place) for place in bundle.buffers]
    value = loads(parcel.blob(bundle.stream), home, buffers)
    return dict(zip(bundle.names, value if len(bundle.names) > 1 else (value,), strict=True))


def _adopted(
    returned: Mapping[str, Any], namespace: Mapping[str, Any], updates: Sequence[Update]
) -> dict[str, tuple[Any, Any]]:
    """The returned objects whose state an object of the notebook has taken over, each with that object."""
    return {
        name: (value, namespace[name])
        for name, value in returned.items()
        if name in namespace and adopt(namespace[name], value, updates)
    }


def _is_alike(namespace: Mapping[str, Any], name: str, value: Any) -> bool:
    return name in namespace and type(namespace[name]) is type(value)
