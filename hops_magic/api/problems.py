"""Errors as problem documents (RFC 9457), from one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hops_magic.errors import (
    ClusterError,
    HopsError,
    NotFoundError,
    OptionError,
    RegistryError,
    RunError,
    UnsupportedError,
    UsageError,
    VersionMismatchError,
)
from hops_magic.features.errors import AmbiguousNameError, ConflictError, FeatureError, StoreError, UnknownNameError

MEDIA_TYPE = "application/problem+json"
_MOST_CHARS = 2_000


class ProblemError(HopsError):
    """A request that the table of endpoints itself refuses.

    Parameters
    ----------
    status : int
        HTTP status.
    slug : str
        Name of the kind of problem: the last part of its type.
    title, detail : str
        The kind in words, and what is wrong with this request.
    """

    def __init__(self, status: int, slug: str, title: str, detail: str, **members: Any) -> None:
        super().__init__(status, slug, title, detail)
        self.status, self.slug, self.title, self.detail, self.members = status, slug, title, detail, members

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a client is told."""

    status: int
    slug: str
    title: str
    detail: str
    members: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "type": f"problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


# the first that fits: subclasses before their bases
_TABLE: tuple[tuple[type[HopsError], int, str, str], ...] = (
    (NotFoundError, 404, "not-found", "There is nothing of that name"),
    (UnknownNameError, 404, "not-found", "There is nothing of that name"),
    (AmbiguousNameError, 409, "ambiguous", "Several things have that name"),
    (ConflictError, 409, "conflict", "Somebody else was there first"),
    (OptionError, 400, "bad-parameter", "A parameter breaks its rule"),
    (UnsupportedError, 400, "refused", "This cannot be done"),
    (FeatureError, 400, "refused", "The feature store refuses this"),
    (UsageError, 400, "refused", "This cannot be done"),
    (VersionMismatchError, 409, "version-mismatch", "The cluster runs other versions"),
    (ClusterError, 503, "cluster", "The cluster cannot be used"),
    (StoreError, 503, "feature-store", "The feature store cannot be used"),
    (RegistryError, 503, "registry", "The registry cannot be used"),
    (RunError, 409, "run", "The run has ended otherwise"),
    (HopsError, 500, "internal", "Something went wrong here"),
)
KINDS: dict[str, tuple[int, str]] = {
    **{slug: (status, title) for _, status, slug, title in reversed(_TABLE)},
    "no-such-endpoint": (404, "There is no such address"),
    "method-not-allowed": (405, "The address does not know this method"),
    "read-only": (403, "This board only shows"),
    "not-authenticated": (403, "Sign in first"),
    "not-allowed": (403, "This server does not let you do that"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body must be JSON"),
}
"""Every kind of problem: its usual status and its title."""


def problem_of(error: BaseException) -> Problem:
    """Return what a client is told of an error; of one that nobody foresaw, nothing but that it happened."""
    if isinstance(error, ProblemError):
        return Problem(
            status=error.status, slug=error.slug, title=error.title, detail=error.detail[:_MOST_CHARS], members=error.members
        )
    for kind, status, slug, title in _TABLE:
        if isinstance(error, kind):
            members = {"parameter": error.field} if isinstance(error, OptionError) else {}
            return Problem(status=status, slug=slug, title=title, detail=str(error)[:_MOST_CHARS], members=members)
    status, title = KINDS["internal"]
    return Problem(status=status, slug="internal", title=title, detail="an unexpected error: the server's log has it")


def refused(slug: str, detail: str, **members: Any) -> ProblemError:
    """Return an error of a kind that the table of endpoints itself raises."""
    status, title = KINDS[slug]
    return ProblemError(status, slug, title, detail, **members)
