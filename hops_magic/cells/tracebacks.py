"""Errors of a cell as a notebook shows them: from the cell's line on, and once for all ranks that agree."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hops_magic.cells.program import Program
from hops_magic.errors import CaptureError
from hops_magic.runs.events import RankError

_OWN_FOLDER = f"{Path(__file__).resolve().parents[1]}/"


@dataclass(frozen=True)
class DescribedError:
    """An exception as text."""

    name: str
    message: str
    traceback: str


@dataclass(frozen=True)
class CollapsedError:
    """The errors of several ranks as one: ``message`` has one line for each, ``traceback`` is shown above them."""

    message: str
    traceback: str


def describe_error(error: BaseException, program: Program) -> DescribedError:
    """Describe what left a program; its traceback begins at the cell, with the lines as Jupyter numbers them."""
    files = {program.file_name, *program.sources}
    _begin_at_cell(error, files, set())
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 (an exception of the user's whose __str__ fails is still to be shown)
        message = f"<its text cannot be made: {type(broken).__name__}>"
    if isinstance(error, CaptureError):
        # a sentence about what was taken along, from before the cell ran: every frame is this package's
        return DescribedError(type(error).__name__, message, f"{type(error).__name__}: {message}")
    described = traceback.TracebackException.from_exception(error, max_group_depth=5)
    _without_own_frames(described)
    rendered = "".join(described.format())
    rendered = rendered.replace(f'File "{program.file_name}", line', f"{program.file_name}, line")
    for file, source in program.sources.items():
        rendered = rendered.replace(f'File "{file}", line', f"{source.title}, line")
    return DescribedError(type(error).__name__, message, rendered)


def _begin_at_cell(error: BaseException | None, files: set[str], seen: set[int]) -> None:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename not in files:
        frame = frame.tb_next
    if frame is not None:
        error.__traceback__ = frame
    for other in (error.__cause__, error.__context__, *(error.exceptions if isinstance(error, BaseExceptionGroup) else ())):
        _begin_at_cell(other, files, seen)


def _without_own_frames(described: traceback.TracebackException) -> None:
    """Leave out this package's frames, which tell a user nothing, unless there are no others."""
    kept = [frame for frame in described.stack if not frame.filename.startswith(_OWN_FOLDER)]
    if kept:
        described.stack = traceback.StackSummary.from_list(kept)
    for other in (described.__cause__, described.__context__, *(described.exceptions or ())):
        if other is not None:
            _without_own_frames(other)


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
        lines.append(f"{name}: {message.rstrip()}".rstrip(": ") + (f"  [{said}]" if said else ""))
        rendered = _without_last_line(group[0].traceback.rstrip(), name, message.rstrip())
        shown.append(rendered if len(groups) == 1 else f"[{ranks}]\n{rendered}".rstrip("\n"))
    return CollapsedError("\n".join(lines), "\n\n".join(shown))


def _without_last_line(rendered: str, name: str, message: str) -> str:
    """Cut what the message below the traceback says again."""
    ending = f"{name}: {message}" if message else name
    if not rendered.endswith(ending):
        return rendered
    return rendered[: rendered.rfind("\n", 0, len(rendered) - len(ending)) + 1].rstrip("\n")


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
