"""What tests do with studies on a cluster: follow them, find their processes, kill workers."""

from __future__ import annotations

import os
import signal

import psutil
from waiting import wait_until

EPOCHS = """
import time
import hops_magic as hops
for step in range(1, epochs + 1):
    hops.report(step=step, loss=x + 1 / step)
    time.sleep(pause)
"""
"""A cell that reports a loss in each of its epochs."""


def until(handle, fact):
    """Follow a study until a fact about its summary is true."""
    for study in handle.follower.updates(0.05):
        if fact(study):
            return study
    raise AssertionError(f"the study ended before: {handle.follower.run.state} {handle.follower.run.reason}")


def kill_worker(session, address):
    client = session.clusters.current().client
    pid = client.run(os.getpid, workers=[address])[address]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid), "the worker's death")


def supervisor_of(session, handle):
    client = session.clusters.current().client
    return client.sync(client.scheduler.hops_snapshot, run_id=handle.run_id)["supervisor"]


def ranks_of(session):
    """Processes that ranks or those that stand by run in: children of the workers' warm processes."""
    pids = session.clusters.current().client.run(os.getpid).values()
    warm = [child for pid in pids for child in psutil.Process(pid).children()]
    return [rank for process in warm for rank in process.children()]
