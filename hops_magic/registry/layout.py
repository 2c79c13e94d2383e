"""How a run is laid out in MLflow: its tags, the keys of its metrics and parameters, its artifacts."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from hops_magic.runs.events import Metrics
from hops_magic.runs.states import RunState

TAG_RUN_ID = "hops.run_id"
TAG_NAME = "hops.name"
TAG_STATE = "hops.state"
TAG_REASON = "hops.reason"
TAG_PARENT = "hops.parent"
TAG_KIND = "hops.kind"
TAG_SEARCH = "hops.search"
TAG_FACTS = "hops.facts"
TAG_CURVE = "hops.curve"
TAG_NAMES = "hops.names"
TAG_DELETED = "hops.deleted"
TAG_END = "hops.end"
TAG_PLACE = "hops.place"
TAG_VALUE = "hops.value"
TAG_BEST = "hops.best"
TAG_INCOMPLETE = "hops.incomplete"
TAG_METRIC = "hops.metric"
TAG_DIRECTION = "hops.direction"

# MLflow's own pages show runs as a tree, with user and source, by these tags
TAG_MLFLOW_NOTE = "mlflow.note.content"
TAG_MLFLOW_PARENT = "mlflow.parentRunId"
TAG_MLFLOW_USER = "mlflow.user"
TAG_MLFLOW_SOURCE = "mlflow.source.name"
TAG_MLFLOW_SOURCE_TYPE = "mlflow.source.type"
TAG_MLFLOW_COMMIT = "mlflow.source.git.commit"

SOURCE = "cell.py"
OPTIONS = "options.json"
CAPTURED = "captured.json"
ENVIRONMENT = "environment.json"
ERROR = "error.txt"
JOURNAL = "events.jsonl"
STUDY = "study.json"
OUTPUT_FOLDER = "output"
MODEL_FOLDER = "model"

MAX_NAME = 250
MAX_PARAM = 6_000
MAX_TAG = 8_000

_BAD_CHARS = re.compile(r"[^\w\-. :/]", re.ASCII)

STATUSES: Mapping[RunState, str] = {
    RunState.SUBMITTED: "SCHEDULED",
    RunState.QUEUED: "SCHEDULED",
    RunState.DONE: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.STOPPED: "KILLED",
}
"""MLflow's word for each state; those that are not listed are ``RUNNING``."""

STATES: Mapping[str, RunState] = {
    "SCHEDULED": RunState.QUEUED,
    "RUNNING": RunState.RUNNING,
    "FINISHED": RunState.DONE,
    "FAILED": RunState.FAILED,
    "KILLED": RunState.STOPPED,
}
"""Our state of a run that something else than this package recorded in MLflow."""


def status_of(state: RunState) -> str:
    """Return MLflow's word for a state."""
    return STATUSES.get(state, "RUNNING")


def output_file(rank: int) -> str:
    """Artifact with what a rank wrote."""
    return f"{OUTPUT_FOLDER}/rank{rank}.txt"


def metric_name(event: Metrics, name: str) -> str:
    """Name a metric in the record.

    ``loss`` for epochs, ``batch/loss`` for steps inside them, a user's metrics as the user named them; ``fit2/`` before
    those of the cell's second fit, ``/rank1`` after those of other ranks than the chief.
    """
    series = f"fit{event.series}/" if event.series > 1 else ""
    scope = "batch/" if event.scope == "batch" else ""
    rank = f"/rank{event.rank}" if event.rank else ""
    return f"{series}{scope}{name}{rank}"


def key_of(name: str) -> str:
    """Return the key under which MLflow accepts a name; different names never share a key."""
    key = _BAD_CHARS.sub("_", name)[: MAX_NAME - 9]
    if posixpath.normpath(key) != key or key.startswith((".", "/")) or key != key.strip():
        key = _BAD_CHARS.sub("_", key.replace("/", "_").replace(".", "_")).strip() or "_"
    return key if key == name else f"{key}_{_digest(name)}"


def shortened(text: str, limit: int, where: str) -> str:
    """Cut a text to what MLflow keeps, saying so and where all of it is; different texts stay different."""
    text = text.replace("\x00", "�")  # PostgreSQL keeps no NUL
    if len(text) <= limit:
        return text
    note = f"… ({len(text):,} characters, {_digest(text)}; all of it in {where})"
    return text[: limit - len(note)] + note


def param_text(value: Any) -> str:
    """Return an option's value as MLflow keeps parameters."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)


def as_json(value: Any) -> str:
    """Return readable JSON; what JSON does not know is written as text."""
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
