"""What is recorded of a run before it starts."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from hops_magic.cells.report import CapturedRow
from hops_magic.options import as_dict
from hops_magic.runs.inputs import FeatureInput, merged

GIT_TIMEOUT_S = 2.0


def user_name() -> str:
    """Name of the user of this process; its number where the machine does not know one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class RunKind(Enum):
    """What a record stands for."""

    RUN = "run"
    STUDY = "study"
    TRIAL = "trial"


@dataclass(frozen=True, kw_only=True)
class CapturedName:
    """A value that travelled from the notebook.

    Attributes
    ----------
    how : str
        How it travelled, in the words of the capture report.
    content_hash : str
        Empty where the content was not read.
    """

    name: str
    type: str
    size_bytes: int | None = None
    content_hash: str = ""
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The state of the notebook's folder in git; ``is_dirty`` is None if git did not say in time."""

    commit: str
    is_dirty: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that is known of a run when it is submitted.

    Attributes
    ----------
    parent : str
        Id of the run this one belongs to, such as a trial's study; empty for none.
    params : mapping
        Hyperparameters; they go before options of the same name.
    cluster : mapping
        Facts about the cluster, without secrets.
    inputs : tuple of FeatureInput
        What it reads of the feature store.
    """

    run_id: str
    name: str
    experiment: str
    source: str
    created_at: float
    kind: RunKind = RunKind.RUN
    parent: str = ""
    notebook: str = ""
    folder: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    captured: tuple[CapturedName, ...] = ()
    commit: Commit | None = None
    cluster: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    framework: str = ""
    strategy: str = ""
    user: str = field(default_factory=user_name)
    packages: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[FeatureInput, ...] = ()


class PreparedRun(Protocol):
    """The part of a prepared program that is recorded; ``hops_magic.training.Prepared`` fulfils it."""

    @property
    def run_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def experiment(self) -> str: ...
    @property
    def captured(self) -> Any: ...
    @property
    def options(self) -> Any: ...
    @property
    def framework(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def surroundings(self) -> Any: ...


def record_of(prepared: PreparedRun, cluster: Any, created_at: float) -> RunRecord:
    """Make the record of a program that is about to be submitted."""
    surroundings = prepared.surroundings
    return RunRecord(
        run_id=prepared.run_id,
        name=prepared.name,
        experiment=prepared.experiment,
        source=prepared.captured.program.source,
        created_at=created_at,
        notebook=str(surroundings.notebook),
        folder=str(surroundings.folder),
        options=as_dict(prepared.options),
        captured=captured_names(prepared.captured.report.rows),
        commit=commit_of(Path(surroundings.folder)),
        cluster=cluster_facts(cluster),
        seed=prepared.seed,
        framework=prepared.framework,
        strategy=prepared.strategy,
        inputs=inputs_of(prepared),
    )


def inputs_of(prepared: PreparedRun) -> tuple[FeatureInput, ...]:
    """Return the features behind the names that a program takes along."""
    by_name: Mapping[str, tuple[FeatureInput, ...]] = prepared.surroundings.inputs
    return merged(each for row in prepared.captured.report.rows for each in by_name.get(row.name, ()))


def captured_names(rows: Iterable[CapturedRow]) -> tuple[CapturedName, ...]:
    """Take over the rows of a capture report."""
    return tuple(
        CapturedName(
            name=row.name,
            type=f"{row.type} {row.shape}".strip(),
            size_bytes=row.size_bytes,
            content_hash=row.content_hash,
            how=row.way.value,
        )
        for row in rows
    )


def cluster_facts(cluster: Any) -> dict[str, Any]:
    """Describe a cluster in plain values."""
    info = cluster.client.scheduler_info(n_workers=-1)
    workers = list(info.get("workers", {}).values())
    return {
        "address": info.get("address", ""),
        "is_local": bool(cluster.is_local),
        "workers": len(workers),
        "threads": sum(int(worker.get("nthreads", 0)) for worker in workers),
        "memory_bytes": sum(int(worker.get("memory_limit") or 0) for worker in workers),
        "hosts": sorted({str(worker.get("host", "")) for worker in workers}),
    }


def commit_of(folder: Path) -> Commit | None:
    """Return the commit checked out in a folder, or None outside of git."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return None
    # untracked files are left out: a notebook's folder is full of them, and looking for them is slow
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return Commit(commit=head, is_dirty=None if status is None else bool(status))


def _git(folder: Path, *words: str) -> str | None:
    git = shutil.which("git")
    if git is None or not folder.is_dir():
        return None
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(  # noqa: S603 (our own words, no shell)
            [git, "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def environment_facts() -> dict[str, Any]:
    """Describe this machine and what is installed in this Python."""
    packages = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
    }
