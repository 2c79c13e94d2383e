"""Whether two cells are the same program, and where they differ first."""

from __future__ import annotations

import ast
import difflib
import io
import tokenize

_NO_CODE = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER})


def first_difference(before: str, now: str) -> str:
    """Say where the program of a cell differs from another first; empty if only comments and blanks do."""
    if before == now or _tree(before) == _tree(now):
        return ""
    old, new = _lines(before), _lines(now)
    matcher = difflib.SequenceMatcher(None, [text for _, text in old], [text for _, text in new], autojunk=False)
    for kind, i, _, j, _ in matcher.get_opcodes():
        if kind == "delete":
            return f"line {old[i][0]} of the cell, {old[i][1].strip()!r}, is gone"
        if kind == "insert":
            return f"line {new[j][0]} of the cell, {new[j][1].strip()!r}, is new"
        if kind == "replace":
            return f"line {new[j][0]} of the cell was {old[i][1].strip()!r} and is {new[j][1].strip()!r}"
    return "the cell's lines are grouped in another way"


def _tree(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return source


def _lines(source: str) -> list[tuple[int, str]]:
    """Return the lines with code, without comments, and their numbers."""
    lines = source.splitlines()
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return [(number, text.rstrip()) for number, text in enumerate(lines, start=1) if text.strip()]
    coded = {row for token in tokens if token.type not in _NO_CODE for row in range(token.start[0], token.end[0] + 1)}
    for token in tokens:
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return [(number, text.rstrip()) for number, text in enumerate(lines, start=1) if number in coded]
