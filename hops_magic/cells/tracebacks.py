"""Errors of a cell as a notebook shows them: from the cell's line on, and once for all ranks that agree."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from hops_magic.cells.program import Program
from hops_magic.runs.events import RankError


@dataclass(frozen=True)
class DescribedError:
    """An exception as text."""

    name: str
    message: str
    traceback: str


@dataclass(frozen=True)
class CollapsedError:
    """The errors of several ranks as one: ``message`` is one line, ``traceback`` is shown above it."""

    message: str
    traceback: str


def describe_error(error: BaseException, program: Program) -> DescribedError:
    """Describe what left a program; its traceback begins at the cell, with the lines as Jupyter numbers them."""
    _begin_at_cell(error, program.file_name, set())
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 (an exception of the user's whose __str__ fails is still to be shown)
        message = f"<its text cannot be made: {type(broken).__name__}>"
    rendered = "".join(traceback.TracebackException.from_exception(error, max_group_depth=5).format())
    return DescribedError(type(error).__name__, message, rendered)


def _begin_at_cell(error: BaseException | None, file_name: str, seen: set[int]) -> None:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != file_name:
        frame = frame.tb_next
    if frame is not None:
        error.__traceback__ = frame
    _begin_at_cell(error.__cause__, file_name, seen)
    _begin_at_cell(error.__context__, file_name, seen)


def collapse(errors: Sequence[RankError], world_size: int | None = None) -> CollapsedError:
    """Say each different error once, with the ranks that raised it; a lost peer only if no cause is known."""
    causes = [error for error in errors if not error.is_peer_loss] or list(errors)
    groups: dict[tuple[str, str], list[RankError]] = {}
    for error in sorted(causes, key=lambda error: error.rank):
        groups.setdefault((error.name, error.message), []).append(error)
    lines, shown = [], []
    for (name, message), group in groups.items():
        ranks = rank_names([error.rank for error in group])
        alone = world_size == 1
        said = "" if alone else f"{ranks}{': same error' if len(group) > 1 else ''}"
        lines.append(f"{name}: {message}".rstrip(": ") + (f"  [{said}]" if said else ""))
        shown.append(group[0].traceback.rstrip("\n"))
    return CollapsedError("\n".join(lines), "\n\n".join(shown))


def rank_names(ranks: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``ranks 0-2, 5``."""
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{'rank' if len(set(ranks)) == 1 else 'ranks'} {text}"
