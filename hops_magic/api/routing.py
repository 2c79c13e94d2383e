"""The table of endpoints: which function answers which address, and what it may be asked."""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hops_magic.api.problems import refused

if TYPE_CHECKING:
    from hops_magic.api.context import Context
    from hops_magic.api.rights import Rights

Handler = TypeVar("Handler", bound=Callable[..., Any])

PREFIX = "/hops/api/v1"
MOST_ON_A_PAGE = 1_000
MOST_BODY_BYTES = 1_000_000
FIELDS = "fields"
_MOST_SHOWN = 80

Limit = Annotated[int, Field(ge=1, le=MOST_ON_A_PAGE, description="Most items on the page.")]
Offset = Annotated[int, Field(ge=0, le=2**31 - 1, description="Items before the page.")]
Name = Annotated[str, Field(min_length=1, max_length=500)]


class Payload(BaseModel):
    """What goes over the wire; numbers that JSON does not know are null."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")


class Wanted(BaseModel):
    """What a body asks for; what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """Of the address or of its query."""

    name: str
    annotation: Any
    is_in_path: bool
    default: Any = inspect.Parameter.empty

    @property
    def is_required(self) -> bool:
        """Whether a request without it is refused."""
        return self.default is inspect.Parameter.empty

    @property
    def is_list(self) -> bool:
        """Whether it may be given several times."""
        bare = typing.get_args(self.annotation)[0] if typing.get_origin(self.annotation) is Annotated else self.annotation
        return typing.get_origin(bare) in (list, tuple)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """What reads it, and knows its JSON schema."""
        return TypeAdapter(self.annotation)

    @property
    def description(self) -> str:
        """As its type says."""
        notes = typing.get_args(self.annotation)[1:] if typing.get_origin(self.annotation) is Annotated else ()
        return next((note.description for note in notes if isinstance(note, FieldInfo) and note.description), "")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one address.

    Attributes
    ----------
    path : str
        Below :data:`PREFIX`, e.g. ``/groups/{group}/commits``.
    call : callable
        Takes the context, the parameters and, if there is one, the ``body``.
    is_slow : bool
        Whether it reads rows or walks far, so that it must not keep other requests from their threads.
    """

    method: str
    path: str
    tag: str
    call: Callable[..., Any]
    status: int = 200
    is_slow: bool = False
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    answer: Any = None

    @property
    def is_read_only(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "GET"

    @property
    def summary(self) -> str:
        """First line of its documentation."""
        return (inspect.getdoc(self.call) or "").partition("\n")[0]

    @property
    def has_fields(self) -> bool:
        """Whether a part of the answer can be asked for."""
        return self.is_read_only and self.answer is not None

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches its addresses, which are still quoted."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """What makes its answer's JSON."""
        return TypeAdapter(self.answer)


@dataclass
class Table:
    """Endpoints in the order of their definition."""

    endpoints: list[Endpoint] = field(default_factory=list)

    def route(
        self, method: str, path: str, *, tag: str, status: int = 200, is_slow: bool = False
    ) -> Callable[[Handler], Handler]:
        """Add the decorated function, which says by its annotations what it takes and returns."""

        def add(call: Handler) -> Handler:
            hints = typing.get_type_hints(call, include_extras=True)
            in_path = set(re.findall(r"\{(\w+)\}", path))
            signature = inspect.signature(call)
            parameters = tuple(
                Parameter(name=name, annotation=hints[name], is_in_path=name in in_path, default=each.default)
                for name, each in list(signature.parameters.items())[1:]
                if name != "body"
            )
            self.endpoints.append(
                Endpoint(
                    method=method,
                    path=path,
                    tag=tag,
                    status=status,
                    is_slow=is_slow,
                    call=call,
                    parameters=parameters,
                    body=hints.get("body"),
                    answer=hints.get("return") if hints.get("return") is not type(None) else None,
                )
            )
            return call

        return add

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        """Return the endpoint of an address below the prefix, and the parameters in it.

        Raises
        ------
        ProblemError
            If there is none, or it does not know the method.
        """
        known: list[str] = []
        for endpoint in self.endpoints:
            match = endpoint.pattern.fullmatch(path)
            if match is None:
                continue
            if endpoint.method == method:
                return endpoint, {name: unquote(value) for name, value in match.groupdict().items()}
            known.append(endpoint.method)
        if known:
            allowed = ", ".join(known)
            raise refused("method-not-allowed", f"{path[:_MOST_SHOWN]} knows {allowed}, not {method}", allow=allowed)
        raise refused("no-such-endpoint", f"there is no address {path[:_MOST_SHOWN]}: openapi.json lists all")

    def is_slow(self, method: str, path: str) -> bool:
        """Whether an address is answered slowly; one that there is not, at once."""
        return any(each.is_slow and each.method == method and each.pattern.fullmatch(path) for each in self.endpoints)


