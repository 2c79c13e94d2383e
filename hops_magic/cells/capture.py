"""Pick what a cell needs from the notebook, and make it portable. Nothing is started and nothing is changed by it."""

from __future__ import annotations

import builtins
import difflib
import linecache
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hops_magic.cells.analysis import CellAnalysis, analyse, binds
from hops_magic.cells.arrays import address_of
from hops_magic.cells.bundling import bundled
from hops_magic.cells.culprits import find_culprit
from hops_magic.cells.digests import digest
from hops_magic.cells.module_state import is_variable, notes_of_caches, variables_here
from hops_magic.cells.modules import ShippedModule, imports_of, local_modules, submodules_of
from hops_magic.cells.numbered import Numbered
from hops_magic.cells.pickled import Pickled
from hops_magic.cells.program import Bundle, CellSource, Program
from hops_magic.cells.report import CapturedRow, CaptureReport, Way, shape_of, type_of, way_of
from hops_magic.cells.staying import CannotTravelError
from hops_magic.cells.tables import check_tables
from hops_magic.cells.travel import LARGE_BYTES, Reducer, dumps, failure_of
from hops_magic.errors import CaptureError

# IPython adds names to the builtins, which ranks provide too
_BUILTINS = frozenset(dir(builtins)) | {"display", "get_ipython", "exit", "quit", "__file__"}

_OPEN = frozenset({"exec", "eval", "globals", "locals", "vars"})
"""What reads names that no analysis finds."""


