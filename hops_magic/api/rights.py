"""What a page may change, as whoever made it said: nothing, one thing, or all things of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from hops_magic.api.problems import refused
from hops_magic.api.routing import Endpoint


class Kind(Enum):
    """Things that requests change, by the parameter of the addresses that name them."""

    RUN = "run"
    GROUP = "group"
    MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class Rights:
    """Which requests of a page that change something are answered; those that only read always are.

    Attributes
    ----------
    kind : Kind, optional
        What may be changed; by default nothing.
    thing : str
        The only one of the kind that may be changed, by its full id, since a name may come to mean another; empty for all.
    """

    kind: Kind | None = None
    thing: str = ""

    def check(self, endpoint: Endpoint, in_path: Mapping[str, str]) -> None:
        """Refuse what these rights do not cover.

        Raises
        ------
        ProblemError
            With what is refused, and which board could do it.
        """
        if endpoint.is_read_only:
            return
        if self.kind is None:
            raise refused("read-only", "this board only shows: make it with read_only=False to change things")
        named = in_path.get(self.kind.value)
        if named is None:
            raise refused("read-only", f"this board changes a {self.kind.value} and nothing else: use the sidebar for that")
        if self.thing and named != self.thing:
            detail = f"this board changes {self.thing} alone, not {named[:80]}: make a board of that one"
            raise refused("read-only", detail)


NONE = Rights()
