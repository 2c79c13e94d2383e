"""What the notebook's own modules hold travels with their source, and what a cell changes there is changed in the notebook.

A variable of a module, of a class or of a function in it is called ``module:variable``, ``module:Class.variable`` or
``module:function.attribute`` on its way, one of a closure ``module:function.~variable``.
"""

from __future__ import annotations

import collections
import enum
import importlib.util
import marshal
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hops_magic.cells.kinds import CachedFunction, note_of_cache
from hops_magic.cells.modules import ShippedModule

_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
# what is of the language, and neither data nor of the module
_LANGUAGE = frozenset({"typing", "__future__", "_thread", "functools"})
_CLOSURE = "~"
_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__")
_PLAIN = (int, float, complex, str, bytes, type(None))
_HEADER = 16  # of a compiled file: word, flags, time and size of its source
_BEGAN_AT = time.time()


def is_variable(name: str) -> bool:
    """Whether this is the name of a module's variable on its way."""
    return ":" in name


def variables_of(module: types.ModuleType) -> dict[str, Any]:
    """Return the data that a module, its classes and its functions hold, by name on the way."""
    return {f"{module.__name__}:{path}": value for path, value in _Variables(module).found()}


def notes_of_caches(modules: Iterable[str]) -> list[str]:
    """Name the cached functions of imported modules whose results the ranks do not have."""
    notes = []
    for name in modules:
        if (module := sys.modules.get(name)) is not None:
            variables = _Variables(module)
            collections.deque(variables.found(), maxlen=0)
            notes += [note_of_cache(function, f"{name}.{path}") for path, function in variables.caches.items()]
    return [note for note in notes if note]


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


