"""What endpoints work with: the stores, the cluster, and who is told of changes."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from hops_magic.api.changes import Changes
from hops_magic.api.libraries import import_shared
from hops_magic.api.live import LiveRuns
from hops_magic.api.looking import Looker
from hops_magic.errors import NotFoundError
from hops_magic.session import Session

if TYPE_CHECKING:
    from hops_magic.api.following import Viewers
    from hops_magic.engine.cluster import Cluster
    from hops_magic.features.store import FeatureStore
    from hops_magic.registry import Registry


class Context:
    """One per server, or per kernel that shows boards.

    Parameters
    ----------
    session : Session
        A kernel's own, so that its boards see the cluster that it uses; a server has one of its own.
    """

    def __init__(self, session: Session) -> None:
        import_shared()
        self.session = session
        self.changes = Changes()
        # a connection to a cluster is made for one user at a time
        self.cluster_lock = threading.RLock()
        self._opening = threading.Lock()
        self.live = LiveRuns(self)
        self.looker = Looker(self)

    @property
    def features(self) -> FeatureStore:
        """The feature store; each read opens an engine of its own."""
        return self.session.features

    @property
    def registry(self) -> Registry:
        """Experiments, runs and models."""
        # a panel that opens asks several things at once, and the tables are made once
        with self._opening:
            return self.session.registry

    @functools.cached_property
    def viewers(self) -> Viewers:
        """The pages that show a run."""
        from hops_magic.api.following import Viewers

        return Viewers()

    def cluster(self) -> Cluster | None:
        """Return the cluster in use, or the user's own if it runs; none is started."""
        with self.cluster_lock:
            try:
                return self.session.clusters.current(start=False)
            except NotFoundError:
                return None

    def close(self) -> None:
        """Leave the cluster and whatever is followed."""
        self.looker.close()
        self.live.close()
        if "clusters" in self.session.__dict__:
            self.session.clusters.close()
