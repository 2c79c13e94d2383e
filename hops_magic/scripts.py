"""Programs of scripts: functions, or source, with the names that they read; checked before anything starts."""

from __future__ import annotations

import builtins
import difflib
import inspect
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from types import FunctionType
from typing import Any

from hops_magic.cells.analysis import global_reads, global_stores
from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import CaptureError, OptionError
from hops_magic.training import Surroundings

Source = tuple[str, MutableMapping[str, Any], Surroundings]


def as_source(
    program: str | Callable[..., Any], namespace: MutableMapping[str, Any] | None, parameters: tuple[str, ...] = ()
) -> Source:
    """Return the source of a program, the names that it reads, and where it comes from.

    Parameters
    ----------
    program
        Source, or a function.
    parameters
        Names that a function may take by name.

    Raises
    ------
    OptionError
        If it is neither, or the function needs an argument that nobody gives.
    CaptureError
        If the function reads a name that does not exist.
    """
    if isinstance(program, str):
        origin = CellOrigin(label="script", first_line=1)
        return program, {} if namespace is None else namespace, Surroundings(origin=origin)
    if not callable(program):
        raise OptionError("program", "must be a function or source code", program)
    name = getattr(program, "__name__", "program")
    file = inspect.getsourcefile(program) if inspect.isfunction(program) else None
    folder = Path(file).parent if file and Path(file).is_file() else Path.cwd()
    surroundings = Surroundings(origin=CellOrigin(label=name, first_line=1), folder=folder)
    # a function that takes hyperparameters gets them by name, one without finds none
    taken = inspect.signature(program).parameters
    _check_arguments(name, taken.values(), parameters)
    _check_names(program)
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    passed = ", ".join(f"{name}={name}" for name in parameters if takes_all or name in taken)
    return f"program({passed})", {"program": program}, surroundings


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _check_arguments(name: str, taken: Iterable[inspect.Parameter], parameters: tuple[str, ...]) -> None:
    for parameter in taken:
        is_needed = parameter.default is inspect.Parameter.empty and parameter.kind in _BY_POSITION
        if is_needed and parameter.name not in parameters:
            rule = f"must take no argument but {', '.join(parameters)}" if parameters else "must take no arguments"
            remedy = "give it a default, or wrap the call in a function"
            raise OptionError("program", rule, f"{name} with {parameter.name}", remedy)


def _check_names(program: Callable[..., Any]) -> None:
    """Refuse a function which reads a global name that does not exist, itself or by functions of its module."""
    function = inspect.unwrap(program)
    if not isinstance(function, FunctionType):
        return
    names, asked = function.__globals__, [function]
    reads: dict[str, str] = {}
    bound: set[str] = set()
    for one in asked:
        bound |= global_stores(one.__code__)
        for name in sorted(global_reads(one.__code__) - reads.keys()):
            reads[name] = one.__name__
            behind = names.get(name)
            if isinstance(behind, FunctionType) and behind.__globals__ is names:
                asked.append(behind)
    for name, reader in reads.items():
        if name not in names and name not in bound and not hasattr(builtins, name):
            close = difflib.get_close_matches(name, [*names, *dir(builtins)], n=1)
            hint = f"did you mean {close[0]}?" if close else "define it first"
            raise CaptureError(f"name {name!r} is not defined in {function.__module__}, but {reader} reads it: {hint}")


def names_read(program: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names outside it that a function may read."""
    code = getattr(inspect.unwrap(program), "__code__", None)
    return () if code is None else (*code.co_names, *code.co_freevars)
