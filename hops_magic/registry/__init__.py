"""Experiments, runs and models: the record of what was trained. The only user of MLflow, which is loaded at first use."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hops_magic.registry import layout
from hops_magic.registry.records import CapturedName, Commit, RunKind, RunRecord, record_of
from hops_magic.registry.store import check_reachable_from, check_writable

if TYPE_CHECKING:
    from hops_magic.registry.recorder import RecorderSpec
    from hops_magic.registry.records import PreparedRun
    from hops_magic.registry.registry import Registry as Registry
    from hops_magic.registry.study_recorder import StudyRecorderSpec
    from hops_magic.runs.study import Study
    from hops_magic.settings import Settings


STUDY_FILE = layout.STUDY
"""The artifact with a study's description."""


def open_registry(settings: Settings) -> Registry:
    """Open the registry of the settings; an empty one is made at its first use.

    Raises
    ------
    RegistryError
        If it cannot be opened.
    """
    from hops_magic.registry.registry import Registry
    from hops_magic.registry.store import Store

    return Registry(Store(settings, to_read=True))


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


def study_recorder_for(
    settings: Settings,
    prepared: PreparedRun,
    cluster: Any,
    beginning: Study,
    *,
    options: Mapping[str, Any],
    space: Mapping[str, Any],
    description: Mapping[str, Any],
) -> StudyRecorderSpec:
    """Return what opens the recorder of a study on its supervisor's machine.

    Parameters
    ----------
    prepared
        The program of its trials.
    options, space
        What was asked for, as plain values.
    description
        What must not differ when the study is continued.

    Raises
    ------
    RegistryError
        If the registry cannot be written, so that the study must not start.
    """
    from hops_magic.registry.study_recorder import StudyRecorderSpec

    check_writable(settings)
    record = record_of(prepared, cluster, beginning.created_at or time.time())
    record = dataclasses.replace(record, kind=RunKind.STUDY, options=dict(options), params={"space": json.dumps(space)})
    return StudyRecorderSpec(settings=settings, record=record, beginning=beginning, description=dict(description))


__all__ = [
    "STUDY_FILE",
    "CapturedName",
    "Commit",
    "RunKind",
    "RunRecord",
    "check_reachable_from",
    "check_writable",
    "open_registry",
    "recorder_for",
    "study_recorder_for",
]
