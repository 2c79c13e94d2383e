"""Cells of a magic's line alone: IPython refuses them before the magic is called, so that not even ``-h`` is answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hops_magic.errors import UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_OURS = re.compile(r"%%(distributed|hops_distributed|tune|ablate)(\s|$)")


def accept_without_body(shell: InteractiveShell) -> None:
    """Let the shell call this package's cell magics without a body; doing it again changes nothing."""
    transforms = shell.input_transformers_cleanup
    # by name: a reloaded module has another function
    if not any(getattr(transform, "__qualname__", "") == add_blank_body.__qualname__ for transform in transforms):
        transforms.append(add_blank_body)


def add_blank_body(lines: list[str]) -> list[str]:
    """Add a blank line to a cell which is nothing but the line of one of the magics."""
    if not lines or not _OURS.match(lines[0]) or "".join(lines[1:]).strip():
        return lines
    return [lines[0].rstrip("\n") + "\n", "\n"]


# IPython asks transforms without this mark whether a cell is complete: a terminal would not wait for the body
add_blank_body.has_side_effects = True  # type: ignore[attr-defined]


def require_body(magic: str, cell: str) -> None:
    """Refuse a cell without code.

    Raises
    ------
    UsageError
        If the cell is blank.
    """
    if not cell.strip():
        raise UsageError(f"{magic} needs a body: write the code below the first line")
