"""A real Dask cluster with worker processes, for the tests of a folder."""

import contextlib

import dask
from distributed import LocalCluster

CONFIG = {
    "distributed.worker.daemon": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    # tests kill workers; their nannies start them anew, however long that takes
    "distributed.deploy.lost-worker-timeout": "10 minutes",
}


@contextlib.contextmanager
def worker_processes(count, home, scratch):
    """Workers of one thread each, whose ``HOPS_HOME`` is ``home``, those that are started anew included."""
    with (
        dask.config.set({**CONFIG, "temporary-directory": str(scratch)}),
        LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=None, memory_limit=0, env={"HOPS_HOME": str(home)}
        ) as cluster,
    ):
        yield cluster
