"""The API's description (OpenAPI 3.1), made from the table of endpoints."""

from __future__ import annotations

import functools
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from hops_magic.api.problems import KINDS, MEDIA_TYPE
from hops_magic.api.routing import FIELDS, PREFIX, Endpoint, Parameter, table

_REF = "#/components/schemas/{model}"
_TAGS = {
    "about": "The API itself, and what has changed.",
    "features": "Feature groups, search, statistics and training datasets.",
    "experiments": "Experiments, runs, studies and trials.",
    "models": "Registered models and their versions.",
    "cluster": "The cluster in use.",
    "lineage": "What was made from what.",
}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [f"problems/{slug}" for slug in KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "parameter": {"type": "string"},
    },
}


@functools.cache
def document() -> dict[str, Any]:
    """Return the description as plain values."""
    models = [endpoint.answer for endpoint in table.endpoints if hasattr(endpoint.answer, "model_json_schema")]
    bodies = [endpoint.body for endpoint in table.endpoints if endpoint.body is not None]
    wanted: list[Any] = [*((m, "serialization") for m in models), *((b, "validation") for b in bodies)]
    refs, schemas = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table.endpoints:
        answer = refs.get((endpoint.answer, "serialization"), {"type": "object"})
        body = refs.get((endpoint.body, "validation")) if endpoint.body is not None else None
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, answer, body)
    definitions = dict(schemas.get("$defs", {}))
    for name in _answers_in_parts(definitions):
        # with fields=... only a part of each comes
        definitions[name] = {key: value for key, value in definitions[name].items() if key != "required"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hops_magic",
            "version": version("hops_magic"),
            "description": "Features, experiments, models and the cluster, as the sidebar and boards see them.",
        },
        "servers": [{"url": PREFIX}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**definitions, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        },
        "security": [{"token": []}],
    }


def _answers_in_parts(definitions: dict[str, Any]) -> set[str]:
    """Return the schemas of which ``fields`` takes parts: answers of GET, and the items of pages."""
    found = set()
    for endpoint in table.endpoints:
        name = getattr(endpoint.answer, "__name__", "")
        if not endpoint.has_fields or name not in definitions:
            continue
        items = definitions[name].get("properties", {}).get("items", {}).get("items", {}).get("$ref", "")
        found.add(items.rpartition("/")[2] or name)
    return found


def _operation(endpoint: Endpoint, answer: dict[str, Any], body: dict[str, Any] | None) -> dict[str, Any]:
    parameters = [_parameter(parameter) for parameter in endpoint.parameters]
    if endpoint.has_fields:
        told = "Names of the fields that are wanted, with commas between; all by default."
        parameters.append({"name": FIELDS, "in": "query", "description": told, "schema": {"type": "string"}})
    ok: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.answer is not None:
        ok["content"] = {"application/json": {"schema": answer}}
    problem = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}}
    operation: dict[str, Any] = {
        "operationId": endpoint.call.__name__,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": parameters,
        "responses": {str(endpoint.status): ok, "default": problem},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {key: value for key, value in parameter.adapter.json_schema().items() if key != "description"}
    if not parameter.is_required and parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "path" if parameter.is_in_path else "query",
        "required": parameter.is_in_path or parameter.is_required,
        "description": parameter.description,
        "schema": schema,
    }
