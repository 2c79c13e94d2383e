"""Whether a cell reads what it is given: a name that nothing reads gives trials that are all alike."""

from __future__ import annotations

import builtins
import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from hops_magic.cells.capture import Capture
from hops_magic.errors import UsageError
from hops_magic.tuning.space import Space, dimensions_of


def check_space(space: Space, captured: Capture, namespace: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Refuse hyperparameters that nothing in a cell reads; return warnings about those that it overwrites.

    Raises
    ------
    UsageError
        With the name that may have been meant.
    """
    searched = [name for name, part in space.items if any(True for _ in dimensions_of(part, name))]
    for name in _unread(searched, captured):
        hint = _hint(name, captured, namespace)
        raise UsageError(f"nothing in {where} reads the hyperparameter {name}{hint or ': its trials would be all alike'}")
    # a key of one option of a hyperopt space may be there to tell the options apart
    told = [
        f"nothing in {where} reads {name}, which the space gives"
        for name in _unread(space.names, captured)
        if space.whole is not None
    ]
    overwritten = [
        f"{where} sets the hyperparameter {name} itself before it reads it: its trials are all alike"
        for name in _overwritten(space.names, captured)
    ]
    return (*told, *overwritten)


def check_flags(flags: Iterable[str], captured: Capture, namespace: Mapping[str, Any], where: str) -> None:
    """Refuse flags that nothing in a cell reads, or that it sets itself: leaving them out would change nothing.

    Raises
    ------
    UsageError
        With the name that may have been meant.
    """
    for name in _unread(flags, captured):
        hint = _hint(name, captured, namespace)
        raise UsageError(f"nothing in {where} reads the flag {name}{hint or ': leaving it out would change nothing'}")
    for name in _overwritten(flags, captured):
        raise UsageError(f"{where} sets the flag {name} itself before it reads it: move that line to another cell")


def _unread(names: Iterable[str], captured: Capture) -> list[str]:
    reads = captured.reads
    return [] if reads is None else [name for name in names if name not in reads and name not in captured.program.binds]


def _overwritten(names: Iterable[str], captured: Capture) -> list[str]:
    reads = captured.reads
    return [] if reads is None else [name for name in names if name not in reads and name in captured.program.binds]


def _hint(name: str, captured: Capture, namespace: Mapping[str, Any]) -> str:
    candidates = set(captured.reads or ()) - set(dir(builtins))
    program = namespace.get("program")
    if "program" in candidates and callable(program):  # a function, which has parameters of its own
        candidates |= set(inspect.signature(program).parameters)
    close = difflib.get_close_matches(name, sorted(candidates), n=1)
    return f": did you mean {close[0]}?" if close else ""