@dataclass(frozen=True, kw_only=True)
class CellOrigin:
    """Where a cell stands: its name in the notebook, and the number that Jupyter gives to its first line."""

    label: str
    first_line: int = 1


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A program, its large buffers by content hash, and the report of what it takes along.

    ``originals`` are the notebook's own objects that it took along, by the numbers that these have on the ranks too.
    ``reads`` are the names that it takes from outside: those that the cell reads before it binds them, and those that
    functions of the notebook read which the cell does not bind. None if code that is made at run time may read any.
    """

    program: Program
    buffers: Mapping[str, memoryview] = field(default_factory=dict)
    report: CaptureReport = field(default_factory=CaptureReport)
    reads: frozenset[str] | None = None
    originals: Mapping[int, Any] = field(default_factory=dict, repr=False)


def capture(
    source: str,
    namespace: Mapping[str, Any],
    *,
    origin: CellOrigin,
    out: tuple[str, ...] | None = None,
    reducers: Sequence[Reducer] = (),
    folder: Path | None = None,
    history: Mapping[int, str] | None = None,
    provided: Sequence[str] = (),
) -> Capture:
    """Make a cell portable.

    Parameters
    ----------
    namespace
        The notebook's names; functions made there have it as their globals.
    out
        Names to bring back; None for those that the cell binds or changes.
    reducers
        How objects that pickle does not know travel.
    folder
        The notebook's folder, whose modules are shipped.
    history
        Source of executed cells by number, to say where a name was made.
    provided
        Names that the ranks provide by themselves.

    Raises
    ------
    UsageError
        For a syntax error.
    CaptureError
        For a name that does not exist, or that cannot travel: with the path to the culprit and what to do.
    """
    analysis = analyse(source, first_line=origin.first_line)
    _check_out(out, analysis, namespace)
    history = history or {}
    taking = _Taking(analysis, namespace, reducers, history, frozenset(provided))
    taking.take_all(out or ())
    folder = folder or Path.cwd()
    modules, edited = _modules(taking, folder)
    taking.check_tables()
    freight = _Freight()
    program = Program(
        source=analysis.source,
        label=origin.label,
        first_line=origin.first_line,
        bundles=tuple(freight.load(names, taking) for names in bundled(taking.values, taking.pickles)),
        modules=modules,
        sources=_sources(taking.pickles.values(), history),
        frameworks=_frameworks(taking.modules(), modules.values()),
        binds=analysis.binds,
        has_value=analysis.has_value,
        out=out,
        folder=str(folder),
        submodules=submodules_of(analysis.source, taking.values),
    )
    notes = (*map(_edited, edited), *taking.notes(), *notes_of_caches(sorted(modules)))
    return Capture(
        program=program,
        buffers=freight.buffers,
        report=replace(_report(taking, freight, modules), notes=notes),
        reads=_reads(analysis, taking),
        originals=freight.originals,
    )


def _modules(taking: _Taking, folder: Path) -> tuple[dict[str, ShippedModule], list[str]]:
    """Find the modules that are shipped, and take what they hold, which may need further ones."""
    modules: dict[str, ShippedModule] = {}
    edited: list[str] = []
    while (found := local_modules(taking.modules(), folder)).keys() - modules.keys():
        variables, since = variables_here({name: module for name, module in found.items() if name not in modules})
        for name, value in variables.items():
            taking.take_variable(name, value)
        modules, edited = found, edited + since
    return modules, edited


def _edited(module: str) -> str:
    return (
        f"the file of {module} was edited since the notebook imported it: the ranks import it as it is now, "
        "and do not see what the notebook has set in it"
    )


def _reads(analysis: CellAnalysis, taking: _Taking) -> frozenset[str] | None:
    of_functions = frozenset[str]().union(*(pickled.reads for pickled in taking.pickles.values()))
    if (analysis.reads | of_functions) & _OPEN:
        return None
    return analysis.reads | analysis.may_read | (of_functions - set(analysis.binds))


class _Taking:
    """Picks names: those that the cell reads, and those that functions and classes of the notebook read behind them."""

    def __init__(
        self,
        analysis: CellAnalysis,
        namespace: Mapping[str, Any],
        reducers: Sequence[Reducer],
        history: Mapping[int, str],
        provided: frozenset[str],
    ) -> None:
        self._analysis, self.namespace, self.reducers = analysis, namespace, reducers
        self._history, self._provided = history, provided
        self._refusals: list[str] = []
        self.values: dict[str, Any] = {}
        self.pickles: dict[str, Pickled] = {}
        self.left_out: list[str] = []

    def take_all(self, out: Iterable[str]) -> None:
        analysis = self._analysis
        asked = {name for name in out if name in self.namespace and name not in analysis.binds}
        for name in sorted(analysis.must_read | asked):
            self._take(name, is_needed=True)
        for name in sorted(analysis.reads | analysis.may_read):
            self._take(name, is_needed=False)
        done: set[str] = set()
        while behind := set(self.pickles) - done:
            for reader in sorted(behind):
                for name in sorted(self.pickles[reader].reads):
                    self._take(name, is_needed=name not in analysis.binds, reader=reader)
            done |= behind
        if self._refusals:
            raise CaptureError("\n".join(dict.fromkeys(self._refusals)))

    def _take(self, name: str, *, is_needed: bool, reader: str = "") -> None:
        if name in self.values or name in self._provided or name in self.left_out:
            return
        if name not in self.namespace or (name in _BUILTINS and _is_of_ipython(self.namespace[name])):
            if is_needed and name not in _BUILTINS and not self._may_be_bound_by_code(name):
                self._refusals.append(_undefined(name, {*self.namespace, *self._provided}, reader, self._history))
            return
        value = self.namespace[name]
        try:
            self.pickles[name] = dumps(value, self.namespace, self.reducers)
        except Exception as error:  # noqa: BLE001 (pickling runs code of any library; whatever it raises is explained)
            if is_needed:
                self._refusals.append(self._refusal(name, value, error))
            else:
                # the cell binds the name too, most likely before it reads it
                self.left_out.append(name)
            return
        self.values[name] = value

    def modules(self) -> frozenset[str]:
        """Return the modules that the cell imports, and those of what it takes along."""
        return self._analysis.imports.union(*(pickled.modules for pickled in self.pickles.values()))

    def check_tables(self) -> None:
        """Refuse arrays through which tables of pandas are written to that go apart."""
        arrays = {id(array): (name, array) for name, pickled in self.pickles.items() for array in pickled.arrays}
        try:
            check_tables([array for _, array in arrays.values()], [b for one in self.pickles.values() for b in one.blocks])
        except CannotTravelError as error:
            name, _ = arrays[id(error.value)]
            raise CaptureError(f"{name} ({error.why.what}) cannot travel to the cluster: {error.why.remedy}") from None

    def notes(self) -> list[str]:
        """Return what of it will be otherwise on the ranks."""
        return sorted(set().union(*(pickled.notes for pickled in self.pickles.values())))

    def take_variable(self, name: str, value: Any) -> None:
        """Take a module's variable, unless it cannot travel: then the module makes its own."""
        try:
            self.pickles[name] = dumps(value, self.namespace, self.reducers)
        except Exception:  # noqa: BLE001 (pickling runs code of any library)
            return
        self.values[name] = value

    def _may_be_bound_by_code(self, name: str) -> bool:
        return self._analysis.has_star_import or any(name in pickled.writes for pickled in self.pickles.values())

    def _refusal(self, name: str, value: Any, error: Exception) -> str:
        culprit = find_culprit(name, value, lambda part: failure_of(part, self.namespace, self.reducers), self.namespace)
        if culprit is None:  # it could be pickled the second time
            return f"{name} cannot travel to the cluster: {error}"
        made = made_in(name, self._history)
        origin = f", made in {made}" if made else ""
        return f"{culprit.path} ({culprit.why.what}{origin}) cannot travel to the cluster: {culprit.why.remedy}"


