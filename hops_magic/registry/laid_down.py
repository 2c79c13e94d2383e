"""What is known of a run before it is recorded: laid down in ``HOPS_HOME`` until its record has it, in case the writer dies.

A record begins beside its run, since its library takes seconds to import, and in several steps. A worker or machine that
dies meanwhile would leave a run of which nobody tells, or a study that cannot be continued.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from hops_magic.engine.private_files import write_private
from hops_magic.registry.records import CapturedName, Commit, RunKind, RunRecord, environment_facts
from hops_magic.runs.inputs import FeatureInput, InputKind

logger = logging.getLogger(__name__)

FOLDER = "beginnings"


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a record begins with.

    Attributes
    ----------
    environment : mapping
        Facts of the machine on which it was to be written.
    description : mapping
        Of a study, what must not differ when it is continued.
    """

    record: RunRecord
    environment: Mapping[str, Any] = field(default_factory=environment_facts)
    description: Mapping[str, Any] = field(default_factory=dict)


def lay_down(run_folder: Path, beginning: Beginning) -> None:
    """Keep a beginning on the disk; on one that is full or read-only the run goes on without."""
    file = _file(run_folder)
    text = json.dumps(asdict(beginning), default=_plain)
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, text)


def take_up(run_folder: Path) -> None:
    """Forget a beginning: the record has it."""
    with contextlib.suppress(OSError):
        _file(run_folder).unlink(missing_ok=True)


def left_behind(runs: Path) -> list[Beginning]:
    """Return the beginnings in a home that no record has taken up, or not yet; ``runs`` is the folder of its runs."""
    found = []
    for file in sorted(_folder(runs).glob("*.json")):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            found.append(Beginning(**{**told, "record": _record(told["record"])}))
        except FileNotFoundError:
            continue  # taken up just now
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.info("the beginning of a record in %s cannot be read: %s", file, error)
    return found


def _folder(runs: Path) -> Path:
    return runs.with_name(FOLDER)


def _file(run_folder: Path) -> Path:
    return _folder(run_folder.parent) / f"{run_folder.name}.json"


def _record(told: Mapping[str, Any]) -> RunRecord:
    known = {item.name for item in fields(RunRecord)}
    return RunRecord(
        **{name: value for name, value in told.items() if name in known}
        | {
            "kind": RunKind(told["kind"]),
            "captured": tuple(CapturedName(**each) for each in told["captured"]),
            "commit": None if told["commit"] is None else Commit(**told["commit"]),
            "inputs": tuple(
                FeatureInput(**{**each, "kind": InputKind(each["kind"]), "features": tuple(each["features"])})
                for each in told["inputs"]
            ),
        }
    )


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else str(value)
