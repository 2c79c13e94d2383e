"""What a cell reads and binds, found without running it."""

from __future__ import annotations

import ast
import dis
import inspect
import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType

from hops_magic.cells.syntax import SHELL_NAME, code_inside, names_in_shell_commands, to_python, transformed
from hops_magic.errors import UsageError

_LOADS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
_STORES = frozenset({"STORE_NAME", "STORE_GLOBAL"})
_DELETES = frozenset({"DELETE_NAME", "DELETE_GLOBAL"})
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
_GIVEN = frozenset({SHELL_NAME, "__annotations__"})
_SILENT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER})

FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
"""How cells are compiled: they may await at their top level, as in a notebook."""


@dataclass(frozen=True, kw_only=True)
class CellAnalysis:
    """A cell's names.

    Attributes
    ----------
    source : str
        The cell as Python, IPython syntax transformed; line ``first_line`` of the notebook's cell is its line 1.
    reads : frozenset of str
        Names that are read or deleted on some way through the cell before it binds them, in functions too; builtins are
        among them.
    must_read : frozenset of str
        Those of ``reads`` that must come from outside: the cell binds them nowhere, or only after it has read them.
    may_read : frozenset of str
        Names that a shell command such as ``!ls $folder`` takes from the notebook if they exist there.
    binds : tuple of str
        Names that the cell binds at its top level, in order.
    imports : frozenset of str
        Modules that it imports, by full name.
    has_star_import : bool
        Whether it may bind further names, by ``from module import *``.
    has_value : bool
        Whether its last statement is an expression to be shown.
    """

    source: str
    reads: frozenset[str]
    must_read: frozenset[str]
    may_read: frozenset[str]
    binds: tuple[str, ...]
    imports: frozenset[str]
    has_star_import: bool
    has_value: bool


def analyse(source: str, *, first_line: int = 1) -> CellAnalysis:
    """Analyse a cell's source.

    Raises
    ------
    UsageError
        For a syntax error or a magic that cannot run on a rank, naming the line as Jupyter numbers it.
    """
    python = to_python(source, first_line=first_line)
    tree = parse(python, first_line=first_line)
    flow = _Flow()
    flow.block(tree.body, set())
    for code in code_inside(tree):
        flow.block(parse(code, first_line=first_line).body, set())
    binds = tuple(dict.fromkeys(flow.stored))
    last_is_expression = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
    return CellAnalysis(
        source=python,
        reads=frozenset((flow.free | flow.deleted) - _GIVEN),
        must_read=frozenset((flow.free - set(binds) | flow.read_first) - _GIVEN),
        may_read=frozenset(names_in_shell_commands(tree)),
        binds=binds,
        imports=frozenset(imported_modules(tree)),
        has_star_import=any(isinstance(node, ast.alias) and node.name == "*" for node in ast.walk(tree)),
        has_value=last_is_expression and not _is_silenced(python),
    )


def binds(source: str) -> set[str]:
    """Return the names that a cell of the notebook binds, whatever magics it has; none if it is no Python."""
    return reads_and_binds(source)[1]


def reads_and_binds(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell of the notebook reads and binds, whatever magics it has; none if it is no Python."""
    if source.lstrip().startswith("%%"):
        source = source.lstrip().partition("\n")[2]
    try:
        tree = parse(transformed(source), first_line=1)
    except UsageError:
        return set(), set()
    flow = _Flow()
    flow.block(tree.body, set())
    return set(flow.free), set(flow.stored)


def _is_silenced(source: str) -> bool:
    """Whether the last statement ends with ``;``, whatever comment follows."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in _SILENT]
    return bool(tokens) and tokens[-1].string == ";"


def parse(source: str, *, first_line: int) -> ast.Module:
    """Parse a cell; a syntax error becomes one sentence with the line as Jupyter numbers it."""
    try:
        tree = ast.parse(source)
        # this file's own __future__ imports are none of the cell's
        compile(tree, "<cell>", "exec", FLAGS, dont_inherit=True)
    except SyntaxError as error:
        line = (error.lineno or 1) + first_line - 1
        text = (error.text or "").strip()
        shown = f": {text}" if text else ""
        raise UsageError(f"line {line}: {error.msg}{shown}") from None
    except ValueError as error:  # null bytes
        raise UsageError(f"the cell cannot be parsed: {error}") from None
    return tree


def global_reads(code: CodeType) -> set[str]:
    """Names that a function's code, and the code nested in it, reads from its globals."""
    return _own_reads(code).union(*(global_reads(inner) for inner in _nested(code)))


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _own_reads(code: CodeType) -> set[str]:
    found: set[str] = set()
    stored: set[str] = set()  # in the body of a class
    for step in dis.get_instructions(code):
        if step.opname == "STORE_NAME":
            stored.add(step.argval)
        elif step.opname in _LOADS and step.argval not in stored:
            found.add(step.argval)
    return found | (_deleted_globals(code) - _stored_globals(code))


def global_stores(code: CodeType) -> set[str]:
    """Names that a function's code, and the code nested in it, binds in its globals."""
    return _stored_globals(code).union(*map(global_stores, _nested(code)))


def _stored_globals(code: CodeType) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == "STORE_GLOBAL"}