def _is_of_ipython(value: Any) -> bool:
    module = getattr(value, "__module__", None) or type(value).__module__
    if isinstance(value, types.FunctionType):
        module = value.__globals__.get("__name__")  # wrappers pose as what they wrap
    return isinstance(module, str) and module.partition(".")[0] in ("IPython", "ipykernel")


def _undefined(name: str, names: Iterable[str], reader: str, history: Mapping[int, str]) -> str:
    known = [other for other in names if not other.startswith("_")]
    close = difflib.get_close_matches(name, [*known, *_BUILTINS], n=1)
    hint = f"did you mean {close[0]}?" if close else "run the cell that makes it first"
    made = made_in(reader, history) if reader else ""
    by = f", but {reader}{f' of {made}' if made else ''} reads it" if reader else ""
    return f"name {name!r} is not defined in the notebook{by}: {hint}"


def _check_out(out: tuple[str, ...] | None, analysis: CellAnalysis, namespace: Mapping[str, Any]) -> None:
    # a star import or exec may bind any name
    if analysis.has_star_import or analysis.reads & {"exec", "globals"}:
        return
    for name in out or ():
        if name not in analysis.binds and name not in namespace:
            close = difflib.get_close_matches(name, analysis.binds, n=1)
            hint = f": did you mean {close[0]}?" if close else ": name what the cell binds"
            raise CaptureError(f"--out names {name}, which neither the cell nor the notebook defines{hint}")


def made_in(name: str, history: Mapping[int, str]) -> str:
    """Name the newest executed cell that binds a name; empty if none is known to."""
    for number in sorted(history, reverse=True):
        if name in history[number] and name in binds(history[number]):
            return f"In[{number}]"
    return ""


