"""The cluster in use from Python: ``hops.cluster.scale(4)``. The same as ``%cluster``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hops_magic.engine.cluster import Cluster, Clusters
    from hops_magic.engine.status import ClusterStatus

__all__ = ["connect", "current", "scale", "start", "status", "stop", "use"]


def status() -> ClusterStatus:
    """Tell workers, slots, GPUs and runs of the cluster in use.

    Raises
    ------
    NotFoundError
        If none is running.
    """
    return _clusters().current(start=False).status()


def current() -> Cluster:
    """Return the cluster in use, or the embedded one, which is started if need be."""
    return _clusters().current()


def start(workers: int | None = None, threads: int | None = None) -> Cluster:
    """Start the embedded cluster, or turn back to it; None: as many workers and threads each as the machine suggests."""
    return _clusters().start(workers, threads)


def scale(workers: int) -> Cluster:
    """Change the number of workers."""
    return _clusters().scale(workers)


def stop(*, force: bool = False) -> bool:
    """End the embedded cluster, or leave the one in use if it is another; False if there was none.

    Parameters
    ----------
    force
        End it even while runs are going on.
    """
    return _clusters().stop(force)


def connect(place: str, tls_ca: str | None = None, tls_cert: str | None = None, tls_key: str | None = None) -> Cluster:
    """Use the cluster at an address, such as ``tls://host:8786``, or behind a scheduler file."""
    return _clusters().connect(place, tls_ca, tls_cert, tls_key)


def use(thing: Any) -> Cluster:
    """Use a ``distributed.Client``, or any cluster object that gives one."""
    return _clusters().use(thing)


def _clusters() -> Clusters:
    from hops_magic.session import session

    return session().clusters
