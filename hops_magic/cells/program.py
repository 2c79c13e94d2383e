"""A cell made portable, and how it is executed on a rank."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hops_magic.cells.analysis import FLAGS
from hops_magic.cells.module_state import ModuleVariables, is_variable
from hops_magic.cells.modules import FolderFinder, ShippedFinder, ShippedModule
from hops_magic.cells.numbered import Numbered
from hops_magic.cells.shell import RankShell
from hops_magic.cells.syntax import SHELL_NAME
from hops_magic.cells.travel import loads
from hops_magic.errors import CaptureError, first_sentence


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Names that are pickled together, because they share objects.

    Attributes
    ----------
    names : tuple of str
    stream : bytes
        The pickled value, or tuple of the values of several names; empty if it lies in the buffer ``stream_buffer``.
    stream_buffer : str
        Content hash of the buffer which holds a large stream.
    buffers : tuple of str
        Content hashes of large buffers, in the order in which the stream wants them.
    """

    names: tuple[str, ...]
    stream: bytes = b""
    stream_buffer: str = ""
    buffers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CellSource:
    """Lines of another cell, whose functions the program takes along; ``title`` is what tracebacks call it."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A cell's source with all that it needs; small and picklable.

    Attributes
    ----------
    source : str
        The cell as Python.
    label : str
        The cell as the notebook calls it, e.g. ``In[5]``.
    first_line : int
        The number that Jupyter gives to the first line of ``source``.
    bundles : tuple of Bundle
        The pickled names.
    modules : mapping
        Modules of the user's own, by name.
    sources : mapping
        By file name, the cells from which functions were taken.
    frameworks : frozenset of str
        Top-level modules that the program needs, directly or through what it takes along.
    binds : tuple of str
        Names that the cell binds.
    out : tuple of str or None
        Names to bring back; None for those that it binds or changes.
    submodules : tuple of str
        Parts of packages that the notebook has imported and the cell reaches through the package.
    folder : str
        The notebook's folder, whose modules are found where a rank can see it.
    """

    source: str
    label: str
    first_line: int
    bundles: tuple[Bundle, ...] = ()
    modules: Mapping[str, ShippedModule] = field(default_factory=dict)
    sources: Mapping[str, CellSource] = field(default_factory=dict)
    frameworks: frozenset[str] = frozenset()
    binds: tuple[str, ...] = ()
    has_value: bool = False
    out: tuple[str, ...] | None = None
    folder: str = ""
    submodules: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The name under which tracebacks show the cell."""
        return f"Cell {self.label}"


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A large buffer as it lies in this process, mapped copy-on-write."""

    digest: str
    memory: memoryview


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a program took along, as it arrived: its names, the namespace they live in, and their large buffers.

    ``things`` are all that came and may change, by the numbers that they have in the notebook too; ``variables`` are those
    of the user's own modules.
    """

    names: Mapping[str, Any]
    namespace: dict[str, Any]
    mapped: tuple[Mapped, ...] = ()
    things: Mapping[int, Any] = field(default_factory=dict)
    variables: ModuleVariables = field(default_factory=ModuleVariables)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a program left in its namespace. ``initial`` holds the namespace's names from before the cell ran."""

    namespace: dict[str, Any]
    taken: Taken
    initial: Mapping[str, Any]
    value: Any = None
    has_value: bool = False


def execute(
    program: Program,
    *,
    open_buffer: Callable[[str], memoryview],
    extra: Mapping[str, Any],
    before: Callable[[Taken], None] | None = None,
    after_error: Callable[[BaseException, Outcome], None] | None = None,
) -> Outcome:
    """Run a program in a fresh ``__main__``; the process is the program's own from then on.

    Parameters
    ----------
    open_buffer
        Gives the memory of a large buffer by its content hash, mapped anew at each call: values are views on it.
    extra
        Further names that the cell sees.
    before
        Called with what was taken along, before the cell runs.
    after_error
        Called with what the cell raised and what it had left by then, before the error goes on.
    """
    main = types.ModuleType("__main__")
    namespace = main.__dict__
    sys.modules["__main__"] = main
    variables = ModuleVariables()
    _make_modules_importable(program, variables)
    _show_lines(program)
    namespace["__builtins__"] = __builtins__
    taken = _arrive(program, namespace, open_buffer, variables)
    namespace.update({name: value for name, value in extra.items() if name not in taken.names})
    shell = RankShell(namespace)
    namespace[SHELL_NAME] = lambda: shell
    if before is not None:
        before(taken)
    initial = dict(namespace)
    try:
        value = _run(program, namespace)
    except BaseException as error:
        if after_error is not None:
            after_error(error, Outcome(namespace=namespace, taken=taken, initial=initial))
        raise
    return Outcome(namespace=namespace, taken=taken, initial=initial, value=value, has_value=value is not None)


