"""What a capture takes along, as a table."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Way(Enum):
    """How a name gets to the ranks."""

    PROGRAM = "with the program"
    MAPPED = "mapped from node memory, once per node"
    SHIPPED = "its source is shipped"
    IMPORTED = "imported on the ranks"
    BY_VALUE = "by value, with the program"
    DASK = "not computed here"


@dataclass(frozen=True, kw_only=True)
class CapturedRow:
    """One name of the notebook that the program takes along.

    ``size_bytes`` is what travels, ``content_hash`` that of the pickled value; both empty for modules that are imported.
    """

    name: str
    type: str
    shape: str
    size_bytes: int
    content_hash: str
    way: Way


_HEAD = ("name", "type", "shape", "size", "how it travels")


@dataclass(frozen=True)
class CaptureReport:
    """All names that a program takes along."""

    rows: tuple[CapturedRow, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes that travel in all."""
        return sum(row.size_bytes for row in self.rows)

    def text(self) -> str:
        """Render as a table of plain text."""
        if not self.rows:
            return "the cell takes nothing along"
        table = [_HEAD, *map(_cells, self.rows)]
        widths = [max(len(line[column]) for line in table) for column in range(5)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
        return "\n".join([*lines, f"{len(self.rows)} names, {human_size(self.size_bytes)} in all"])

    def html(self) -> str:
        """Render as a folded table; everything is escaped."""
        head = "".join(f"<th style='text-align:left'>{title}</th>" for title in _HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
            for row in self.rows
        )
        summary = f"{len(self.rows)} names travel, {human_size(self.size_bytes)} in all"
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<details><summary>{summary}</summary>{table}</details>"

    def _repr_mimebundle_(self, **_: Any) -> Mapping[str, str]:
        return {"text/plain": self.text(), "text/html": self.html().replace("<details>", "<details open>", 1)}

    def __repr__(self) -> str:
        return self.text()


def _cells(row: CapturedRow) -> tuple[str, ...]:
    return row.name, row.type, row.shape, human_size(row.size_bytes) if row.size_bytes else "", row.way.value


def human_size(count: int) -> str:
    """``1536`` -> ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def shape_of(value: Any) -> str:
    """Describe the extent of a value: shape and dtype of arrays, rows and columns of tables, length of collections."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        extent = " x ".join("?" if not isinstance(n, int) else str(n) for n in shape) or "scalar"
        dtype = getattr(value, "dtype", None)
        return f"{extent} {dtype}" if dtype is not None else extent
    if partitions := getattr(value, "npartitions", None):
        return f"{partitions} partitions"
    if isinstance(value, str | bytes | bytearray | list | tuple | dict | set | frozenset):
        return f"len {len(value)}"
    return ""
