"""Find where a cell opens files for writing, without running it: on several ranks each of them would write the same file."""

from __future__ import annotations

import ast
import builtins
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from hops_magic.cells.program import Program

_MODE = re.compile(r"[rbtU]*[wax+][wax+rbtU]*")
# whose open() takes the path first; that of a Path takes the mode first
_OPENERS = frozenset({"open", "io.open", "gzip.open", "bz2.open", "lzma.open", "codecs.open", "tarfile.open", "_io.open"})
_WITH_MODE = _OPENERS | {"zipfile.ZipFile", "h5py.File", "tarfile.TarFile"}
_WRITERS = {
    **dict.fromkeys(("numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt"), 0),
    **dict.fromkeys(("joblib.dump", "torch.save", "os.rename", "os.replace"), 1),
    **dict.fromkeys(("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move"), 1),
    **dict.fromkeys(
        ("shutil.make_archive", "logging.FileHandler", "matplotlib.pyplot.savefig", "tensorflow.io.write_file"), 0
    ),
}
"""By full name, which argument is the place."""
_METHODS = {
    **dict.fromkeys(("to_csv", "to_parquet", "to_pickle", "to_excel", "to_feather", "to_json", "to_hdf", "to_stata"), 0),
    **dict.fromkeys(("to_netcdf", "to_zarr", "tofile", "savefig", "write_parquet", "write_csv"), 0),
    **dict.fromkeys(("write_text", "write_bytes"), -1),
}
"""By name, which argument is the place; -1 where the object itself is."""
_PLACES = frozenset({"path", "path_or_buf", "fname", "file", "filename", "dst", "fid", "excel_writer", "f", "store", "name"})
# what gives a place that is no other rank's
_OWN = re.compile(
    r"\brank\b|tempfile|mkdtemp|mkstemp|TemporaryDirectory|TemporaryFile|tmp_path|uuid|getpid|BytesIO|StringIO|devnull"
)
_LEAVES = (ast.Return, ast.Continue, ast.Break, ast.Raise)


@dataclass(frozen=True, order=True)
class FileWrite:
    """A place where code writes a file: ``where`` is a line of the cell or of another, ``what`` the call as it stands."""

    where: str
    what: str


def file_writes(program: Program, namespace: Mapping[str, Any]) -> list[FileWrite]:
    """Return where a program's cell, and functions of other cells that go along, write files whose names all ranks share.

    Left out is what ranks do not all do, inside ``if hops.rank == 0`` say, and what has a name or place of the rank's own.
    """
    tree = ast.parse(program.source)
    found = [
        FileWrite(f"line {node.lineno + program.first_line - 1}", _shown(node)) for node in _Finder(tree, namespace).found()
    ]
    taken = {name for bundle in program.bundles for name in bundle.names}
    for source in program.sources.values():
        try:
            other = ast.parse("".join(source.lines))
        except SyntaxError:  # IPython's own syntax beside the functions
            continue
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        used = [node for node in other.body if isinstance(node, kinds) and node.name in taken]
        finder = _Finder(ast.Module([*_imports(other), *used], []), namespace)
        found += [FileWrite(f"line {node.lineno} of {source.title}", _shown(node)) for node in finder.found()]
    return list(dict.fromkeys(found))


def notes_of(writes: Iterable[FileWrite], ranks: int) -> tuple[str, ...]:
    """Say of each place that all ranks would write the file, and what to do."""
    return tuple(
        f"{write.where}: each of the {ranks} ranks would write the same file in {write.what}: "
        "put it under if hops.rank == 0, or give the file a name of the rank's own"
        for write in writes
    )


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _imports(tree: ast.AST) -> list[ast.stmt]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