def _make_modules_importable(program: Program, variables: ModuleVariables) -> None:
    if program.modules:
        sys.meta_path.insert(0, ShippedFinder(program.modules, variables.give))
    if program.folder and Path(program.folder).is_dir():
        # behind the shipped modules: for what could not be foreseen, such as an import by a computed name
        sys.meta_path.insert(1 if program.modules else 0, FolderFinder(program.folder, variables.give))
        if program.folder not in sys.path:
            sys.path.insert(0, program.folder)


def _show_lines(program: Program) -> None:
    """Let tracebacks find the lines of cells, numbered as Jupyter numbers them."""
    lines = ["\n"] * (program.first_line - 1) + program.source.splitlines(keepends=True)
    sources = {program.file_name: lines, **{file: list(source.lines) for file, source in program.sources.items()}}
    for file, text in sources.items():
        size = sum(map(len, text))
        linecache.cache[file] = (size, None, text, file)  # type: ignore[assignment]  # None: there is no file to check


def _arrive(
    program: Program, namespace: dict[str, Any], open_buffer: Callable[[str], memoryview], variables: ModuleVariables
) -> Taken:
    names: dict[str, Any] = {}
    things = Numbered()
    mapped: list[Mapped] = []

    def opened(digest: str) -> memoryview:
        # anew at each use: equal arrays of the notebook must not become one
        mapped.append(Mapped(digest=digest, memory=open_buffer(digest)))
        return mapped[-1].memory

    for bundle in program.bundles:
        stream: bytes | memoryview = bundle.stream
        if bundle.stream_buffer:
            stream = open_buffer(bundle.stream_buffer)
        try:
            value = loads(stream, namespace, [opened(digest) for digest in bundle.buffers], numbered=things)
        except Exception as error:  # noqa: BLE001 (the making of a value runs code of any library)
            raise _unmade(bundle.names, error) from None
        arrived = dict(zip(bundle.names, value if len(bundle.names) > 1 else (value,), strict=True))
        names.update(arrived)
        # at once: the making of later values may call functions that read these
        for name, value in arrived.items():
            if is_variable(name):
                variables.arrive(name, value)
            else:
                namespace[name] = value
    for name in program.submodules:
        importlib.import_module(name)
    variables.give_all()
    return Taken(names=names, namespace=namespace, mapped=tuple(mapped), things=things, variables=variables)


def _unmade(names: tuple[str, ...], error: Exception) -> CaptureError:
    them = "it" if len(names) == 1 else "them"
    said = f"{type(error).__name__}: {first_sentence(error)}"
    return CaptureError(f"{', '.join(names)} cannot be rebuilt on the rank, {said}: make {them} inside the cell")


def _run(program: Program, namespace: dict[str, Any]) -> Any:
    tree = ast.increment_lineno(ast.parse(program.source), program.first_line - 1)
    last = tree.body.pop() if program.has_value and tree.body else None
    with _event_loop() as run:
        run(_compiled(tree, program.file_name, "exec"), namespace)
        if isinstance(last, ast.Expr):
            return run(_compiled(ast.Expression(last.value), program.file_name, "eval"), namespace)
    return None


def _compiled(tree: ast.Module | ast.Expression, file_name: str, mode: str) -> types.CodeType:
    # dont_inherit: this file's own __future__ imports are none of the cell's
    code: types.CodeType = compile(tree, file_name, mode, FLAGS, dont_inherit=True)
    return code


@contextlib.contextmanager
def _event_loop() -> Any:
    """Run code objects; those that await share one event loop, as the cells of a notebook do."""
    runner: asyncio.Runner | None = None

    def run(code: types.CodeType, namespace: dict[str, Any]) -> Any:
        nonlocal runner
        value = eval(code, namespace)  # noqa: S307 (the user's own cell)
        if not code.co_flags & inspect.CO_COROUTINE:
            return value
        runner = runner or asyncio.Runner()
        return runner.run(value)

    try:
        yield run
    finally:
        if runner is not None:
            runner.close()
