"""A cell made portable, and how it is executed on a rank."""

from __future__ import annotations

import ast
import linecache
import subprocess
import sys
import time
import timeit
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hops_magic.cells.modules import ShippedFinder, ShippedModule
from hops_magic.cells.syntax import SHELL_NAME
from hops_magic.cells.travel import loads


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
    payload : bytes
        The pickled names.
    buffer_order : tuple of str
        Content hashes of the large buffers, in the order in which the payload wants them.
    modules : mapping
        Modules of the user's own, by name.
    frameworks : frozenset of str
        Top-level modules that the program needs, directly or through what it takes along.
    binds : tuple of str
        Names that the cell binds.
    out : tuple of str or None
        Names to bring back; None for those that it binds or changes.
    """

    source: str
    label: str
    first_line: int
    payload: bytes
    buffer_order: tuple[str, ...] = ()
    modules: Mapping[str, ShippedModule] = field(default_factory=dict)
    frameworks: frozenset[str] = frozenset()
    binds: tuple[str, ...] = ()
    has_value: bool = False
    out: tuple[str, ...] | None = None

    @property
    def file_name(self) -> str:
        """The name under which tracebacks show the cell."""
        return f"Cell {self.label}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a program left in its namespace.

    ``taken`` holds the names that it took along, as it found them.
    """

    namespace: dict[str, Any]
    taken: Mapping[str, Any]
    value: Any = None
    has_value: bool = False


def execute(
    program: Program,
    *,
    open_buffer: Callable[[str], memoryview],
    extra: Mapping[str, Any],
    before: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
) -> Outcome:
    """Run a program in a fresh ``__main__``.

    Parameters
    ----------
    open_buffer
        Gives the memory of a large buffer by its content hash; values are views on it.
    extra
        Further names that the cell sees.
    before
        Called with the names that were taken along and the cell's namespace, before the cell runs.
    """
    main = types.ModuleType("__main__")
    namespace = main.__dict__
    sys.modules["__main__"] = main
    if program.modules:
        sys.meta_path.insert(0, ShippedFinder(program.modules))
    taken: dict[str, Any] = loads(program.payload, namespace, (open_buffer(name) for name in program.buffer_order))
    namespace.update(taken)
    namespace.update(extra)
    namespace.update({"__builtins__": __builtins__, SHELL_NAME: lambda: _Shell(namespace)})
    if before is not None:
        before(taken, namespace)
    # tracebacks find the cell's lines here, numbered as Jupyter numbers them
    lines = ["\n"] * (program.first_line - 1) + program.source.splitlines(keepends=True)
    linecache.cache[program.file_name] = (len(program.source), None, lines, program.file_name)  # type: ignore[assignment]
    tree = ast.increment_lineno(ast.parse(program.source), program.first_line - 1)
    last = tree.body.pop() if program.has_value and tree.body else None
    exec(compile(tree, program.file_name, "exec"), namespace)  # noqa: S102 (the user's own cell)
    if not isinstance(last, ast.Expr):
        return Outcome(namespace=namespace, taken=taken)
    value = eval(compile(ast.Expression(last.value), program.file_name, "eval"), namespace)  # noqa: S307 (the user's own cell)
    return Outcome(namespace=namespace, taken=taken, value=value, has_value=value is not None)


class _Shell:
    """The part of IPython's shell that makes sense on a rank: commands, ``%time`` and ``%timeit``."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace

    def system(self, command: str) -> None:
        # inherits the rank's stdout and stderr
        subprocess.run(command, shell=True, check=False)  # noqa: S602 (the user's own command)

    def getoutput(self, command: str) -> list[str]:
        done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)  # noqa: S602
        return (done.stdout + done.stderr).splitlines()

    def run_line_magic(self, name: str, line: str, *_: Any) -> None:
        if name == "time":
            began = time.perf_counter()
            exec(line, self._namespace)  # noqa: S102 (the user's own line)
            sys.stdout.write(f"Wall time: {time.perf_counter() - began:.3g} s\n")
        elif name == "timeit":
            timer = timeit.Timer(line, globals=self._namespace)
            loops, _ = timer.autorange()
            best = min(timer.repeat(5, loops)) / loops
            sys.stdout.write(f"{best:.3g} s per loop (best of 5 times {loops} loops)\n")