table = Table()


def answer(
    context: Context,
    method: str,
    path: str,
    query: Mapping[str, Sequence[str]],
    body: Any = None,
    *,
    rights: Rights | None = None,
) -> tuple[Any, int]:
    """Find what answers a request, and return its answer as plain values, and the HTTP status.

    Parameters
    ----------
    path
        Below :data:`PREFIX`, with its parts quoted.
    query, body
        As for :func:`call`.
    rights
        What may be changed; by default everything: a server has asked its authorizer.

    Raises
    ------
    ProblemError, HopsError
        As :meth:`Table.find` and :func:`call`.
    """
    endpoint, in_path = table.find(method, path)
    if rights is not None:
        rights.check(endpoint, in_path)
    context.changes.hear()
    return call(context, endpoint, in_path, query, body), endpoint.status


def call(
    context: Context, endpoint: Endpoint, in_path: Mapping[str, str], query: Mapping[str, Sequence[str]], body: Any = None
) -> Any:
    """Answer a request with plain values for JSON; None where there is nothing to say.

    Parameters
    ----------
    context
        What is asked.
    query
        All values of each parameter.
    body
        JSON of the request, as plain values.

    Raises
    ------
    ProblemError
        If a parameter is unknown, missing or of the wrong kind.
    HopsError
        If what was asked for cannot be done.
    """
    given = {name: [value] for name, value in in_path.items()} | {name: list(values) for name, values in query.items()}
    wanted = _wanted(given.pop(FIELDS, [])) if endpoint.has_fields else []
    _refuse_unknown(endpoint, given)
    arguments = {p.name: _read(p, given[p.name]) for p in endpoint.parameters if p.name in given}
    missing = [p.name for p in endpoint.parameters if p.is_required and p.name not in given]
    if missing:
        raise refused("bad-parameter", f"{missing[0]} is missing", parameter=missing[0])
    if endpoint.body is not None:
        arguments["body"] = _read_body(endpoint.body, body)
    answer = endpoint.call(context, **arguments)
    if endpoint.answer is None:
        return None
    plain = endpoint.adapter.dump_python(answer, mode="json")
    return _selected(plain, wanted) if wanted else plain


def _refuse_unknown(endpoint: Endpoint, given: Mapping[str, Any]) -> None:
    known = [parameter.name for parameter in endpoint.parameters]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it knows {', '.join(known) or 'none'}"
            raise refused("bad-parameter", f"{name[:_MOST_SHOWN]!r} is no parameter of this address: {hint}", parameter=name)


def _read(parameter: Parameter, values: list[str]) -> Any:
    given: Any = values if parameter.is_list else values[-1]
    if "\x00" in "".join(values):
        raise refused("bad-parameter", f"{parameter.name} holds a null character", parameter=parameter.name)
    try:
        return parameter.adapter.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        shown = str(given)[:_MOST_SHOWN]
        detail = f"{parameter.name}: {first['msg'][0].lower()}{first['msg'][1:]}, got {shown!r}"
        raise refused("bad-parameter", detail, parameter=parameter.name) from None


def _read_body(kind: type[BaseModel], body: Any) -> BaseModel:
    try:
        return kind.model_validate(body if body is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise refused("bad-parameter", f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}", parameter=place) from None


def _wanted(given: Sequence[str]) -> list[str]:
    return [name for text in given for name in text.split(",") if name]


def _selected(plain: Any, wanted: Sequence[str]) -> Any:
    """Keep the wanted fields: of each item of a page, or of the one thing."""
    if isinstance(plain, dict) and isinstance(plain.get("items"), list):
        return {**plain, "items": [_picked(item, wanted) for item in plain["items"]]}
    return _picked(plain, wanted)


def _picked(item: Any, wanted: Sequence[str]) -> Any:
    if not isinstance(item, dict):
        return item
    unknown = [name for name in wanted if name not in item]
    if unknown:
        known = ", ".join(item)
        raise refused("bad-parameter", f"{unknown[0][:_MOST_SHOWN]!r} is no field: there are {known}", parameter=FIELDS)
    return {name: item[name] for name in wanted}
