"""Magics of several commands: a line of words, of which the first may choose the command."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from hops_magic.errors import OptionError, UsageError
from hops_magic.options import HelpShown, MagicParser, flag_name, parser_for, spec_of

Options = TypeVar("Options")
Command = Callable[[list[str]], Any]


class Sentence(str):
    """A text that notebooks show as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def run_line(prog: str, line: str, commands: Mapping[str, Command], default: Command) -> Any:
    """Run the command that a line names, or the default with all its words; None if the line asked for help.

    Raises
    ------
    UsageError
        For words that are no command and no option.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{prog}: {error} in {line[:200]!r}") from None
    return run_words(prog, words, commands, default)


def run_words(prog: str, words: list[str], commands: Mapping[str, Command], default: Command) -> Any:
    """Run the command that the first word names, or the default with all words; None if they asked for help.

    Raises
    ------
    UsageError
        For words that are no command and no option.
    """
    try:
        if not words or words[0].startswith("-"):
            return default(words)
        if words[0] not in commands:
            close = get_close_matches(words[0], commands, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(commands)}"
            raise UsageError(f"{prog} has no command {words[0][:80]}: {hint}")
        return commands[words[0]](words[1:])
    except HelpShown:
        return None


def parse_options(kind: type[Options], prog: str, line: str, about: str = "") -> Options:
    """Parse a magic's line into its options.

    Raises
    ------
    UsageError
        For an unknown option or an impossible value.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{prog}: {error} in {line!r}") from None
    make: Callable[..., Options] = kind
    return make(**vars(parser_for(kind, prog, about).parse_args(words)))


@contextlib.contextmanager
def naming_flags(kind: type) -> Iterator[None]:
    """Let errors name options as a magic's line has them: ``--gpus-per-rank``, where a call has ``gpus_per_rank``."""
    try:
        yield
    except OptionError as error:
        if error.field not in {item.name for item in fields(kind) if not spec_of(item).hidden}:
            raise
        raise type(error)(flag_name(error.field), error.rule, error.value, error.remedy) from error.__cause__


def say_detached(run_id: str, name: str) -> None:
    """Say how to find a detached run again."""
    sys.stdout.write(f"run {name} goes on without this cell: %attach {run_id} follows it\n")


def parser(prog: str, description: str, epilog: str = "") -> MagicParser:
    """Return a parser for one command."""
    return MagicParser(
        prog=prog,
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
