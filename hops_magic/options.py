"""One declaration of an option serves every door: magic flags and their help, Python keywords, REST and forms.

An options class is a frozen, keyword-only dataclass whose fields are made with :func:`option`. :func:`parser_for` turns it
into an ``argparse`` parser, :func:`check` validates the values, whoever made them.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import math
import shlex
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NoReturn, TypeVar

from hops_magic.errors import OptionError, UsageError

Options = TypeVar("Options")

_KEY = "hops_option"


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """What is known of one option besides its name, type and default."""

    help: str
    flags: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    metavar: str | None = None
    hidden: bool = False


def option(
    default: Any = MISSING,
    help: str = "",
    *,
    flags: Sequence[str] = (),
    choices: Sequence[str] = (),
    at_least: float | None = None,
    metavar: str | None = None,
    hidden: bool = False,
) -> Any:
    """Declare an option of an options dataclass.

    Parameters
    ----------
    default
        Value when nothing is said.
    help
        One line for ``-h``, the documentation and forms.
    flags
        Further spellings, e.g. ``("-n",)``; ``--field-name`` is always there.
    choices
        The allowed values of a string.
    at_least
        Smallest allowed number.
    metavar
        Placeholder in the help text.
    hidden
        Set only from Python, no flag.
    """
    spec = OptionSpec(
        help=help, flags=tuple(flags), choices=tuple(choices), at_least=at_least, metavar=metavar, hidden=hidden
    )
    return field(default=default, metadata={_KEY: spec})


def spec_of(item: dataclasses.Field[Any]) -> OptionSpec:
    """Return what :func:`option` recorded for a dataclass field."""
    spec = item.metadata.get(_KEY)
    return spec if isinstance(spec, OptionSpec) else OptionSpec(help="", hidden=True)


def flag_name(name: str) -> str:
    """``gpus_per_rank`` -> ``--gpus-per-rank``."""
    return "--" + name.replace("_", "-")


def check(options: Any) -> None:
    """Validate every field of an options dataclass against its declaration; call from ``__post_init__``.

    Raises
    ------
    OptionError
        Naming the field, the rule and the value.
    """
    hints = typing.get_type_hints(type(options))
    for item in fields(options):
        spec, value = spec_of(item), getattr(options, item.name)
        base, optional = _base_type(hints[item.name])
        if value is None and optional:
            continue
        if base in (int, float, str, bool):
            # bool is an int in Python, never meant as a count
            accepted = (int, float) if base is float else base
            if not isinstance(value, accepted) or (isinstance(value, bool) and base is not bool):
                raise OptionError(item.name, f"must be {_article(base)}", value)
            if base is float and not math.isfinite(value):
                raise OptionError(item.name, "must be a finite number", value)
        if spec.choices and value not in spec.choices:
            raise OptionError(item.name, f"must be one of {', '.join(spec.choices)}", value)
        if spec.at_least is not None and value < spec.at_least:
            raise OptionError(item.name, f"must be at least {spec.at_least:g}", value)


def _article(base: type) -> str:
    return {int: "a whole number", float: "a number", str: "a string", bool: "True or False"}[base]


def _base_type(hint: Any) -> tuple[Any, bool]:
    """``int | None`` -> ``(int, True)``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        return rest[0], len(rest) < len(typing.get_args(hint))
    return hint, False


