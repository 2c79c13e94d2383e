"""The store as Python code opens it: what its verbs say is wrong names keywords, not the flags of a magic's line."""

from __future__ import annotations

from hops_magic.features import VERBS, store
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


for _verb in VERBS:
    setattr(FeatureStore, _verb, told_in_python(getattr(store.FeatureStore, _verb)))
