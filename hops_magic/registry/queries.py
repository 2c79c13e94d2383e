"""The language of lists, translated to MLflow's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hops_magic.errors import UsageError
from hops_magic.registry import layout
from hops_magic.runs.states import RunState

MAX_TEXT = 200
_ORDERS = {
    "started": "attributes.start_time",
    "ended": "attributes.end_time",
    "name": "attributes.run_name",
    "state": f"tags.`{layout.TAG_STATE}`",
    "user": f"tags.`{layout.TAG_MLFLOW_USER}`",
}
_KINDS = re.compile(
    r"\b(metrics?|params?|parameters?|tags?|attributes?|attr|run|datasets?|inputs?|models?)\.", re.IGNORECASE
)


def search_filter(
    *,
    state: RunState | str | None,
    text: str | None,
    condition: str | None,
    parent: str | None = None,
    trials: bool = True,
) -> str:
    """Join the wishes of a list into one condition.

    Raises
    ------
    UsageError
        For a state that does not exist, or a condition that names nothing to compare.
    """
    parts = []
    if state is not None:
        parts.append(f"tags.`{layout.TAG_STATE}` = '{_state(state).value}'")
    if text:
        parts.append(f"tags.`{layout.TAG_SEARCH}` ILIKE '%{without_quotes(text)}%'")
    if parent:
        parts.append(f"tags.`{layout.TAG_PARENT}` = '{without_quotes(parent)}'")
    elif not trials:
        parts.append(f"tags.`{layout.TAG_PARENT}` IS NULL")
    if condition and condition.strip():
        if not _KINDS.search(condition):
            raise UsageError(
                f"the filter must compare metrics.NAME, params.NAME or tags.NAME, as in metrics.val_loss < 0.3, "
                f"got {condition[:MAX_TEXT]}"
            )
        parts.append(condition.strip())
    return " and ".join(parts)


def in_parts(record_ids: Iterable[str], most: int = 100) -> Iterator[list[str]]:
    """Yield ids, each once, in parts that a condition or a statement can name."""
    unique = list(dict.fromkeys(record_ids))
    for start in range(0, len(unique), most):
        yield unique[start : start + most]


def any_of(record_ids: Iterable[str]) -> str:
    """Return the condition for MLflow's ids, without the name of the field."""
    return "IN (" + ", ".join(f"'{without_quotes(record_id)}'" for record_id in record_ids) + ")"


def order_clauses(sort: str) -> list[str]:
    """Translate ``-val_loss`` to MLflow's ``metrics.`val_loss` DESC``."""
    name = sort.strip().lstrip("-+")
    direction = "DESC" if sort.strip().startswith("-") else "ASC"
    if not name:
        raise UsageError(f"sort must be one of {', '.join(_ORDERS)} or a metric's name, got {sort!r}")
    column = _ORDERS.get(name) or f"metrics.`{layout.key_of(name.removeprefix('metrics.'))}`"
    newest = [] if name == "started" else ["attributes.start_time DESC"]
    return [f"{column} {direction}", *newest]


def without_quotes(text: str) -> str:
    """Make a text fit between quotes of a LIKE pattern: what could end or widen it stands for any character."""
    return re.sub(r"[^\w\-. :/@+,()\[\]#=]", "_", text[:MAX_TEXT])


def _state(state: RunState | str) -> RunState:
    if isinstance(state, RunState):
        return state
    try:
        return RunState(state.lower())
    except ValueError:
        known = ", ".join(one.value for one in RunState)
        raise UsageError(f"state must be one of {known}, got {state[:MAX_TEXT]}") from None
