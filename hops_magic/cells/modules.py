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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hops_magic.cells.analysis import imported_modules
from hops_magic.errors import CaptureError


@dataclass(frozen=True, kw_only=True)
class ShippedModule:
    """A module's source; ``file`` is where it came from, for tracebacks. A package without a file has no source."""

    name: str
    source: str
    file: str
    is_package: bool


def local_modules(wanted: Iterable[str], folder: Path) -> dict[str, ShippedModule]:
    """Return the user's own modules among ``wanted``, and those which they import in turn.

    A module is the user's own if its file lies in ``folder``, or anywhere but in the Python installation. Nothing is
    imported to find out, and files are read anew: what was edited since the notebook imported it travels as it is now.

    Raises
    ------
    CaptureError
        If a module's source cannot be read.
    """
    found: dict[str, ShippedModule] = {}
    queue = sorted(set(wanted))
    seen = set(queue)
    while queue:
        name = queue.pop()
        spec = _spec(name, folder)
        if spec is None:
            continue
        module = found[name] = _read(name, spec)
        loaded = [other for other in sys.modules if other.startswith(f"{name}.")]
        parent = name.rpartition(".")[0]
        news = {parent, *imports_of(module), *loaded} - seen - {""}
        seen |= news
        queue += sorted(news)
    return found


_PACKAGES = frozenset({"site-packages", "dist-packages"})


def is_own(file: Path) -> bool:
    """Whether a file is the user's own and not part of the Python installation or of this package."""
    path = file.resolve()
    ours = Path(__file__).resolve().parents[1]
    if not _PACKAGES.isdisjoint(path.parts):  # of another environment that this one goes on from, say
        return False
    return not path.is_relative_to(ours) and not any(path.is_relative_to(place) for place in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    # the prefix itself ("data") is left out: a project may lie beside or above its virtual environment
    paths = {name: path for name, path in sysconfig.get_paths().items() if name != "data"}
    places = [*site.getsitepackages(), site.getusersitepackages(), *paths.values()]
    return tuple({Path(place).resolve() for place in places if place not in ("", "/")})


def _spec(name: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    """Find one of the user's own modules without importing anything."""
    spec, places = None, [str(folder), *sys.path]
    for depth, part in enumerate(name.split(".")):
        if depth == 0 and (part in sys.builtin_module_names or part in sys.stdlib_module_names or part == "__main__"):
            return None
        try:
            # by its last part: of the full name of a folder without __init__.py the finder wants the parent imported
            spec = importlib.machinery.PathFinder.find_spec(part, places)
        except (ImportError, ValueError, OSError):
            return None
        if spec is None or not _is_shippable(spec):
            return None
        places = list(spec.submodule_search_locations or ())
    return spec


def _is_shippable(spec: importlib.machinery.ModuleSpec) -> bool:
    if spec.origin:
        return spec.origin.endswith(".py") and is_own(Path(spec.origin))
    return all(is_own(Path(place)) for place in spec.submodule_search_locations or ("/",))


def _read(name: str, spec: importlib.machinery.ModuleSpec) -> ShippedModule:
    is_package = spec.submodule_search_locations is not None
    if not spec.origin:
        return ShippedModule(name=name, source="", file="", is_package=True)
    file = Path(spec.origin)
    try:
        source = importlib.util.decode_source(file.read_bytes())
        ast.parse(source)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CaptureError(f"the module {name} cannot be shipped, {file} cannot be read: {error}") from error
    except SyntaxError as error:
        raise CaptureError(f"the module {name} has a syntax error in line {error.lineno} of {file}: {error.msg}") from None
    return ShippedModule(name=name, source=source, file=str(file), is_package=is_package)


def imports_of(module: ShippedModule) -> Iterator[str]:
    """Yield the absolute names of modules that a shipped module imports, relative imports resolved."""
    tree = ast.parse(module.source)
    yield from imported_modules(tree)
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")
            base = base[: len(base) - node.level + 1]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def submodules_of(source: str, values: Mapping[str, object]) -> tuple[str, ...]:
    """Return the loaded modules inside packages among some values that code may reach through these."""
    packages = [
        value.__name__ for value in values.values() if isinstance(value, types.ModuleType) and hasattr(value, "__path__")
    ]
    named = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    loaded = [name for name, module in list(sys.modules.items()) if module is not None and "." in name]
    return tuple(
        name
        for name in sorted(loaded)
        for package in packages
        if name.startswith(f"{package}.") and set(name[len(package) + 1 :].split(".")) <= named
    )


class FolderFinder(importlib.abc.MetaPathFinder):
    """Imports modules from a folder on a rank that can see it; ``ready`` is called with each."""

    def __init__(self, folder: str, ready: Callable[[types.ModuleType], None]) -> None:
        self._folder, self._ready = folder, ready

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,  # noqa: ARG002 (the signature of all finders)
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and self._folder not in sys.path:
            return None
        places = [self._folder] if path is None else [place for place in path if Path(place).is_relative_to(self._folder)]
        spec = importlib.machinery.PathFinder.find_spec(fullname, places) if places else None
        if (
            spec is None
            or not isinstance(spec.loader, importlib.machinery.SourceFileLoader)
            or not is_own(Path(spec.loader.path))
        ):
            return None
        spec.loader = _TellingLoader(spec.loader.name, spec.loader.path, self._ready)
        return spec


class _TellingLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, ready: Callable[[types.ModuleType], None]) -> None:
        super().__init__(name, path)
        self._ready = ready

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        self._ready(module)


class ShippedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports shipped modules on a rank, before anything else of their name; ``ready`` is called with each."""

    def __init__(self, modules: Mapping[str, ShippedModule], ready: Callable[[types.ModuleType], None]) -> None:
        self._modules, self._ready = modules, ready

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (the signature of all finders)
        target: types.ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        module = self._modules.get(fullname)
        if module is None:
            return None
        spec = importlib.util.spec_from_loader(fullname, self, origin=module.file or None, is_package=module.is_package)
        if spec is not None:
            spec.has_location = bool(module.file)
            if module.is_package and Path(module.file).parent.is_dir():
                # what could not be foreseen, such as an import by a computed name, is found where the rank sees the folder
                spec.submodule_search_locations = [str(Path(module.file).parent)] if module.file else []
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        shipped = self._modules[module.__name__]
        exec(compile(shipped.source, shipped.file or f"<{shipped.name}>", "exec"), module.__dict__)  # noqa: S102 (the user's own)
        self._ready(module)

    def get_source(self, name: str) -> str:
        """Let tracebacks show the module's lines where its file does not exist."""
        return self._modules[name].source
