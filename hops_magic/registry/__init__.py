"""Experiments, runs and models: the record of what was trained. The only user of MLflow, which is loaded at first use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hops_magic.registry.records import CapturedName, Commit, RunKind, RunRecord, record_of
from hops_magic.registry.store import check_reachable_from, check_writable

if TYPE_CHECKING:
    from hops_magic.registry.recorder import RecorderSpec
    from hops_magic.registry.records import PreparedRun
    from hops_magic.registry.registry import Registry as Registry
    from hops_magic.settings import Settings


def open_registry(settings: Settings) -> Registry:
    """Open the registry of the settings; an empty one is made at its first use.

    Raises
    ------
    RegistryError
        If it cannot be opened.
    """
    from hops_magic.registry.registry import Registry
    from hops_magic.registry.store import Store

    return Registry(Store(settings))


def recorder_for(settings: Settings, prepared: PreparedRun, cluster: Any) -> RecorderSpec:
    """Return what opens the recorder of a run on its supervisor's machine.

    Raises
    ------
    RegistryError
        If the registry cannot be written, so that the run must not start.
    """
    from hops_magic.registry.recorder import RecorderSpec

    check_writable(settings)
    return RecorderSpec(settings=settings, record=record_of(prepared, cluster, time.time()))


__all__ = [
    "CapturedName",
    "Commit",
    "RunKind",
    "RunRecord",
    "check_reachable_from",
    "check_writable",
    "open_registry",
    "recorder_for",
]
