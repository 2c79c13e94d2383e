"""What the notebook's own modules hold travels with their source, and what a cell changes there is changed in the notebook.

A variable of a module, or of a class in it, is called ``module:variable`` or ``module:Class.variable`` on its way.
"""

from __future__ import annotations

import enum
import importlib.util
import marshal
import sys
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hops_magic.cells.modules import ShippedModule

_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
# what is of the language, and neither data nor of the module
_LANGUAGE = frozenset({"typing", "__future__", "_thread", "functools"})
_IN_CLASSES = (int, float, complex, str, bytes, list, dict, set, tuple, frozenset, bytearray, type(None))
_HEADER = 16  # of a compiled file: word, flags, time and size of its source
_BEGAN_AT = time.time()


def is_variable(name: str) -> bool:
    """Whether this is the name of a module's variable on its way."""
    return ":" in name


def variables_of(module: types.ModuleType) -> dict[str, Any]:
    """Return the data that a module and its classes hold, by name on the way."""
    return {f"{module.__name__}:{path}": value for path, value in _variables(module)}


def _variables(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if name.startswith("__"):
            continue
        if isinstance(value, type) and value.__module__ == module.__name__ and not isinstance(value, enum.EnumMeta):
            for part, inner in list(vars(value).items()):
                if not part.startswith("_") and (isinstance(inner, _IN_CLASSES) or hasattr(inner, "__array__")):
                    yield f"{name}.{part}", inner
        elif not isinstance(value, _CODE) and type(value).__module__ not in _LANGUAGE:
            yield name, value


def variables_here(modules: Mapping[str, ShippedModule]) -> tuple[dict[str, Any], list[str]]:
    """Return the variables of shipped modules as the notebook has them, and the modules whose files were edited since.

    Of an edited module the file counts, with the variables that it makes.
    """
    found: dict[str, Any] = {}
    edited = []
    for name, shipped in modules.items():
        module = sys.modules.get(name)
        if module is None or not shipped.file:
            continue
        if is_edited(module, shipped):
            edited.append(name)
        else:
            found |= variables_of(module)
    return found, edited


def is_edited(module: types.ModuleType, shipped: ShippedModule) -> bool:
    """Whether a module's source is another one than when this process imported it."""
    file = Path(shipped.file)
    code = compile(shipped.source, shipped.file, "exec", dont_inherit=True)
    known = set(_codes(code))
    functions = [value for value in vars(module).values() if isinstance(value, types.FunctionType)]
    if any(
        f.__code__ not in known for f in functions if f.__module__ == module.__name__ and f.__code__.co_filename == str(file)
    ):
        return True
    try:
        # what was compiled when it was imported: times and sizes do not tell of an edit in the same second
        compiled = Path(importlib.util.cache_from_source(shipped.file)).read_bytes()
        return bool(marshal.loads(compiled[_HEADER:]) != code)  # noqa: S302 (what Python itself would run)
    except (OSError, ValueError, EOFError, TypeError, NotImplementedError):  # it was not kept
        return file.stat().st_mtime > _BEGAN_AT


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield part
            yield from _codes(part)


class ModuleVariables:
    """On a rank: gives shipped modules the variables that they have in the notebook, and tells which the cell set."""

    def __init__(self) -> None:
        self._arrived: dict[str, Any] = {}
        self._initial: dict[str, dict[str, Any]] = {}

    def arrive(self, name: str, value: Any) -> None:
        """Take a variable, for its module when that is imported."""
        self._arrived[name] = value

    def give(self, module: types.ModuleType) -> None:
        """Give a module that was just imported what has arrived for it."""
        for name, value in self._arrived.items():
            if name.partition(":")[0] == module.__name__:
                set_variable(name, value)
        self._initial[module.__name__] = variables_of(module)

    def give_all(self) -> None:
        """Do so for modules that were imported while things arrived."""
        for name in list(self._initial):
            self.give(sys.modules[name])

    def set_since(self) -> dict[str, Any]:
        """Return the variables that mean something else than when the cell began."""
        found: dict[str, Any] = {}
        for module, initial in self._initial.items():
            now = variables_of(sys.modules[module]) if module in sys.modules else {}
            found |= {name: value for name, value in now.items() if name not in initial or initial[name] is not value}
        return found


def set_variable(name: str, value: Any) -> bool:
    """Set a variable of a module that is imported; False if it is not."""
    module, _, path = name.partition(":")
    owner: Any = sys.modules.get(module)
    *inner, last = path.split(".")
    for part in inner:
        owner = getattr(owner, part, None)
    if owner is not None:
        setattr(owner, last, value)
    return owner is not None