def _deleted_globals(code: CodeType) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == "DELETE_GLOBAL"}


def code_imports(code: CodeType) -> set[str]:
    """Modules that a function's code, and the code nested in it, imports when it runs."""
    found = {str(step.argval) for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME" and step.argval}
    return found.union(*map(code_imports, _nested(code)))


def imported_modules(tree: ast.AST) -> Iterable[str]:
    """Yield the absolute names of modules that some code imports, and of what it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Flow:
    """Follows the cell's statements in order, knowing which names are bound for certain."""

    def __init__(self) -> None:
        self.free: set[str] = set()
        self.read_first: set[str] = set()
        self.deleted: set[str] = set()
        self.stored: list[str] = []
        self._depth = 0

    def block(self, statements: Iterable[ast.stmt], bound: set[str]) -> set[str]:
        """Follow statements; returns the names that are bound for certain after them."""
        bound = set(bound)
        self._depth += 1
        for statement in statements:
            bound = self._statement(statement, bound)
        self._depth -= 1
        return bound

    def _statement(self, node: ast.stmt, bound: set[str]) -> set[str]:
        if isinstance(node, ast.If):
            self._expression(node.test, bound)
            return self.block(node.body, bound) & self.block(node.orelse, bound)
        if isinstance(node, ast.While):
            self._expression(node.test, bound)
            self.block(node.orelse, bound)
            self.block(node.body, bound)
            return bound
        if isinstance(node, ast.For | ast.AsyncFor):
            self._expression(node.iter, bound)
            self.block(node.body, bound | self._targets([node.target], bound))
            self.block(node.orelse, bound)
            return bound
        if isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                self._expression(item.context_expr, bound)
                if item.optional_vars is not None:
                    bound = bound | self._targets([item.optional_vars], bound)
            return self.block(node.body, bound)
        if isinstance(node, ast.Try | ast.TryStar):
            return self._try(node, bound)
        if isinstance(node, ast.Match):
            return self._match(node, bound)
        if isinstance(node, ast.Break | ast.Continue):
            return bound
        return self._code(ast.Module([node], []), bound)

    def _try(self, node: ast.Try | ast.TryStar, bound: set[str]) -> set[str]:
        done = self.block(node.orelse, self.block(node.body, bound))
        for handler in node.handlers:
            if handler.type is not None:
                self._expression(handler.type, bound)
            self.block(handler.body, bound | ({handler.name} if handler.name else set()))
        final = self.block(node.finalbody, bound)
        return (final | done) if not node.handlers else final

    def _match(self, node: ast.Match, bound: set[str]) -> set[str]:
        self._expression(node.subject, bound)
        for case in node.cases:
            names = {
                name
                for part in ast.walk(case.pattern)
                for name in (getattr(part, "name", None), getattr(part, "rest", None))
                if isinstance(name, str)
            }
            self.stored.extend(sorted(names))
            for part in ast.walk(case.pattern):
                if isinstance(part, ast.expr):
                    self._expression(part, bound)
            if case.guard is not None:
                self._expression(case.guard, bound | names)
            self.block(case.body, bound | names)
        return bound

    def _targets(self, targets: list[ast.expr], bound: set[str]) -> set[str]:
        assignment = ast.Assign(targets=targets, value=ast.Constant(None))
        return self._code(ast.Module([ast.fix_missing_locations(ast.copy_location(assignment, targets[0]))], []), bound)

    def _expression(self, node: ast.expr, bound: set[str]) -> None:
        bound |= self._code(ast.Module([ast.copy_location(ast.Expr(node), node)], []), bound)

    def _code(self, module: ast.Module, bound: set[str]) -> set[str]:
        code = compile(module, "<cell>", "exec", FLAGS, dont_inherit=True)
        bound = set(bound)
        later: set[str] = set()
        for step in dis.get_instructions(code):
            if isinstance(step.argval, CodeType):
                later |= self._inner(step.argval, bound)
            elif step.opname in _LOADS and step.argval not in bound:
                self.free.add(step.argval)
                if self._depth == 1 and step.argval not in self.stored:
                    self.read_first.add(step.argval)
            elif step.opname in _STORES:
                bound.add(step.argval)
                self.stored.append(step.argval)
            elif step.opname in _DELETES:
                if step.argval not in bound:
                    self.deleted.add(step.argval)
                bound.discard(step.argval)
        # a function's body runs later: what is bound by then, its own name too, it will find
        self.free |= later - bound
        for inner in _nested(code):
            self.stored.extend(sorted(global_stores(inner)))
        return bound

    def _inner(self, code: CodeType, bound: set[str]) -> set[str]:
        """Note what a comprehension or the body of a class reads at once; returns what nested functions read later."""
        is_class_body = not code.co_flags & inspect.CO_OPTIMIZED
        if code.co_name not in _COMPREHENSIONS and not is_class_body:
            return global_reads(code)
        self.free |= _own_reads(code) - bound
        later: set[str] = set()
        for inner in _nested(code):
            later |= self._inner(inner, bound)
        return later
