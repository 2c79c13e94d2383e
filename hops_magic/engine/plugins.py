"""Bring the engine's plugins to a cluster."""

from __future__ import annotations

from distributed import Client

from hops_magic.engine.placement import Placement
from hops_magic.engine.rank_host import RankHost
from hops_magic.errors import ClusterError


def install(client: Client) -> None:
    """Register placement on the scheduler and a rank host on every worker, present and future; again is harmless.

    Raises
    ------
    ClusterError
        If the cluster's Python environment has no hops_magic.
    """
    try:
        client.register_plugin(Placement())
        client.register_plugin(RankHost())
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the cluster's Python lacks {error.name}: install hops_magic where the scheduler and the workers run"
        ) from error