class _Finder:
    """Walks statements in order, leaving out what depends on the rank."""

    def __init__(self, tree: ast.Module, namespace: Mapping[str, Any]) -> None:
        self._tree, self._namespace = tree, namespace
        self._aliases = dict(_aliases(tree))
        self._own = _own_names(tree)
        self._calls: list[ast.Call] = []

    def found(self) -> list[ast.Call]:
        self._block(self._tree.body)
        return self._calls

    def _block(self, statements: list[ast.stmt]) -> None:
        for node in statements:
            self._visit(node)
            if isinstance(node, ast.If) and self._is_own(node.test) and isinstance(node.body[-1], _LEAVES):
                return  # only some ranks come further

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.If | ast.IfExp | ast.While) and self._is_own(node.test):
            return
        if isinstance(node, ast.BoolOp) and any(map(self._is_own, node.values)):
            return
        if isinstance(node, ast.Call) and self._writes(node):
            self._calls.append(node)
        for field in ast.iter_fields(node):
            for part in field[1] if isinstance(field[1], list) else [field[1]]:
                if isinstance(part, ast.AST) and not isinstance(part, ast.stmt):
                    self._visit(part)
            if isinstance(field[1], list) and field[1] and isinstance(field[1][0], ast.stmt):
                self._block(field[1])

    def _is_own(self, node: ast.AST) -> bool:
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        return bool(names & self._own or _OWN.search(ast.unparse(node)))

    def _writes(self, call: ast.Call) -> bool:
        place = self._place(call)
        return place is not None and not self._is_own(place)

    def _place(self, call: ast.Call) -> ast.AST | None:
        """The expression that says which file a call writes; None if it writes none."""
        name = self._full_name(call.func)
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name in _WITH_MODE:
            return _argument(call, 0, {"file", "name", "filename"}) if _opens_to_write(call, 1) else None
        if name in _WRITERS:
            return _argument(call, _WRITERS[name], _PLACES)
        if method == "open" and self._is_value(call.func):
            return call.func if _opens_to_write(call, 0) else None
        if method in _METHODS and self._is_value(call.func):
            return call.func if _METHODS[method] < 0 else _argument(call, _METHODS[method], _PLACES)
        return None

    def _is_value(self, function: ast.expr) -> bool:
        """Whether a method is one of an object, not a function of some module that is known."""
        return isinstance(function, ast.Attribute) and not (
            isinstance(function.value, ast.Name) and self._full_name(function.value) in self._aliases.values()
        )

    def _full_name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            stem = self._full_name(node.value)
            return f"{stem}.{node.attr}" if stem else ""
        if not isinstance(node, ast.Name):
            return ""
        if node.id in self._aliases:
            return self._aliases[node.id]
        value = self._namespace.get(node.id, getattr(builtins, node.id, None))
        if isinstance(value, types.ModuleType):
            return value.__name__
        if value is open:
            return "open"
        module, own = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        return f"{module}.{own}" if isinstance(module, str) and isinstance(own, str) and callable(value) else ""


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in _imports(tree):
        for alias in getattr(node, "names", ()):
            if isinstance(node, ast.ImportFrom):
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"
            else:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    alias.name if alias.asname else alias.name.partition(".")[0],
                )


def _own_names(tree: ast.AST) -> set[str]:
    """Names of places that are the rank's own, or of files that are open already: what is made of the rank's number, say."""
    own: set[str] = set()
    while True:
        found = {name for target, value in _bindings(tree) if _gives_own(value, own) for name in _names_in(target)}
        if found <= own:
            return own
        own |= found


def _bindings(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield node.target, node.value
        elif isinstance(node, ast.With | ast.AsyncWith):
            yield from ((item.optional_vars, item.context_expr) for item in node.items if item.optional_vars is not None)


def _gives_own(value: ast.AST, own: set[str]) -> bool:
    opened = isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "open"
    return opened or bool(_OWN.search(ast.unparse(value)) or own & _names_in(value))


def _names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _argument(call: ast.Call, place: int, names: Set[str]) -> ast.AST | None:
    if len(call.args) > place:
        return call.args[place]
    return next((keyword.value for keyword in call.keywords if str(keyword.arg) in names), None)


def _opens_to_write(call: ast.Call, place: int) -> bool:
    mode = _argument(call, place, {"mode"})
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and bool(_MODE.fullmatch(mode.value))