class _Variables:
    """Walks through a module, its classes and its functions."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module, self._seen = module, set[int]()
        self.caches: dict[str, Any] = {}
        """The module's cached functions, by path, that were found so far."""

    def found(self) -> Iterator[tuple[str, Any]]:
        for name, value in list(vars(self._module).items()):
            if not _is_special(name):
                yield from self._in(name, value)

    def _in(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, type):
            if value.__module__ == self._module.__name__ and not isinstance(value, enum.EnumMeta) and self._is_new(value):
                for name, inner in list(vars(value).items()):
                    if not _is_special(name) and not name.startswith("_abc_"):
                        yield from self._in(f"{path}.{name}", inner)
        elif isinstance(value, types.FunctionType):
            yield from self._in_function(path, value)
        elif isinstance(value, CachedFunction):  # its function is made anew, and so is what it keeps
            if value.__module__ == self._module.__name__:
                self.caches[path] = value
            yield from self._in(f"{path}.__wrapped__", value.__wrapped__)
        elif (
            not isinstance(value, _CODE)
            and not _is_of_language(value)
            and not ("." in path and hasattr(type(value), "__get__"))
        ):
            yield path, value

    def _in_function(self, path: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        if function.__module__ == "__main__":  # the notebook has put it there
            yield path, function
        if function.__globals__ is not vars(self._module) or not self._is_new(function):
            return
        for name in _OF_FUNCTIONS:
            value = getattr(function, name)
            parts = value.values() if isinstance(value, dict) else value or ()
            if any(not isinstance(part, _PLAIN) for part in parts):
                yield f"{path}.{name}", value
        for name, value in list(vars(function).items()):
            yield from self._in(f"{path}.{name}", value)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__" and (content := _content(cell)):
                yield from self._in(f"{path}.{_CLOSURE}{name}", content[0])

    def _is_new(self, value: object) -> bool:
        is_new = id(value) not in self._seen
        self._seen.add(id(value))
        return is_new


def _content(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not yet bound
        return ()


def _is_of_language(value: Any) -> bool:
    kind = type(value)
    return kind.__module__ in _LANGUAGE and kind.__name__ != "partial"


def _bindings_of(module: types.ModuleType) -> dict[str, Any]:
    """Return what all names of a module and of its classes mean, code too, beside its variables."""
    found = {name: value for name, value in vars(module).items() if not _is_special(name)}
    for name, kind in list(found.items()):
        if isinstance(kind, type) and kind.__module__ == module.__name__ and not isinstance(kind, enum.EnumMeta):
            own = {
                part: value for part, value in vars(kind).items() if not _is_special(part) and not part.startswith("_abc_")
            }
            found |= {f"{name}.{part}": value for part, value in own.items()}
    return {**{f"{module.__name__}:{path}": value for path, value in found.items()}, **variables_of(module)}


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
        self.made: dict[str, Any] = {}
        """Variables that modules made here, since the notebook has not imported them, say."""
        self.on_made: Callable[[str, Any], None] | None = None
        """Told of each of these."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that were imported, in this order."""
        return tuple(name for name in self._initial if name in sys.modules)

    def arrive(self, name: str, value: Any) -> None:
        """Take a variable, for its module when that is imported."""
        self._arrived[name] = value

    def give(self, module: types.ModuleType) -> None:
        """Give a module that was just imported what has arrived for it."""
        for name, value in self._arrived.items():
            if name.partition(":")[0] == module.__name__:
                set_variable(name, value)
        self._initial[module.__name__] = _bindings_of(module)
        made = {name: value for name, value in variables_of(module).items() if name not in self._arrived}
        self.made.update(made)
        if self.on_made is not None:
            for name, value in made.items():
                self.on_made(name, value)

    def give_all(self) -> None:
        """Do so for modules that were imported while things arrived."""
        self.made.clear()
        for name in list(self._initial):
            self.give(sys.modules[name])

    def set_since(self) -> dict[str, Any]:
        """Return the variables that mean something else than when the cell began."""
        found: dict[str, Any] = {}
        for module, initial in self._initial.items():
            now = _bindings_of(sys.modules[module]) if module in sys.modules else {}
            new = {name: value for name, value in now.items() if name not in initial or initial[name] is not value}
            # a new class or a new function is sent whole, and not in parts
            found |= {name: value for name, value in new.items() if not any(name.startswith(f"{other}.") for other in new)}
        return found

    def deleted(self) -> list[str]:
        """Return the names of modules and of their classes that mean nothing any more."""
        found = []
        for module, initial in self._initial.items():
            if module in sys.modules:
                now = _bindings_of(sys.modules[module])
                found += [name for name in initial if name not in now and _owner_of(name) is not None and _is_plain(name)]
        return found


def _is_plain(name: str) -> bool:
    return _CLOSURE not in name and not _is_special(name.rpartition(".")[2])


def _owner_of(name: str) -> Any:
    module, _, path = name.partition(":")
    owner: Any = sys.modules.get(module)
    for part in path.split(".")[:-1]:
        if part.startswith(_CLOSURE):
            owner = next(iter(_content(cell)), None) if (cell := _cell_of(owner, part)) is not None else None
        elif isinstance(owner, type):
            inner = vars(owner).get(part)
            owner = inner.__func__ if isinstance(inner, staticmethod | classmethod) else inner
        else:
            owner = getattr(owner, part, None)
    return owner


def _cell_of(function: Any, part: str) -> types.CellType | None:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    name = part.removeprefix(_CLOSURE)
    return function.__closure__[names.index(name)] if name in names else None


def set_variable(name: str, value: Any) -> bool:
    """Set a variable of a module that is imported; False if it is not, or has no such place any more."""
    owner, last = _owner_of(name), name.partition(":")[2].rpartition(".")[2]
    if owner is None:
        return False
    if last.startswith(_CLOSURE):
        cell = _cell_of(owner, last)
        if cell is not None:
            cell.cell_contents = value
        return cell is not None
    setattr(owner, last, value)
    return True


def delete_variable(name: str) -> None:
    """Delete a name of a module that is imported, or of one of its classes, if it is there."""
    owner, last = _owner_of(name), name.partition(":")[2].rpartition(".")[2]
    if owner is not None and last in vars(owner):
        delattr(owner, last)
