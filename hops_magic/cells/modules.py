"""Modules of the user's own, which the ranks do not have: their source travels with the program."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import site
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hops_magic.cells.analysis import imported_modules
from hops_magic.errors import CaptureError


@dataclass(frozen=True, kw_only=True)
class ShippedModule:
    """A module's source; ``file`` is where it came from, for tracebacks."""

    name: str
    source: str
    file: str
    is_package: bool


def local_modules(wanted: Iterable[str], folder: Path) -> dict[str, ShippedModule]:
    """Return the user's own modules among ``wanted``, and those which they import in turn.

    A module is the user's own if its file lies in ``folder``, or anywhere but in the Python installation.

    Raises
    ------
    CaptureError
        If a module's source cannot be read.
    """
    found: dict[str, ShippedModule] = {}
    queue = list(wanted)
    while queue:
        name = queue.pop()
        if name in found:
            continue
        spec = _spec(name, folder)
        if spec is None or not spec.origin or not is_own(Path(spec.origin), folder):
            continue
        module = _read(name, spec)
        found[name] = module
        parent = name.rpartition(".")[0]
        queue += [parent] if parent else []
        queue += _imported_by(module)
        queue += [loaded for loaded in sys.modules if loaded.startswith(f"{name}.")]
    return found


def is_own(file: Path, folder: Path) -> bool:
    """Whether a file is the user's own and not part of the Python installation."""
    if file.suffix != ".py":
        return False
    path = file.resolve()
    if path.is_relative_to(folder.resolve()) and not any(path.is_relative_to(place) for place in _installed()):
        return True
    ours = Path(__file__).resolve().parents[1]
    return not path.is_relative_to(ours) and not any(path.is_relative_to(place) for place in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    places = [*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()]
    # the interpreter's own prefix, but not a virtual environment's folder, which may hold a project beside it
    return tuple(Path(place).resolve() for place in places if place != "/" and Path(place) != Path(sys.prefix))


def _spec(name: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    loaded = sys.modules.get(name)
    if loaded is not None:
        return getattr(loaded, "__spec__", None)
    if "." not in name:
        spec = importlib.machinery.PathFinder.find_spec(name, [str(folder)])
        if spec is not None:
            return spec
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _read(name: str, spec: importlib.machinery.ModuleSpec) -> ShippedModule:
    file = Path(str(spec.origin))
    try:
        source = importlib.util.decode_source(file.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise CaptureError(f"the module {name} cannot be shipped, {file} cannot be read: {error}") from error
    is_package = spec.submodule_search_locations is not None
    return ShippedModule(name=name, source=source, file=str(file), is_package=is_package)


def _imported_by(module: ShippedModule) -> Iterator[str]:
    try:
        tree = ast.parse(module.source)
    except SyntaxError as error:
        raise CaptureError(f"the module {module.name} has a syntax error in line {error.lineno}: {error.msg}") from None
    yield from imported_modules(tree)
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")
            base = base[: len(base) - node.level + 1]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


class ShippedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports shipped modules on a rank, before anything else of their name."""

    def __init__(self, modules: Mapping[str, ShippedModule]) -> None:
        self._modules = modules

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (the import system's signature)
        target: types.ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        module = self._modules.get(fullname)
        if module is None:
            return None
        spec = importlib.util.spec_from_loader(fullname, self, origin=module.file, is_package=module.is_package)
        if spec is not None:
            spec.has_location = True
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        shipped = self._modules[module.__name__]
        exec(compile(shipped.source, shipped.file, "exec"), module.__dict__)  # noqa: S102 (the user's own module)

    def get_source(self, name: str) -> str:
        """Let tracebacks show the module's lines where its file does not exist."""
        return self._modules[name].source
