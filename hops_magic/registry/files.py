"""Reads the metrics and files of a run."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from hops_magic.engine.journal import read_journal
from hops_magic.errors import NotFoundError
from hops_magic.registry import layout
from hops_magic.registry.finding import Finder, Wanted
from hops_magic.registry.infos import Point, RunInfo, captured_rows
from hops_magic.registry.keeping import local_path
from hops_magic.registry.records import CapturedName
from hops_magic.registry.text_parts import TextPart, part_of
from hops_magic.runs.events import Event


class RunFiles(Finder):
    """What runs left: courses of metrics, source, output, errors."""

    def metrics(self, wanted: Wanted, names: Iterable[str] | None = None) -> dict[str, list[Point]]:
        """Return the courses of metrics, by name, each in order of steps.

        Where a restart repeated steps, those that it took back are left out, as in the live view.
        """
        info = self.run(wanted)
        chosen = list(info.metrics) if names is None else list(names)
        return {name: self._course(info, name) for name in chosen}

    def _course(self, info: RunInfo, name: str) -> list[Point]:
        with self._store.failures(f"reading metric {name}"):
            history = self._client.get_metric_history(info.record_id, layout.key_of(name))
        history = sorted(history, key=lambda metric: (metric.timestamp, metric.step))
        if layout.TAG_RUN_ID not in info.tags and len({metric.step for metric in history}) == 1:
            # MLflow's own calls say step 0 when users say none
            return [(number, metric.value, metric.timestamp / 1000) for number, metric in enumerate(history)]
        points: list[Point] = []
        for metric in history:
            while points and points[-1][0] >= metric.step:
                points.pop()
            points.append((metric.step, metric.value, metric.timestamp / 1000))
        return points

    def source(self, wanted: Wanted) -> str:
        """Return the cell of a run."""
        return self.text(self.run(wanted), layout.SOURCE)

    def output(self, wanted: Wanted, rank: int = 0) -> str:
        """Return what a rank wrote, so far or in all; empty if nothing."""
        return self.text(self.run(wanted), layout.output_file(rank), default="")

    def output_part(self, wanted: Wanted, rank: int = 0, *, start: int = -1, length: int = 100_000) -> TextPart:
        """Return a part of what a rank wrote: from a character on, or the end if it is negative; empty if nothing."""
        info = self.run(wanted)
        with self._file(info, layout.output_file(rank)) as path:
            return TextPart() if path is None else part_of(path, start, length)

    def journal(self, info: RunInfo) -> list[Event]:
        """Return all events of a run: from its folder on this machine, where they are newest, or from its record.

        Raises
        ------
        NotFoundError
            If neither has them.
        """
        folder = self.settings.runs / info.run_id
        if (folder / layout.JOURNAL).is_file():
            return list(read_journal(folder))
        with self.artifact(info, layout.JOURNAL) as path:
            if path is None:
                raise NotFoundError(f"run {info.name} has no {layout.JOURNAL} in its record")
            return list(read_journal(path.parent))

    def error(self, wanted: Wanted) -> str:
        """Return the tracebacks of a run that failed; empty if there are none."""
        return self.text(self.run(wanted), layout.ERROR, default="")

    def options(self, wanted: Wanted) -> dict[str, Any]:
        """Return all options and hyperparameters of a run, uncut: ``{"options": ..., "params": ...}``."""
        options: dict[str, Any] = json.loads(self.text(self.run(wanted), layout.OPTIONS, default="{}"))
        return options

    def environment(self, wanted: Wanted) -> dict[str, Any]:
        """Return packages, Python, machine, git and cluster of a run."""
        environment: dict[str, Any] = json.loads(self.text(self.run(wanted), layout.ENVIRONMENT, default="{}"))
        return environment

    def captured(self, wanted: Wanted) -> tuple[CapturedName, ...]:
        """Return the values that travelled from the notebook."""
        return captured_rows(self.text(self.run(wanted), layout.CAPTURED, default="[]"))

    @contextlib.contextmanager
    def artifact(self, info: RunInfo, name: str) -> Iterator[Path | None]:
        """Yield a file of a run, or None if it has no such file; a file from afar is gone after the context."""
        local = local_path(info.artifact_uri)
        if local is not None:
            yield path if (path := local / name).exists() else None
            return
        with tempfile.TemporaryDirectory(prefix="hops-record-") as folder:
            yield self._download(info, name, folder)

    def _download(self, info: RunInfo, name: str, folder: str) -> Path | None:
        parent = str(PurePosixPath(name).parent)
        with self._store.failures(f"reading {name} of run {info.name}"):
            listed = self._client.list_artifacts(info.record_id, None if parent == "." else parent)
            if not any(item.path == name for item in listed):
                return None
            return Path(self._client.download_artifacts(info.record_id, name, folder))

    def text(self, info: RunInfo, name: str, default: str | None = None) -> str:
        """Read a file of a run from its record, or, while the run lives, from its folder on this machine."""
        with self._file(info, name) as path:
            if path is not None:
                return path.read_text(encoding="utf-8", errors="replace")
        if default is None:
            raise NotFoundError(f"run {info.name} has no {name} in its record")
        return default

    @contextlib.contextmanager
    def _file(self, info: RunInfo, name: str) -> Iterator[Path | None]:
        with self.artifact(info, name) as path:
            live = self.settings.runs / info.run_id / name
            yield path if path is not None else live if live.is_file() else None
