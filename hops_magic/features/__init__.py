"""The feature store: groups of features in a lake of tables, found and joined by name.

``hops.features.get("average_attendance", "average_player_age")`` and the other verbs are those of one
:class:`~hops_magic.features.store.FeatureStore`, which is opened where the environment says when first used.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hops_magic.features.store import FeatureStore

_VERBS = frozenset(
    {
        "delete_rows",
        "diff",
        "drift",
        "drop",
        "edit",
        "get",
        "group",
        "groups",
        "history",
        "quarantined",
        "save",
        "search",
        "statistics",
        "versions",
    }
)


@functools.cache
def default_store() -> FeatureStore:
    """Return the store of this process, opened where the environment says.

    Raises
    ------
    StoreError
        If it cannot be opened.
    """
    from hops_magic.features.store import FeatureStore

    return FeatureStore()


if TYPE_CHECKING:
    _store = default_store()
    delete_rows = _store.delete_rows
    diff = _store.diff
    drift = _store.drift
    drop = _store.drop
    edit = _store.edit
    get = _store.get
    group = _store.group
    groups = _store.groups
    history = _store.history
    quarantined = _store.quarantined
    save = _store.save
    search = _store.search
    statistics = _store.statistics
    versions = _store.versions


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(default_store(), name)
    if name == "FeatureStore":
        from hops_magic.features.store import FeatureStore

        return FeatureStore
    raise AttributeError(f"module 'hops_magic.features' has no attribute {name!r}")
