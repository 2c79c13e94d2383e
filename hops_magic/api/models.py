"""Registered models and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from hops_magic.api.columns import Source, sources_of
from hops_magic.api.context import Context
from hops_magic.api.plain import Number, shortened
from hops_magic.api.routing import Limit, Name, Offset, Payload, Wanted, table
from hops_magic.registry.infos import ModelInfo, ModelVersion, RunInfo

Alias = Annotated[str, Field(min_length=1, max_length=200)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ModelRow(Payload):
    """A registered model; ``aliases`` name versions."""

    name: str
    description: str
    latest_version: int
    aliases: dict[str, int]
    created_at: float
    changed_at: float


class ModelPage(Payload):
    """Models, last changed first."""

    items: list[ModelRow]
    total: int


class VersionRow(Payload):
    """One version of a model, the run that made it, and what that run read of the feature store."""

    name: str
    version: int
    run_id: str
    run_name: str
    created_at: float
    aliases: list[str]
    metrics: dict[str, Number]
    flavour: str
    size_bytes: int | None
    inputs: list[Source]


class VersionPage(Payload):
    """Versions, newest first."""

    items: list[VersionRow]
    total: int


class AliasChange(Wanted):
    """The version that an alias shall mean."""

    version: Version


@table.route("GET", "/models", tag="models")
def list_models(
    context: Context, *, text: Annotated[str, Field(max_length=500)] = "", limit: Limit = 50, offset: Offset = 0
) -> ModelPage:
    """List registered models, last changed first."""
    found = [each for each in context.registry.models() if text.casefold() in each.name.casefold()]
    return ModelPage(items=[_model_row(each) for each in found[offset : offset + limit]], total=len(found))


@table.route("GET", "/models/{model}/versions", tag="models")
def list_versions(context: Context, model: Name, *, limit: Limit = 50, offset: Offset = 0) -> VersionPage:
    """List the versions of a model, newest first."""
    found = context.registry.versions(model)
    shown = found[offset : offset + limit]
    return VersionPage(items=_version_rows(context, shown), total=len(found))


@table.route("PUT", "/models/{model}/aliases/{alias}", tag="models")
def set_alias(context: Context, model: Name, alias: Alias, *, body: AliasChange) -> VersionPage:
    """Let an alias mean a version; it moves there from any other."""
    context.registry.set_alias(model, alias, body.version)
    context.changes.say(["models"])
    return list_versions(context, model)


@table.route("DELETE", "/models/{model}/aliases/{alias}", tag="models")
def delete_alias(context: Context, model: Name, alias: Alias) -> VersionPage:
    """Take an alias away."""
    context.registry.delete_alias(model, alias)
    context.changes.say(["models"])
    return list_versions(context, model)


@table.route("DELETE", "/models/{model}/versions/{version}", tag="models")
def delete_version(context: Context, model: Name, version: Version) -> VersionRow:
    """Take a version out of the registry for good; its file stays with its run."""
    gone = context.registry.delete_version(model, version)
    context.changes.say(["models"])
    return _version_rows(context, [gone])[0]


def _model_row(model: ModelInfo) -> ModelRow:
    return ModelRow(
        name=model.name,
        description=shortened(model.description),
        latest_version=model.latest_version,
        aliases=dict(model.aliases),
        created_at=model.created_at,
        changed_at=model.changed_at,
    )


def _version_rows(context: Context, versions: Sequence[ModelVersion]) -> list[VersionRow]:
    runs = context.registry.runs_of_records(version.record_id for version in versions if version.record_id)
    return [_version_row(version, runs.get(version.record_id)) for version in versions]


def _version_row(version: ModelVersion, made_by: RunInfo | None) -> VersionRow:
    return VersionRow(
        name=version.name,
        version=version.version,
        run_id=version.run_id,
        run_name=version.run_name,
        created_at=version.created_at,
        aliases=list(version.aliases),
        metrics=dict(version.metrics),
        flavour=version.flavour,
        size_bytes=version.size_bytes,
        inputs=sources_of(made_by.inputs if made_by else ()),
    )
