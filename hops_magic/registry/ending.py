"""The end of a record: how the run went, in tags that lists can show and in the text of its errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hops_magic.registry import layout
from hops_magic.runs.events import RankError
from hops_magic.runs.inputs import told_way
from hops_magic.runs.run import Run

MAX_TEXT = 400
MAX_ITEMS = 10


def end_tags(run: Run) -> dict[str, str]:
    """Return the tags of a run that has ended."""
    return {
        layout.TAG_STATE: run.state.value,
        layout.TAG_REASON: layout.shortened(run.reason, layout.MAX_TAG, layout.JOURNAL),
        layout.TAG_END: _end(run),
    }


def error_text(errors: Sequence[RankError]) -> str:
    """Return the tracebacks of the ranks, causes before symptoms."""
    causes = sorted(errors, key=lambda error: (error.is_peer_loss, error.rank))
    return "\n\n".join(f"rank {error.rank}: {error.name}: {error.message}\n{error.traceback}".rstrip() for error in causes)


def _end(run: Run) -> str:
    end: dict[str, Any] = {
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "attempt": run.attempt,
        "world_size": run.world_size,
        "restarts": _texts(run.restarts),
        "warnings": _texts(run.warnings),
        "notes": _texts([*run.notes, *(told_way(phase, way) for phase, way in run.inputs)]),
        "names": _texts(run.result.names) if run.result else [],
        "left_behind": _texts(run.result.left_behind) if run.result else [],
        "checkpoint": run.checkpoint.path[:MAX_TEXT] if run.checkpoint else "",
        "hosts": _texts(sorted({rank.host for rank in run.ranks.values() if rank.host})),
        "error": next((f"{e.name}: {e.message}"[:MAX_TEXT] for e in run.errors if not e.is_peer_loss), ""),
    }
    text = json.dumps(end)
    for droppable in ("left_behind", "hosts", "names", "notes", "warnings", "restarts"):
        if len(text) <= layout.MAX_TAG:
            break
        end[droppable] = []
        text = json.dumps(end)
    return text


def _texts(items: Any) -> list[str]:
    return [str(item)[:MAX_TEXT] for item in list(items)[:MAX_ITEMS]]
