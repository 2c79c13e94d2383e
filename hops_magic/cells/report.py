"""What a capture takes along, as a table."""

from __future__ import annotations

import html
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Way(Enum):
    """How a name gets to the ranks."""

    PROGRAM = "with the program"
    MAPPED = "mapped from node memory: once per node"
    SHIPPED = "module shipped"
    IMPORTED = "imported on the ranks"
    BY_VALUE = "by value, with the program"
    OBJECT_ARRAY = "with the program, object by object"
    DASK = "dask collection, not computed"
    LEFT = "left out, the cell makes its own"


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

    @property
    def how(self) -> str:
        """How the name gets to the ranks, in words."""
        return self.way.value


_TITLES = ("name", "type", "shape", "size", "how it travels")


@dataclass(frozen=True)
class CaptureReport:
    """All names that a program takes along, and the modules whose source does.

    ``notes`` are sentences on what the cell would do on the ranks.
    """

    rows: tuple[CapturedRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes that travel in all; equal data counts once."""
        return sum({row.content_hash or row.name: row.size_bytes for row in self.rows}.values())

    def text(self) -> str:
        """Render as a table of plain text."""
        if not self.rows:
            return "\n".join(["the cell takes nothing along", *self.notes])
        table = [_TITLES, *map(_texts, self.rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(_TITLES))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
        return "\n".join([*lines, self._total(), *self.notes])

    def html(self) -> str:
        """Render as a folded table; everything is escaped."""
        head = "".join(f"<th style='text-align:left'>{title}</th>" for title in _TITLES)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in _texts(row)) + "</tr>"
            for row in self.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<details><summary>{html.escape(self._total())}</summary>{table}</details>{notes}"

    def _total(self) -> str:
        count = len(self.rows)
        return f"{count} {'name travels' if count == 1 else 'names travel'}, {human_size(self.size_bytes)} in all"

    def _repr_mimebundle_(self, **_: Any) -> Mapping[str, str]:
        return {"text/plain": self.text(), "text/html": self.html().replace("<details>", "<details open>", 1)}

    def __repr__(self) -> str:
        return self.text()


def _texts(row: CapturedRow) -> tuple[str, ...]:
    return row.name, row.type, row.shape, human_size(row.size_bytes) if row.size_bytes else "", row.how


def way_of(value: Any, *, is_large: bool) -> Way:
    """Tell how a value that is no module travels."""
    if _is_dask(value):
        return Way.DASK
    if is_large:
        return Way.MAPPED
    if isinstance(value, types.FunctionType | type):
        return Way.BY_VALUE
    return Way.OBJECT_ARRAY if getattr(_attribute(value, "dtype"), "hasobject", False) is True else Way.PROGRAM


def _is_dask(value: Any) -> bool:
    graph = _attribute(value, "__dask_graph__")
    return "dask" in sys.modules and not isinstance(value, type) and callable(graph) and graph() is not None


def type_of(value: Any) -> str:
    """Name a value's type as a user knows it: ``numpy.ndarray``, ``list``."""
    if isinstance(value, types.FunctionType):
        return "function"
    if isinstance(value, type):
        return "class"
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__qualname__ if package in ("builtins", "__main__") else f"{package}.{kind.__qualname__}"


def shape_of(value: Any) -> str:
    """Describe the extent of a value: shape and dtype of arrays, rows and columns of tables, length of collections."""
    if isinstance(value, type | types.ModuleType):
        return ""
    if partitions := _attribute(value, "npartitions"):
        return f"{partitions} partitions"
    shape = _attribute(value, "shape")
    if isinstance(shape, tuple):
        extent = " x ".join("?" if not isinstance(n, int) else str(n) for n in shape) or "scalar"
        dtype = _attribute(value, "dtype")
        return f"{extent} {dtype}" if dtype is not None else extent
    if isinstance(value, str | bytes | bytearray | list | tuple | dict | set | frozenset):
        return f"len {len(value)}"
    return ""


def _attribute(value: Any, name: str) -> Any:
    """An attribute that a value or its class has; what would be made for anyone who asks is none."""
    known = hasattr(type(value), name) or name in getattr(type(value), "__dict__", {}) or name in _own(value)
    return getattr(value, name, None) if known else None


def _own(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return ()


def human_size(count: int) -> str:
    """``1536`` -> ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
