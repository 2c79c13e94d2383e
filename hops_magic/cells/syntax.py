"""IPython's own syntax in a cell: turned into Python that runs on a rank, or refused with a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from hops_magic.errors import UsageError

RUNNABLE_MAGICS = frozenset({"time", "timeit", "matplotlib"})
SHELL_CALLS = frozenset({"system", "getoutput"})
SHELL_NAME = "get_ipython"

_TIMED = frozenset({"time", "timeit"})
_SHOWN_AS = {"pinfo": "?", "pinfo2": "??", "psearch": "?"}
_TIMING_OPTIONS = re.compile(r"^(\s*-[nr]\s*\d+(?=\s))*\s*")
_TIMING_OPTION = re.compile(r"-([nr])\s*(\d+)")
_OPTION = re.compile(r"--?[a-zA-Z]")
_SIGNS = re.compile(r"(^|[=;:])\s*[!%]|\?", re.MULTILINE)
_SHELL_NAMES = re.compile(r"(?<!\$)\$(\w+)|\{(\w+)")


def to_python(source: str, *, first_line: int) -> str:
    """Transform IPython syntax (``!ls``, ``%time``) into Python.

    Raises
    ------
    UsageError
        For a magic that makes no sense on a rank, naming its line as Jupyter numbers it.
    """
    if source.lstrip().startswith("%%"):
        name = source.split(maxsplit=1)[0]
        line = first_line + source[: source.index("%%")].count("\n")
        raise UsageError(f"line {line}: {name} cannot stand inside another cell magic: put it into a cell of its own")
    python = transformed(source)
    if python != source:
        _refuse_foreign_magics(python, first_line)
    return python


def transformed(source: str) -> str:
    """Transform IPython syntax into calls of IPython's shell, whatever they are."""
    if not _SIGNS.search(source) or _is_python(source):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    manager = TransformerManager()
    # the body of a cell magic has no prompt and no cell magic of its own to strip; its first lines must keep their numbers
    manager.cleanup_transforms = []
    return str(manager.transform_cell(source))


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def shell_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, list[str]]]:
    """Yield each call of IPython's shell: the node, the method and its constant arguments."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == SHELL_NAME:
            yield node, node.func.attr, [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]


def code_inside(tree: ast.AST) -> Iterator[str]:
    """Yield the code that magics of a cell run: ``%time x = f()``."""
    for _, method, arguments in shell_calls(tree):
        if method == "run_line_magic" and arguments[0] in _TIMED:
            yield timed_code(arguments[0], arguments[1])


def names_in_shell_commands(tree: ast.AST) -> set[str]:
    """Return the variables that ``!ls $folder`` and ``!ls {folder}`` may mean."""
    commands = [arguments[0] for _, method, arguments in shell_calls(tree) if method in SHELL_CALLS and arguments]
    return {name for command in commands for pair in _SHELL_NAMES.findall(command) for name in pair if name}


def timed_code(magic: str, line: str) -> str:
    """``timeit``, ``-n 3 -r 2 f(x)`` -> ``f(x)``; ``%time`` has no options: ``-x`` is code."""
    return (_TIMING_OPTIONS.sub("", line, count=1) if magic == "timeit" else line).strip()


def timing_options(line: str) -> dict[str, int]:
    """``-n 3 -r 2 f(x)`` -> ``{"n": 3, "r": 2}``."""
    found = _TIMING_OPTIONS.match(line)
    return {name: int(number) for name, number in _TIMING_OPTION.findall(found.group() if found else "")}


def _refuse_foreign_magics(source: str, first_line: int) -> None:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return  # reported with its place when the cell is analysed
    for node, method, arguments in shell_calls(tree):
        line = node.lineno + first_line - 1
        if arguments[:1] == ["timeit"] and _OPTION.match(timed_code(*arguments)):
            raise UsageError(f"line {line}: %timeit takes only the options -n and -r on a rank: leave the others out")
        if method in SHELL_CALLS or (method == "run_line_magic" and arguments and arguments[0] in RUNNABLE_MAGICS):
            continue
        magic = arguments[0] if arguments else method
        shown = _SHOWN_AS.get(magic, f"%{magic}")
        raise UsageError(f"line {line}: {shown} works on the notebook, not on a rank: put it into a cell of its own")
