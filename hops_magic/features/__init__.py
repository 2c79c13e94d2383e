"""The feature store: groups of features in a lake of tables, found and joined by name.

``hops.features.get("average_attendance", "average_player_age")`` and the other verbs are those of one
:class:`~hops_magic.features.store.FeatureStore`, which is opened where the environment says when first used.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hops_magic.features.exchange import export_file as export_file
    from hops_magic.features.exchange import import_file as import_file
    from hops_magic.features.rules import Rule as Rule
    from hops_magic.features.store import FeatureStore as FeatureStore
    from hops_magic.features.store import request_of as request_of
    from hops_magic.lineage import used_by as used_by

VERBS = frozenset(
    {
        "create_dataset",
        "dataset",
        "dataset_drift",
        "datasets",
        "delete_dataset",
        "delete_rows",
        "diff",
        "drift",
        "drop",
        "edit",
        "explain",
        "get",
        "group",
        "groups",
        "history",
        "quarantined",
        "read_dataset",
        "recreate_dataset",
        "save",
        "search",
        "statistics",
        "versions",
    }
)
# name -> module that has it
_HOMES = {
    "FeatureStore": "hops_magic.features.python_store",
    "Rule": "hops_magic.features.rules",
    "export_file": "hops_magic.features.exchange",
    "import_file": "hops_magic.features.exchange",
    "request_of": "hops_magic.features.store",
    "used_by": "hops_magic.lineage",
}


@functools.cache
def default_store() -> FeatureStore:
    """Return the store of this process, opened where the environment says.

    Raises
    ------
    StoreError
        If it cannot be opened.
    """
    from hops_magic.features.python_store import FeatureStore

    return FeatureStore()


if TYPE_CHECKING:
    _store = default_store()
    create_dataset = _store.create_dataset
    dataset = _store.dataset
    dataset_drift = _store.dataset_drift
    datasets = _store.datasets
    delete_dataset = _store.delete_dataset
    delete_rows = _store.delete_rows
    diff = _store.diff
    drift = _store.drift
    drop = _store.drop
    edit = _store.edit
    explain = _store.explain
    get = _store.get
    group = _store.group
    groups = _store.groups
    history = _store.history
    quarantined = _store.quarantined
    read_dataset = _store.read_dataset
    recreate_dataset = _store.recreate_dataset
    save = _store.save
    search = _store.search
    statistics = _store.statistics
    versions = _store.versions


def __getattr__(name: str) -> Any:
    if name in VERBS:
        return getattr(default_store(), name)
    if name in _HOMES:
        from hops_magic.features.python_words import told_in_python

        found = getattr(importlib.import_module(_HOMES[name]), name)
        return found if isinstance(found, type) else told_in_python(found)
    raise AttributeError(f"module 'hops_magic.features' has no attribute {name!r}")
