"""What the API tells of itself, and what has changed while a viewer was away."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Annotated, Any

from pydantic import Field

from hops_magic.api.changes import Missed
from hops_magic.api.context import Context
from hops_magic.api.routing import Payload, table
from hops_magic.settings import redacted


class About(Payload):
    """Version and places; no secrets."""

    version: str
    registry: str
    features: str
    catalog: str


@table.route("GET", "/about", tag="about")
def about(context: Context) -> About:
    """Tell the version, and where experiments and features are kept."""
    return About(
        version=installed_version("hops_magic"),
        registry=context.session.settings.shown_tracking_uri,
        features=redacted(context.features.settings.lake),
        catalog=redacted(context.features.settings.catalog),
    )


@table.route("GET", "/changes", tag="about")
def changes(
    context: Context,
    *,
    boot: Annotated[str, Field(max_length=50, description="Of the last change that was heard of.")] = "",
    since: Annotated[int, Field(ge=0, le=2**53, description="Its number.")] = 0,
) -> Missed:
    """Tell what has changed since a number, and that somebody listens."""
    context.looker.watch()
    return context.changes.since(boot, since)


@table.route("GET", "/openapi.json", tag="about")
def openapi(context: Context) -> dict[str, Any]:  # noqa: ARG001 (one signature for all endpoints)
    """Return this API's description (OpenAPI 3.1)."""
    from hops_magic.api.openapi import document

    return document()
