"""Programs of scripts: functions, or source, with the names that they read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import OptionError
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
        If it is neither.
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
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    passed = ", ".join(f"{name}={name}" for name in parameters if takes_all or name in taken)
    return f"program({passed})", {"program": program}, surroundings


def names_read(program: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names outside it that a function may read."""
    code = getattr(inspect.unwrap(program), "__code__", None)
    return () if code is None else (*code.co_names, *code.co_freevars)
