"""Facts about runs on a cluster, to be waited for."""

from pathlib import Path

import psutil

from hops_magic.engine.submit import cluster_state


def until(handle, fact):
    """Follow a run until a fact about its summary is true."""
    for run in handle.follower.updates(0.05):
        if fact(run):
            return run
    raise AssertionError(f"the run ended before: {handle.follower.run}")


def nothing_is_left(cluster, home, pids=()):
    """No slot, process, socket or buffer of any run is left."""
    state = cluster_state(cluster.client)
    nodes = {Path(node["node_dir"]) for node in state["nodes"].values()}
    return (
        not state["held"]
        and not state["queue"]
        and not any(psutil.pid_exists(pid) for pid in pids)
        and not any(list(node.iterdir()) for node in nodes if node.exists())
    )
