"""The store as Python code opens it: what its verbs say is wrong names keywords, not the flags of a magic's line."""

from __future__ import annotations

from hops_magic.features import store
from hops_magic.features.python_words import told_in_python


class FeatureStore(store.FeatureStore):
    """Feature groups in a lake of tables, found and joined by name.

    Parameters
    ----------
    settings : FeatureSettings, optional
        Where it is; by default as the environment says.
    clock : callable, optional
        Returns the time, with its zone.

    Raises
    ------
    StoreError
        If the catalog cannot be opened.

    Examples
    --------
    >>> store = hops.features.FeatureStore()
    >>> store.save({"team_id": [1, 2], "town": ["Ulm", "Bern"]}, "teams", key="team_id")
    >>> store.get("town")
    """

    create_dataset = told_in_python(store.FeatureStore.create_dataset)
    dataset = told_in_python(store.FeatureStore.dataset)
    dataset_drift = told_in_python(store.FeatureStore.dataset_drift)
    datasets = told_in_python(store.FeatureStore.datasets)
    delete_dataset = told_in_python(store.FeatureStore.delete_dataset)
    delete_rows = told_in_python(store.FeatureStore.delete_rows)
    diff = told_in_python(store.FeatureStore.diff)
    drift = told_in_python(store.FeatureStore.drift)
    drop = told_in_python(store.FeatureStore.drop)
    edit = told_in_python(store.FeatureStore.edit)
    explain = told_in_python(store.FeatureStore.explain)
    get = told_in_python(store.FeatureStore.get)
    group = told_in_python(store.FeatureStore.group)
    groups = told_in_python(store.FeatureStore.groups)
    history = told_in_python(store.FeatureStore.history)
    quarantined = told_in_python(store.FeatureStore.quarantined)
    read_dataset = told_in_python(store.FeatureStore.read_dataset)
    recreate_dataset = told_in_python(store.FeatureStore.recreate_dataset)
    save = told_in_python(store.FeatureStore.save)
    search = told_in_python(store.FeatureStore.search)
    statistics = told_in_python(store.FeatureStore.statistics)
    versions = told_in_python(store.FeatureStore.versions)
