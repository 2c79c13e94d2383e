"""A space on the line of a magic, ``lr=loguniform(1e-5, 1e-1) units=choice([32, 64])``: read, never evaluated."""

from __future__ import annotations

import ast
import inspect
import shlex
from difflib import get_close_matches
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.tuning.space import DISTRIBUTIONS

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def split_line(line: str) -> list[str]:
    """Split a magic's line at the blanks outside of brackets and quotes.

    Quotes outside of brackets group words, as in a shell; inside brackets they stay, for what is there is Python.

    Raises
    ------
    UsageError
        For a bracket or a quote that is not closed.
    """
    words: list[str] = []
    word, open_brackets, quote = "", [], ""
    for character in line.strip():
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _CLOSING:
            open_brackets.append(_CLOSING[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character.isspace() and not open_brackets:
            words.append(word)
            word = ""
            continue
        word += character
    if quote or open_brackets:
        raise UsageError(f"%%tune: {quote or open_brackets[-1]} is missing in {line.strip()!r}")
    return [_unquoted(word) for word in [*words, word] if word]


def _unquoted(word: str) -> str:
    if word[0] in "'\"" and word.find(word[0], 1) == len(word) - 1:
        return word[1:-1]
    if any(bracket in word for bracket in _CLOSING) or "=" in word:
        return word
    return "".join(shlex.split(word))


def parse_assignment(word: str) -> tuple[str, Any]:
    """Read ``name=distribution(...)`` or ``name=constant``.

    Raises
    ------
    UsageError
        For what is no literal, and for a distribution that does not exist, with the nearest that does.
    """
    name, _, text = word.partition("=")
    if not name.isidentifier():
        raise UsageError(f"%%tune: {name} in {word} is no name of a variable")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise UsageError(f"%%tune: {word} cannot be read: {error.msg}") from None
    return name, _value(tree.body, word)


def _value(node: ast.expr, word: str) -> Any:
    if isinstance(node, ast.Call):
        return _distribution(node, word)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [_value(item, word) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise _no_literal(word)
        return {_value(key, word): _value(item, word) for key, item in zip(node.keys, node.values, strict=True) if key}
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _no_literal(word) from None


def _distribution(node: ast.Call, word: str) -> Any:
    called = ast.unparse(node.func)
    name = called.rpartition(".")[2] if called.startswith("hops.") else called
    if name not in DISTRIBUTIONS:
        close = get_close_matches(name, DISTRIBUTIONS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(DISTRIBUTIONS)}"
        raise UsageError(f"%%tune: there is no distribution {called} in {word}: {hint}")
    made = DISTRIBUTIONS[name]
    arguments = [_value(argument, word) for argument in node.args]
    named = {keyword.arg: _value(keyword.value, word) for keyword in node.keywords if keyword.arg}
    if name in ("choice", "grid") and len(arguments) > 1:
        arguments = [arguments]  # choice(1, 2, 3) can mean nothing else
    try:
        inspect.signature(made).bind(*arguments, **named)
    except TypeError as error:
        names = ", ".join(inspect.signature(made).parameters)
        raise UsageError(f"%%tune: {word}: {error}; write {name}({names})") from None
    return made(*arguments, **named)


def _no_literal(word: str) -> UsageError:
    return UsageError(
        f"%%tune: {word} is no literal: on the line only numbers, strings, lists and distributions are read; "
        "put the space in a dictionary in a cell before, and write %%tune space"
    )
