"""Pick what a cell needs from the notebook, and make it portable. Nothing is started and nothing is changed by it."""

from __future__ import annotations

import builtins
import difflib
import dis
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hops_magic.cells.analysis import CellAnalysis, analyse, global_reads
from hops_magic.cells.culprits import find_culprit
from hops_magic.cells.modules import is_own, local_modules
from hops_magic.cells.program import Program
from hops_magic.cells.report import CapturedRow, CaptureReport, Way, shape_of
from hops_magic.cells.syntax import SHELL_NAME
from hops_magic.cells.travel import Reducer, digest, dumps
from hops_magic.errors import CaptureError, UsageError

_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", SHELL_NAME}


@dataclass(frozen=True, kw_only=True)
class CellOrigin:
    """Where a cell stands: its name in the notebook, and the number that Jupyter gives to its first line."""

    label: str
    first_line: int = 1


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A program, its large buffers by content hash, and the report of what it takes along."""

    program: Program
    buffers: Mapping[str, memoryview] = field(default_factory=dict)
    report: CaptureReport = field(default_factory=CaptureReport)


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
    names = _needed(analysis, namespace, provided, out)
    folder = folder or Path.cwd()
    modules = local_modules([*analysis.imports, *_modules_behind(names.values())], folder)
    payload, order, buffers = _pickle(names, namespace, reducers, history or {})
    program = Program(
        source=analysis.source,
        label=origin.label,
        first_line=origin.first_line,
        payload=payload,
        buffer_order=tuple(order),
        modules=modules,
        frameworks=frozenset(_frameworks(analysis, names, modules)),
        binds=analysis.binds,
        has_value=analysis.has_value,
        out=out,
    )
    return Capture(program=program, buffers=buffers, report=_report(names, namespace, reducers, folder))


def _needed(
    analysis: CellAnalysis, namespace: Mapping[str, Any], provided: Sequence[str], out: tuple[str, ...] | None
) -> dict[str, Any]:
    """The names that the cell reads, and those that functions and classes of the notebook read behind them."""
    names: dict[str, Any] = {}
    queue = sorted(analysis.reads | (set(out or ()) - set(analysis.binds)))
    while queue:
        name = queue.pop(0)
        if name in names or name in provided:
            continue
        if name in namespace:
            names[name] = namespace[name]
            queue += sorted(_read_by(namespace[name], namespace))
        elif name not in _BUILTINS and name not in analysis.binds:
            _refuse_undefined(name, namespace)
    return names


def _refuse_undefined(name: str, namespace: Mapping[str, Any]) -> None:
    known = [other for other in namespace if not other.startswith("_")]
    close = difflib.get_close_matches(name, [*known, *_BUILTINS], n=1)
    hint = f"did you mean {close[0]}?" if close else "run the cell that makes it first"
    raise CaptureError(f"name {name!r} is not defined in the notebook: {hint}")


def _read_by(value: Any, namespace: Mapping[str, Any]) -> set[str]:
    """Names of the notebook that a function or class made there reads."""
    found: set[str] = set()
    for function in _functions_of(value):
        if function.__globals__ is namespace:
            # a name that is missing here may never be reached: the function says so itself if it is
            found |= {name for name in global_reads(function.__code__) if name in namespace}
    return found


def _functions_of(value: Any, depth: int = 0) -> Iterator[types.FunctionType]:
    if depth > 4:
        return
    if isinstance(value, types.FunctionType):
        yield value
        for cell in value.__closure__ or ():
            try:
                yield from _functions_of(cell.cell_contents, depth + 1)
            except ValueError:
                continue
        if wrapped := getattr(value, "__wrapped__", None):
            yield from _functions_of(wrapped, depth + 1)
    elif isinstance(value, types.MethodType):
        yield from _functions_of(value.__func__, depth + 1)
    elif isinstance(value, type) and value.__module__ == "__main__":
        for base in value.__mro__:
            if base.__module__ == "__main__":
                for member in vars(base).values():
                    yield from _functions_of(getattr(member, "fget", None) or getattr(member, "__func__", member), depth + 1)
    elif isinstance(value, dict):
        for child in list(value.values())[:1000]:
            yield from _functions_of(child, depth + 1)
    elif isinstance(value, list | tuple):
        for child in value[:1000]:
            yield from _functions_of(child, depth + 1)
    elif type(value).__module__ == "__main__":
        yield from _functions_of(type(value), depth)
    elif type(value).__module__ == "functools" and hasattr(value, "func"):
        yield from _functions_of(value.func, depth + 1)


def _check_out(out: tuple[str, ...] | None, analysis: CellAnalysis, namespace: Mapping[str, Any]) -> None:
    for name in out or ():
        if name not in analysis.binds and name not in namespace:
            raise CaptureError(f"--out names {name}, which neither the cell nor the notebook defines")


def _modules_behind(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, types.ModuleType):
            yield value.__name__
        else:
            kind = value if isinstance(value, type | types.FunctionType) else type(value)
            module = getattr(kind, "__module__", None)
            if isinstance(module, str) and module not in ("__main__", "builtins"):
                yield module


def _pickle(
    names: Mapping[str, Any], namespace: Mapping[str, Any], reducers: Sequence[Reducer], history: Mapping[int, str]
) -> tuple[bytes, list[str], dict[str, memoryview]]:
    order: list[str] = []
    buffers: dict[str, memoryview] = {}

    def keep_aside(raw: memoryview) -> None:
        name = digest(raw)
        order.append(name)
        buffers[name] = raw

    try:
        return dumps(dict(names), namespace, reducers, keep_aside), order, buffers
    except UsageError:
        raise
    except Exception as error:
        _blame(names, namespace, reducers, history)
        raise CaptureError(f"the cell's names cannot be pickled together: {error}") from error


def _blame(
    names: Mapping[str, Any], namespace: Mapping[str, Any], reducers: Sequence[Reducer], history: Mapping[int, str]
) -> None:
    def fails(value: Any) -> Exception | None:
        try:
            dumps(value, namespace, reducers, lambda raw: None)
        except Exception as error:  # noqa: BLE001 (as above)
            return error
        return None

    for name, value in names.items():
        if culprit := find_culprit(name, value, fails):
            path, why = culprit
            made = made_in(name, history)
            raise CaptureError(f"{path} cannot travel to the cluster: {why}{f' (made in {made})' if made else ''}")


def made_in(name: str, history: Mapping[int, str]) -> str:
    """Name the newest executed cell that binds a name; empty if none is known to."""
    for number in sorted(history, reverse=True):
        source = history[number]
        if name not in source:
            continue
        try:
            if name in analyse(source).binds:
                return f"In[{number}]"
        except UsageError:
            continue
    return ""


def _frameworks(analysis: CellAnalysis, names: Mapping[str, Any], modules: Mapping[str, Any]) -> Iterator[str]:
    yield from (name.partition(".")[0] for name in analysis.imports)
    yield from (name.partition(".")[0] for name in _modules_behind(names.values()))
    for value in names.values():
        for function in _functions_of(value):
            yield from (name.partition(".")[0] for name in _code_imports(function.__code__))
        if isinstance(value, type) or type(value).__module__ == "__main__":
            kind = value if isinstance(value, type) else type(value)
            yield from (base.__module__.partition(".")[0] for base in kind.__mro__)
    for module in modules.values():
        yield from (word for word in ("keras", "tensorflow") if word in module.source)


def _code_imports(code: types.CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_imports(constant)


def _report(
    names: Mapping[str, Any], namespace: Mapping[str, Any], reducers: Sequence[Reducer], folder: Path
) -> CaptureReport:
    return CaptureReport(tuple(_row(name, value, namespace, reducers, folder) for name, value in names.items()))


def _row(name: str, value: Any, namespace: Mapping[str, Any], reducers: Sequence[Reducer], folder: Path) -> CapturedRow:
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    label = kind.__qualname__ if package in ("builtins", "__main__") else f"{package}.{kind.__qualname__}"
    if isinstance(value, types.ModuleType):
        file = getattr(value, "__file__", None)
        way = Way.SHIPPED if file and is_own(Path(file), folder) else Way.IMPORTED
        return CapturedRow(name=name, type="module", shape="", size_bytes=0, content_hash="", way=way)
    aside: list[memoryview] = []
    data = dumps(value, namespace, reducers, aside.append)
    size = len(data) + sum(raw.nbytes for raw in aside)
    content = digest(data + b"".join(digest(raw).encode() for raw in aside))
    if _is_dask(value):
        way = Way.DASK
    elif aside:
        way = Way.MAPPED
    elif isinstance(value, types.FunctionType | type):
        way = Way.BY_VALUE
    else:
        way = Way.PROGRAM
    return CapturedRow(name=name, type=label, shape=shape_of(value), size_bytes=size, content_hash=content, way=way)


def _is_dask(value: Any) -> bool:
    return "dask" in sys.modules and callable(getattr(value, "__dask_graph__", None)) and value.__dask_graph__() is not None
