"""What comes back from rank 0: packed into a parcel there, put into the notebook's namespace here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hops_magic.cells.adopting import Update, adopt, redirect
from hops_magic.cells.culprits import find_culprit
from hops_magic.cells.parcel import PackedBundle, Parcel, Parts, write_parcel
from hops_magic.cells.program import Outcome, Program
from hops_magic.cells.travel import Pickled, Reducer, bundled, dumps, failure_of, loads
from hops_magic.cells.watch import Changes, Watch

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
    program: Program, outcome: Outcome, path: Path, *, reducers: Sequence[Reducer] = (), watch: Watch | None = None
) -> Packed:
    """Write what comes back to a file, whole or not at all.

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
    values = {name: value for name, value in values.items() if name in pickles}
    display = _shown(outcome.value) if left_behind.pop(_VALUE, "") else {}
    bundles = []
    for group in bundled(values, pickles):
        taken = frozenset(name for name in group if _is_as_taken(name, outcome))
        # only for identity: what these values contain of the notebook's own objects is to be those objects again
        companions = _companions(group, pickles, outcome)
        together = dumps((*group.values(), *companions.values()), outcome.namespace, reducers)
        bundles.append(Parts(names=tuple(group), taken=taken, companions=tuple(companions), pickled=together))
    size = write_parcel(path, bundles, display)
    return Packed(names=tuple(name for name in values if name != _VALUE), size_bytes=size, left_behind=left_behind)


def _chosen(program: Program, outcome: Outcome, changes: Changes) -> tuple[dict[str, Any], dict[str, str]]:
    namespace, left_behind = outcome.namespace, {}
    if program.out is not None:
        names = list(program.out)
        left_behind = {name: "the cell made no such name" for name in names if name not in namespace}
    else:
        names = [name for name, value in namespace.items() if _is_bound_by_cell(name, value, outcome)]
        large = [name for name in changes.in_place if name not in names]
        left_behind = {name: f"its data was changed in place; bring it back with --out {name}" for name in large}
        names += [name for name in changes.names if name not in names and name not in large]
    return {name: namespace[name] for name in names if name in namespace}, left_behind


def _is_bound_by_cell(name: str, value: Any, outcome: Outcome) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return False
    return name not in outcome.initial or outcome.initial[name] is not value


def _is_as_taken(name: str, outcome: Outcome) -> bool:
    return name in outcome.taken.names and outcome.taken.names[name] is outcome.namespace.get(name)


def _companions(group: Mapping[str, Any], pickles: Mapping[str, Pickled], outcome: Outcome) -> dict[str, Any]:
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
    """Put a parcel's values into the notebook's namespace; nothing is assigned before all is decoded.

    An object of the notebook that the cell changed stays the same object, where its kind allows that. Large arrays are
    mapped from the file, which may be deleted afterwards.

    Parameters
    ----------
    updates
        How objects of frameworks are updated in place.
    """
    parcel = Parcel(source)
    values: dict[str, Any] = {}
    companions: dict[str, Any] = {}
    taken: set[str] = set()
    left_behind: dict[str, str] = {}
    for bundle in parcel.index.bundles:
        try:
            arrived = _decoded(parcel, bundle, namespace)
        except Exception as error:  # noqa: BLE001 (unpickling runs code of any library; the other values still come)
            reason = f"it cannot be rebuilt in the notebook: {type(error).__name__}: {error}"
            left_behind.update({name: reason for name in bundle.names if name != _VALUE})
            continue
        for name, value in arrived.items():
            (companions if name in bundle.companions else values)[name] = value
        taken |= bundle.taken
    has_value = _VALUE in values
    pairs = _adopted({name: values[name] for name in taken}, namespace, tuple(updates))
    values.update({name: namespace[name] for name in pairs})
    pairs.update({name: (value, namespace[name]) for name, value in companions.items() if _is_alike(namespace, name, value)})
    redirect(list(pairs.values()))
    value = values.pop(_VALUE, None)
    namespace.update(values)
    return Unpacked(
        names=tuple(values), value=value, has_value=has_value, display=parcel.index.display, left_behind=left_behind
    )


def _decoded(parcel: Parcel, bundle: PackedBundle, namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    # functions need a real dict as their globals; IPython's namespace is one
    home = namespace if isinstance(namespace, dict) else dict(namespace)
    buffers = [parcel.blob(place) for place in bundle.buffers]
    return dict(zip(bundle.names, loads(parcel.blob(bundle.stream), home, buffers), strict=True))


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