class _Freight:
    """Collects the large buffers of bundles, equal ones once."""

    def __init__(self) -> None:
        self.buffers: dict[str, memoryview] = {}
        self.originals = Numbered()
        self._digests: dict[tuple[int, int], str] = {}

    def load(self, values: Mapping[str, Any], taking: _Taking) -> Bundle:
        names = tuple(values)
        pickled = taking.pickles[names[0]]
        if len(names) > 1:
            for name in names:
                taking.pickles[name].memo.clear()
            try:
                pickled = dumps(tuple(values.values()), taking.namespace, taking.reducers)
            except CannotTravelError as error:  # each can by itself
                what = f"{', '.join(names)}: {error.why.what}"
                raise CaptureError(f"{what} cannot travel to the cluster: {error.why.remedy}") from None
        order = tuple(self._add(raw) for raw in pickled.buffers)
        self.originals.add(lambda: pickled.numbered)
        if len(pickled.stream) < LARGE_BYTES:
            return Bundle(names=names, stream=pickled.stream, buffers=order)
        return Bundle(names=names, stream_buffer=self._add(memoryview(pickled.stream)), buffers=order)

    def content_hash(self, pickled: Pickled) -> str:
        """Hash of a value's content, equal for equal values wherever they are captured."""
        return digest(pickled.stream + "".join(map(self._digest, pickled.buffers)).encode())

    def _add(self, raw: memoryview) -> str:
        name = self._digest(raw)
        self.buffers.setdefault(name, raw)
        return name

    def _digest(self, raw: memoryview) -> str:
        place = (address_of(raw), raw.nbytes)
        if place not in self._digests:
            self._digests[place] = digest(raw)
        return self._digests[place]


def _sources(pickles: Iterable[Pickled], history: Mapping[int, str]) -> dict[str, CellSource]:
    """The cells whose functions travel, as the notebook's line cache knows them."""
    found = {}
    for file in sorted(frozenset().union(*(pickled.files for pickled in pickles))):
        if Path(file).is_file() and not _is_of_kernel(file):
            continue
        if lines := linecache.getlines(file):
            text = "".join(lines).strip()
            number = next((n for n in sorted(history, reverse=True) if history[n].strip() == text), None)
            found[file] = CellSource(
                title=f"Cell In[{number}]" if number is not None else f'File "{file}"', lines=tuple(lines)
            )
    return found


def _is_of_kernel(file: str) -> bool:
    return "ipykernel_" in file


def _frameworks(wanted: Iterable[str], modules: Iterable[ShippedModule]) -> frozenset[str]:
    names = {*wanted, *(name for module in modules for name in imports_of(module))}
    return frozenset(name.partition(".")[0] for name in names)


def _report(taking: _Taking, freight: _Freight, modules: Mapping[str, ShippedModule]) -> CaptureReport:
    rows = [
        _row(name, value, taking.pickles[name], freight, modules)
        for name, value in taking.values.items()
        if not is_variable(name)
    ]
    named = {value.__name__ for value in taking.values.values() if isinstance(value, types.ModuleType)}
    for name, module in modules.items():
        if name not in named:
            size = len(module.source)
            rows.append(_plain_row(name, "module", Way.SHIPPED, size, digest(module.source.encode())))
    rows += [_plain_row(name, type_of(taking.namespace[name]), Way.LEFT) for name in taking.left_out]
    return CaptureReport(tuple(rows))


def _row(name: str, value: Any, pickled: Pickled, freight: _Freight, modules: Mapping[str, ShippedModule]) -> CapturedRow:
    if isinstance(value, types.ModuleType):
        shipped = modules.get(value.__name__)
        if shipped is None:
            return _plain_row(name, "module", Way.IMPORTED)
        return _plain_row(name, "module", Way.SHIPPED, len(shipped.source), digest(shipped.source.encode()))
    return CapturedRow(
        name=name,
        type=type_of(value),
        shape=shape_of(value),
        size_bytes=pickled.size_bytes,
        content_hash=freight.content_hash(pickled),
        way=way_of(value, is_large=bool(pickled.buffers) or len(pickled.stream) >= LARGE_BYTES),
    )


def _plain_row(name: str, kind: str, way: Way, size_bytes: int = 0, content_hash: str = "") -> CapturedRow:
    return CapturedRow(name=name, type=kind, shape="", size_bytes=size_bytes, content_hash=content_hash, way=way)
