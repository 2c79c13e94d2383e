"""IPython's own syntax in a cell: turned into Python that runs on a rank, or refused with a sentence."""

from __future__ import annotations

import ast

from hops_magic.errors import UsageError

RUNNABLE_MAGICS = frozenset({"time", "timeit", "matplotlib"})
RUNNABLE_CALLS = frozenset({"system", "getoutput"})
SHELL_NAME = "get_ipython"


def to_python(source: str, *, first_line: int) -> str:
    """Transform IPython syntax (``!ls``, ``%time``) into Python.

    Raises
    ------
    UsageError
        For a magic that makes no sense on a rank, naming its line as Jupyter numbers it.
    """
    if source.lstrip().startswith("%%"):
        name = source.split(maxsplit=1)[0]
        raise UsageError(f"line {first_line}: {name} cannot stand inside another cell magic: put it into a cell of its own")
    if not any(sign in source for sign in "!%?"):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    transformed = TransformerManager().transform_cell(source)
    if SHELL_NAME in transformed and transformed != source:
        _refuse_foreign_magics(transformed, first_line)
    return str(transformed)


def _refuse_foreign_magics(source: str, first_line: int) -> None:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return  # reported with its place when the cell is analysed
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if not (isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == SHELL_NAME):
            continue
        magic = str(node.args[0].value) if node.args and isinstance(node.args[0], ast.Constant) else ""
        if node.func.attr in RUNNABLE_CALLS or (node.func.attr == "run_line_magic" and magic in RUNNABLE_MAGICS):
            continue
        line = node.lineno + first_line - 1
        raise UsageError(f"line {line}: %{magic} works on the notebook, not on a rank: put it into a cell of its own")
