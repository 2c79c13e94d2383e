"""Registered models from Python: ``hops.models.load("digits", "champion")``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hops_magic.registry.infos import ModelInfo, ModelVersion
    from hops_magic.session import Session

__all__ = [
    "delete_alias",
    "delete_model",
    "delete_version",
    "load",
    "models",
    "register",
    "set_alias",
    "version",
    "versions",
]


def models() -> list[ModelInfo]:
    """Return the registered models, last changed first."""
    return _session().registry.models()


def versions(name: str) -> list[ModelVersion]:
    """Return the versions of a model, newest first."""
    return _session().registry.versions(name)


def version(name: str, which: int | str | None = None) -> ModelVersion:
    """Return one version by number or alias, or the newest."""
    return _session().registry.version(name, which)


def register(run: str, name: str, path: Path | str | None = None, *, model: Any = None) -> ModelVersion:
    """Make a run's model the next version of a model: from the record, from a file, or a model that can ``save`` itself."""
    return _session().registry.register(run, name, path, model=model)


def load(name: str, which: int | str | None = None) -> Any:
    """Load a version by number or alias, or the newest, into this process."""
    session = _session()
    return session.registry.load(name, which, loader=session.load_model)


def set_alias(name: str, alias: str, version: int | str) -> None:
    """Let an alias mean a version."""
    _session().registry.set_alias(name, alias, version)


def delete_alias(name: str, alias: str) -> None:
    """Take an alias away."""
    _session().registry.delete_alias(name, alias)


def delete_version(name: str, version: int | str) -> ModelVersion:
    """Take a version out of the registry for good."""
    return _session().registry.delete_version(name, version)


def delete_model(name: str) -> None:
    """Take a model with all its versions out of the registry for good."""
    _session().registry.delete_model(name)


def _session() -> Session:
    from hops_magic.session import session

    return session()
