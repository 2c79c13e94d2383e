"""How runs differ. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hops_magic.registry.infos import Comparison, RunInfo
from hops_magic.registry.records import CapturedName

T = TypeVar("T")


def compare(
    infos: Sequence[RunInfo],
    *,
    sources: Sequence[str],
    captured: Sequence[Iterable[CapturedName]],
    environments: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Compare runs, given what was read of each, in the same order."""
    return Comparison(
        runs=tuple(infos),
        params=_differing([info.params for info in infos]),
        metrics=_side_by_side([{k: v for k, v in info.metrics.items() if not k.startswith("batch/")} for info in infos]),
        captured=_differing([{row.name: _content(row) for row in rows} for rows in captured]),
        contents=_contents(captured),
        environment=_differing([_flat(environment) for environment in environments]),
        source_diff="".join(_diff(infos, sources)),
    )


def _side_by_side(tables: Sequence[Mapping[str, T]]) -> dict[str, tuple[T | None, ...]]:
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: tuple(table.get(name) for table in tables) for name in names}


def _differing(tables: Sequence[Mapping[str, T]]) -> dict[str, tuple[T | None, ...]]:
    return {name: values for name, values in _side_by_side(tables).items() if len(set(values)) > 1}


def _contents(captured: Sequence[Iterable[CapturedName]]) -> dict[str, tuple[str | None, ...]]:
    """Tell the captured names that differ by type, shape and size; only where those are alike, by their content's hash."""
    tables = [{row.name: row for row in rows} for rows in captured]
    told: dict[str, tuple[str | None, ...]] = {}
    for name in _differing([{name: _content(row) for name, row in table.items()} for table in tables]):
        rows = [table.get(name) for table in tables]
        words = [None if row is None else _in_words(row) for row in rows]
        known = [word for word in words if word is not None]
        if len(known) > 1 and len(set(known)) == 1:
            words = [None if row is None else f"{_in_words(row)}, content {row.content_hash[:8]}" for row in rows]
        told[name] = tuple(words)
    return told


def _in_words(row: CapturedName) -> str:
    return row.type if row.size_bytes is None else f"{row.type}, {row.size_bytes:,} bytes"


def _content(row: CapturedName) -> str:
    return row.content_hash or f"{row.type}, {row.size_bytes} bytes"


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    flat = {name: str(value) for name, value in environment.items() if not isinstance(value, dict)}
    for name in ("packages", "git"):
        flat |= {f"{name}.{key}" if name == "git" else key: str(value) for key, value in environment.get(name, {}).items()}
    return flat


def _diff(infos: Sequence[RunInfo], sources: Sequence[str]) -> Iterable[str]:
    first = sources[0].splitlines(keepends=True)
    for info, source in zip(infos[1:], sources[1:], strict=True):
        lines = difflib.unified_diff(first, source.splitlines(keepends=True), _titled(infos[0]), _titled(info))
        yield from (line if line.endswith("\n") else line + "\n" for line in lines)


def _titled(info: RunInfo) -> str:
    """A name that tells runs of the same name apart."""
    return f"{info.name[:80]} {info.run_id[:8]}"
