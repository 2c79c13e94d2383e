"""Clusters that lose all their workers: what was running goes on when one is back, and can be stopped while none is."""

import os
import signal
import time

import pytest
from clusters import worker_processes
from waiting import wait_until

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine.cluster import Clusters
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.states import RunState
from hops_magic.training import Surroundings, collect, follow, prepare, start

SOURCE = """
import pathlib, time
log = pathlib.Path(place)
first = not log.exists()
log.open('a').write('x')
while first: time.sleep(0.05)
answer = 'second'
"""


@pytest.fixture
def lonely(home, tmp_path):
    """A cluster of two workers of its own."""
    with worker_processes(2, home, tmp_path / "scratch") as cluster:
        clusters = Clusters()
        clusters.use(cluster)
        yield clusters.current(start=False)


def begun(cluster, tmp_path, **options):
    namespace = {"place": str(tmp_path / "log")}
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
    prepared = prepare(SOURCE, namespace, DistributedOptions(workers=1, framework="none", **options), surroundings)
    handle = start(cluster, prepared)
    wait_until((tmp_path / "log").exists, "the first execution")
    return handle, namespace


def kill_all(cluster):
    for pid in cluster.client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)


def test_a_run_goes_on_after_all_workers_died_at_once(lonely, tmp_path):
    handle, namespace = begun(lonely, tmp_path, restarts=2)
    kill_all(lonely)
    run = follow(handle)
    collect(handle, namespace, run)
    assert namespace["answer"] == "second"
    assert (tmp_path / "log").read_text() == "xx"
    assert run.restarts == ("the supervisor's worker died",)


def test_a_stop_ends_a_run_whose_workers_have_all_died(lonely, tmp_path):
    handle, _ = begun(lonely, tmp_path, restarts=2)
    kill_all(lonely)
    wait_until(lambda: not lonely.client.scheduler_info()["workers"], "the death of all workers")
    asked_at = time.monotonic()
    handle.stop()
    run = follow(handle)
    assert (run.state, run.reason) == (RunState.STOPPED, "stopped by the user")
    assert time.monotonic() - asked_at < 10
    assert not lonely.status().runs
