"""Runs as the tests of the engine look at them: facts to be waited for, and jobs without a cluster."""

from pathlib import Path

import psutil

from hops_magic.engine.job import Job
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


def job_of(prepared, run_id):
    """The job of a prepared run of plain Python, to be given to a part of the engine directly."""
    return Job(
        run_id=run_id,
        name=run_id,
        experiment="default",
        program=prepared.captured.program,
        options=prepared.options,
        framework="none",
        strategy="none",
        seed=0,
        created_at=0.0,
    )
