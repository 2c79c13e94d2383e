"""Errors as a caller from Python reads them: with keywords of its calls, where a line of ``%features`` has flags."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.python_arguments import check_arguments

P = ParamSpec("P")
R = TypeVar("R")

# keywords that are not their flags' own names
_KEYWORDS = {"as": "form", "format": "file_format", "foreign-key": "foreign_keys"}
_LINES = (
    (re.compile(r"%features search TEXT"), 'hops.features.search("TEXT")'),
    (re.compile(r"%features get NAME \.\.\."), 'hops.features.get("NAME", ...)'),
    (re.compile(r"%features save VARIABLE --mode version"), 'hops.features.save(VARIABLE, NAME, mode="version")'),
    (re.compile(r"%features edit (\S+) --foreign-key (\S+)"), r'hops.features.edit("\1", foreign_keys=["\2"])'),
)
_WITH_VALUE = re.compile(r"--(mode|on-fail|key) (append|upsert|version|quarantine|COLUMN)\b(?: or (upsert)\b)?")
_SWITCHED = re.compile(r"say --(evolve|allow-future|allow-fanout)\b")
_FLAGS = (
    *(
        "key",
        "event-time",
        "partition-by",
        "foreign-key",
        "mode",
        "on-fail",
        "allow-future",
        "evolve",
        "limit",
        "as-of",
        "as",
    ),
    *("format", "split-by-time", "split", "time-column", "label", "keys", "spine", "with-keys", "max-age", "exclude-late"),
    *("where", "allow-fanout", "on"),
)
# what users named may look like a flag of another program
_FLAG = re.compile(rf"(?<![\w-])--({'|'.join(sorted(_FLAGS, key=len, reverse=True))})(?![\w-])")


_is_for_a_line: ContextVar[bool] = ContextVar("is_for_a_line", default=False)


@contextlib.contextmanager
def for_a_line() -> Iterator[None]:
    """Leave the flags in errors of the block: a line of a magic is told what it may say."""
    token = _is_for_a_line.set(True)
    try:
        yield
    finally:
        _is_for_a_line.reset(token)


def in_python(text: str) -> str:
    """Return a sentence with keywords of Python calls in place of flags."""
    for line, call in _LINES:
        text = line.sub(call, text)
    text = _WITH_VALUE.sub(_valued, text)
    text = _SWITCHED.sub(lambda found: f"say {_keyword(found[1])}=True", text)
    return _FLAG.sub(lambda found: _keyword(found[1]), text)


def told_in_python(verb: Callable[P, R]) -> Callable[P, R]:
    """Make a verb of the store check its arguments and tell its errors so, but for a line of a magic."""

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _is_for_a_line.get():
            return verb(*args, **kwargs)
        check_arguments(verb, args, kwargs)
        try:
            return verb(*args, **kwargs)
        except UnknownNameError as error:
            error.where, error.finder = in_python(error.where), in_python(error.finder)
            raise
        except FeatureError as error:
            if len(error.args) == 1 and isinstance(error.args[0], str):
                error.args = (in_python(error.args[0]),)
            raise

    return call


def _valued(found: re.Match[str]) -> str:
    other = f" or {found[3]!r}" if found[3] else ""
    return f"{_keyword(found[1])}={found[2]!r}{other}"


def _keyword(flag: str) -> str:
    return _KEYWORDS.get(flag, flag.replace("-", "_"))
