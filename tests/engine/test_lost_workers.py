"""Clusters that lose all their workers: what was running goes on when one is back, and can be stopped while none is."""

import os
import secrets
import signal
import time
from dataclasses import replace

import pytest
from clusters import worker_processes
from waiting import wait_until

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine.attempt import Verdict
from hops_magic.engine.cluster import Clusters
from hops_magic.engine.job import Job, run_folder
from hops_magic.engine.journal import Journal, read_journal
from hops_magic.engine.supervisor import recall
from hops_magic.errors import ClusterError
from hops_magic.runs.events import RankExited, Restarted, ResultReady, StateChanged, to_wire
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


@pytest.fixture
def lean(home, tmp_path):
    """A cluster of one worker of its own, and the object that scales it."""
    with worker_processes(1, home, tmp_path / "scratch") as cluster:
        clusters = Clusters()
        clusters.use(cluster)
        yield clusters.current(start=False), cluster


def begun(cluster, tmp_path, **options):
    namespace = {"place": str(tmp_path / "log")}
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=tmp_path)
    prepared = prepare(SOURCE, namespace, DistributedOptions(workers=1, framework="none", **options), surroundings)
    handle = start(cluster, prepared)
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and log.read_text(), "the first execution")
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


def test_a_run_goes_on_after_its_only_worker_was_retired(lean, tmp_path):
    cluster, dask_cluster = lean
    handle, namespace = begun(cluster, tmp_path, restarts=2)
    dask_cluster.scale(0)
    wait_until(lambda: not cluster.client.scheduler_info()["workers"], "the worker to be gone")
    dask_cluster.scale(1)
    run = follow(handle)
    journal = list(read_journal(run_folder(run.run_id)))
    # values that nobody could be asked for would be waited for in vain
    dask_cluster.scale(0)
    wait_until(lambda: not cluster.client.scheduler_info()["workers"], "the worker to be gone")
    with pytest.raises(ClusterError, match="whose workers have left the cluster"):
        handle.fetch(replace(handle.result(), path=str(tmp_path / "elsewhere")), tmp_path)
    collect(handle, namespace, run)
    assert namespace["answer"] == "second"
    assert (tmp_path / "log").read_text() == "xx"
    # the supervisor that had to leave has not told of an end, nor begun again, on its own
    assert run.restarts == ("the supervisor's worker died",)
    assert [event.attempt for event in journal if isinstance(event, Restarted)] == [1]
    assert [event.state for event in journal if isinstance(event, StateChanged) and event.state.is_final] == [RunState.DONE]


def test_an_earlier_supervisor_is_not_heard(cluster):
    schedule = cluster.client.scheduler
    told = {"run_id": "two-of-them", "supervisor": "nowhere", "info": {"name": "x", "experiment": "x", "created_at": 0.0}}
    first, second = (cluster.client.sync(schedule.hops_register, **told)["term"] for _ in range(2))
    say = {"run_id": "two-of-them", "sequence": 1, "events": [], "snapshot": b"", "result": {}}
    assert cluster.client.sync(schedule.hops_publish, **say, term=first) == "superseded"
    assert cluster.client.sync(schedule.hops_release, run_id="two-of-them", term=first) == "superseded"
    assert cluster.client.sync(schedule.hops_publish, **say, term=second) == "OK"
    cluster.client.sync(schedule.hops_forget, run_id="two-of-them")


def ended_as(*events):
    """Write the journal of a run of two ranks as a supervisor left it that died; return what the next one makes of it."""
    job = Job(
        run_id=secrets.token_hex(4), name="x", experiment="x", program=None, options=DistributedOptions(workers=2),
        framework="none", strategy="none", seed=1, created_at=1.0,
    )  # fmt: skip
    journal = Journal(job.home)
    journal.write([to_wire(event) for event in events])
    journal.close()
    return recall(job, job.beginning())


RUNS = StateChanged(state=RunState.RUNNING)


def test_a_run_whose_ranks_had_all_ended_is_not_run_again():
    exits = [RankExited(rank=rank, attempt=0, code=0) for rank in range(2)]
    result = ResultReady(names=("answer",), size_bytes=1)
    run, end = ended_as(RUNS, result, *exits)
    assert (end.verdict, run.result) == (Verdict.DONE, result)
    assert ended_as(RUNS, exits[0])[1] is None
    assert ended_as(RUNS, exits[0], replace(exits[1], code=-9, reason="was killed"))[1] is None
    assert ended_as(RUNS, *exits, Restarted(attempt=1, reason="a worker died"), RUNS, exits[0])[1] is None


def test_an_end_that_was_written_but_not_told_is_told():
    run, end = ended_as(RUNS, StateChanged(state=RunState.FAILED, reason="ended by --timeout 3"))
    assert (end.verdict, end.reason) == (Verdict.FAILED, "ended by --timeout 3")
    assert not run.state.is_final


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