def options_from(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Make options of the keywords of a call; one text stands for several names as it does on a line: ``out="a,b"``.

    Raises
    ------
    OptionError
        For a keyword that is no option, or a value that breaks its rule.
    """
    make: Callable[..., Options] = kind
    known = list(inspect.signature(kind).parameters)
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"the options are {', '.join(known)}"
            raise OptionError(name, "is no option of this call", value, remedy)
    hints = typing.get_type_hints(kind)
    several = {
        name: _names(value)
        for name, value in given.items()
        if isinstance(value, str) and typing.get_origin(_base_type(hints[name])[0]) is tuple
    }
    return make(**{**given, **several})


class _Once(argparse.Action):
    """Stores a value, and refuses another one for the same option: which of them counts would be a guess."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if hasattr(namespace, self.dest) and getattr(namespace, self.dest) != values:
            given = f"{getattr(namespace, self.dest)} and {values}"
            raise UsageError(f"{parser.prog}: {option_string} is given twice, as {given}: leave one of them out")
        setattr(namespace, self.dest, values)


class _Merged(argparse.Action):
    """Joins the pairs of an option that may be given several times, and refuses two values for one key."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        pairs = dict(getattr(namespace, self.dest, {}))
        for key, value in values:
            if pairs.get(key, value) != value:
                given = f"{pairs[key]} and {value}"
                raise UsageError(f"{parser.prog}: {option_string} gives {key} twice, as {given}: leave one of them out")
            pairs[key] = value
        setattr(namespace, self.dest, pairs)


class MagicParser(argparse.ArgumentParser):
    """An ``argparse`` parser that raises :class:`UsageError` instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        close = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
        hint = f"did you mean {close[0]}?" if close else f"{self.prog} -h lists the options"
        raise UsageError(f"{self.prog}: {message}; {hint}")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:  # noqa: ARG002 (-h has printed already)
        raise HelpShown


class HelpShown(UsageError):
    """The user asked for help, which has been shown: end quietly."""


def parser_for(options_type: type, prog: str, description: str = "") -> MagicParser:
    """Build the parser of a magic from its options dataclass.

    Abbreviated flags are not accepted: an option added later must not change what an old notebook means.
    """
    parser = MagicParser(prog=prog, description=description, allow_abbrev=False)
    add_options(parser, options_type)
    return parser


def add_options(parser: argparse.ArgumentParser, options_type: type) -> None:
    """Add a flag for each option that has one."""
    hints = typing.get_type_hints(options_type)
    for item in fields(options_type):
        spec = spec_of(item)
        if spec.hidden:
            continue
        base, _ = _base_type(hints[item.name])
        names = [*spec.flags, flag_name(item.name)]
        shown = "" if item.default in (None, MISSING, (), False, "") else f" (default: {item.default})"
        keywords: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS, "help": spec.help + shown}
        if base is bool:
            parser.add_argument(*names, action="store_true", **keywords)
        elif typing.get_origin(base) is tuple:
            parser.add_argument(*names, type=_names, action=_Once, metavar=spec.metavar or "A,B", **keywords)
        elif typing.get_origin(base) is Mapping:
            parser.add_argument(*names, type=_pairs, action=_Merged, metavar=spec.metavar or "A=B,...", **keywords)
        else:
            keywords["metavar"] = spec.metavar or item.name.upper()
            parser.add_argument(*names, type=base, action=_Once, choices=spec.choices or None, **keywords)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs of ``a=text,b=decimal(10,2)``: commas in brackets do not separate, nor those inside a key."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0 and "=" in parts[-1]:
            parts.append("")
        else:
            parts[-1] += letter
    if any("=" not in part for part in parts):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not written NAME=VALUE,...")
    pairs = (part.rpartition("=") for part in parts)
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def as_dict(options: Any) -> dict[str, Any]:
    """Options as plain values for records, REST and the wire."""
    return {f.name: getattr(options, f.name) for f in fields(options)}


def as_words(options_type: type, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a magic's line that ask for some values; what is as by default is left out."""
    words = []
    for item in fields(options_type):
        spec, value = spec_of(item), values.get(item.name, item.default)
        default = () if item.default is MISSING else item.default
        if spec.hidden or value is None or value == default or value is False:
            continue
        flag = spec.flags[0] if spec.flags else flag_name(item.name)
        if value is True:
            words.append(flag)
        elif isinstance(value, Mapping):
            words += [flag, shlex.quote(",".join(f"{key}={text}" for key, text in value.items()))]
        else:
            text = shlex.quote(",".join(value) if isinstance(value, list | tuple) else str(value))
            # a word that begins with a dash would be taken for a flag
            words += [f"{flag}={text}"] if text.startswith(("-", "'-")) else [flag, text]
    return words
