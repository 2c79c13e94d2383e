"""Ends that come at a bad moment: at a start, a birth, beside a viewer, with a supervisor; and who still knows of them."""

import contextlib
import functools
import os
import signal

import numpy as np
import psutil
import pytest
from distributed import Client
from waiting import wait_until
from watching import job_of, nothing_is_left, until

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine import submit as submit_module
from hops_magic.engine.channel import Follower
from hops_magic.engine.job import StudyJob
from hops_magic.engine.placement import TASK_PREFIX
from hops_magic.engine.submit import attach, cluster_state, live_runs
from hops_magic.errors import RunFailedError, RunStoppedError
from hops_magic.runs import events as ev
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study
from hops_magic.training import Surroundings, collect, follow, prepare


@contextlib.contextmanager
def frozen_warm_processes(cluster):
    """The workers' warm processes answer nobody, as those that still import do."""
    pids = set(cluster.client.run(lambda dask_worker: dask_worker.plugins["hops-rank-host"].nursery.pid).values())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_run_is_stopped_while_its_processes_are_being_born(launch, cluster, home):
    with frozen_warm_processes(cluster) as warm:
        handle = launch("while True: pass", workers=2)
        until(handle, lambda run: run.state is RunState.STARTING)
        handle.stop()
        with pytest.raises(RunStoppedError, match="stopped by the user"):
            collect(handle, {}, follow(handle))
    wait_until(lambda: nothing_is_left(cluster, home), "clean-up")
    wait_until(lambda: not any(psutil.Process(pid).children() for pid in warm), "the end of what was born too late")


def test_a_run_that_is_cleaned_away_leaves_no_rank_behind(launch, cluster, home):
    handle = launch("while True: pass", workers=1)
    run = until(handle, lambda run: run.state is RunState.RUNNING)
    # as a supervisor does that ends by an error of its own
    cluster.client.sync(cluster.client.scheduler.broadcast, msg={"op": "hops_clean", "run_id": handle.run_id})
    wait_until(lambda: not psutil.pid_exists(run.ranks[0].pid), "the end of the rank")
    handle.stop()
    with pytest.raises(RunStoppedError):
        collect(handle, {}, follow(handle))


def test_an_interrupted_run_that_is_slow_to_end_is_not_forgotten(launch, cluster, monkeypatch):
    source = "import hops_magic as hops, time\nwhile not hops.should_stop(): time.sleep(0.02)\nanswer = 'so far'"
    monkeypatch.setattr("hops_magic.training.INTERRUPT_GRACE_S", 0.0)
    handle = launch(source, workers=1)
    until(handle, lambda run: run.state is RunState.RUNNING)
    interrupts = iter([KeyboardInterrupt])

    def show(_):
        for interrupt in interrupts:
            raise interrupt

    with pytest.raises(RunStoppedError, match=f"is still stopping: %attach {handle.run_id}"):
        follow(handle, show)
    namespace = {}
    again = attach(cluster.client, handle.run_id)
    assert collect(again, namespace, follow(again)).run.state is RunState.STOPPED
    assert namespace["answer"] == "so far"


def test_a_run_that_nobody_waits_for_keeps_its_slots_until_its_end(launch, cluster, home):
    handle = launch("while True: pass", workers=2)
    until(handle, lambda run: run.state is RunState.RUNNING)
    handle.forget()
    tasks = functools.partial(cluster.client.run_on_scheduler, lambda dask_scheduler: list(dask_scheduler.tasks))
    wait_until(
        lambda: not any(key.startswith(TASK_PREFIX + handle.run_id) for key in tasks()),
        "Dask's forgetting of the supervisor's task",
    )
    assert handle.run_id in cluster_state(cluster.client)["held"]
    handle.stop()
    wait_until(lambda: nothing_is_left(cluster, home), "clean-up")


@pytest.mark.parametrize("broken", ["described", "Follower.open", "Client.publish_dataset"])
def test_a_start_that_is_interrupted_leaves_nothing(broken, launch, cluster, home, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    places = {"described": submit_module, "Follower": Follower, "Client": Client}
    owner, _, name = broken.rpartition(".")
    monkeypatch.setattr(places[owner or name], name, interrupted)
    namespace = {"data": np.zeros(1_000_000)}
    with pytest.raises(KeyboardInterrupt):
        launch("while True: data", namespace, workers=2)
    wait_until(lambda: nothing_is_left(cluster, home), "clean-up")
    wait_until(lambda: all(run.is_final for run in live_runs(cluster.client)), "the end of the run")


def test_a_run_waits_for_a_worker_that_is_started_again(run_cell, cluster):
    state = cluster_state(cluster.client)
    lost = next(iter(state["slots"]))
    os.kill(cluster.client.run(os.getpid, workers=[lost])[lost], signal.SIGKILL)
    wait_until(lambda: lost not in cluster_state(cluster.client)["slots"], "the worker's death")
    namespace = {}
    run_cell("answer = 4", namespace, workers=4)
    assert namespace["answer"] == 4


def test_a_viewer_that_missed_something_asks_for_it(launch, cluster, tmp_path):
    source = """
import pathlib, time
import hops_magic as hops
for step in range(1, 31):
    hops.report(step=step, loss=1.0 / step)
while not pathlib.Path(go).exists():
    time.sleep(0.02)
hops.report(step=31, loss=0.0)
while not hops.should_stop():
    time.sleep(0.02)
"""
    go = tmp_path / "go"
    handle = launch(source, {"go": str(go)}, workers=1)
    viewer = attach(cluster.client, handle.run_id)
    viewer.follower.close()
    until(handle, lambda run: run.latest.get("loss") == 1.0 / 30)
    viewer.follower._subscribe()
    go.touch()
    run = until(viewer, lambda run: run.latest.get("loss") == 0.0)
    (curve,) = run.curves.values()
    assert curve.steps == tuple(range(1, 32))
    handle.stop()
    collect(handle, {}, follow(handle))


def test_a_supervisor_that_takes_over_gives_out_new_numbers(cluster):
    scheduler, sync = cluster.client.scheduler, cluster.client.sync
    known = {"run_id": "numbered", "info": {"name": "n", "experiment": "e", "world_size": 1, "created_at": 0.0}}
    sync(scheduler.hops_submitted, **known, snapshot=b"first", task="hops-run-numbered/0")
    said = [ev.to_wire(ev.Warned(message="careful"))] * 5_000
    sync(scheduler.hops_publish, run_id="numbered", sequence=5_000, events=said, snapshot=b"")
    left = sync(scheduler.hops_register, **known, supervisor="tcp://nobody")
    sync(scheduler.hops_forget, run_id="numbered")
    assert (left["sequence"], left["snapshot"]) == (5_000, b"first")


def test_a_run_without_restarts_is_not_executed_twice_when_its_supervisors_worker_dies(launch, cluster, tmp_path):
    log = tmp_path / "executions"
    source = "import pathlib, time\npathlib.Path(log).open('a').write('x')\nwhile True: time.sleep(0.05)"
    handle = launch(source, {"log": str(log)}, workers=1, restarts=0)
    until(handle, lambda run: run.state is RunState.RUNNING)
    wait_until(log.exists, "the first execution")
    supervisor = cluster.client.sync(cluster.client.scheduler.hops_snapshot, run_id=handle.run_id)["supervisor"]
    os.kill(cluster.client.run(os.getpid, workers=[supervisor])[supervisor], signal.SIGKILL)
    with pytest.raises(RunFailedError, match=r"the supervisor's worker died$"):
        collect(handle, {}, follow(handle))
    assert log.read_text() == "x"
    wait_until(lambda: len(cluster_state(cluster.client)["slots"]) == 4, "the worker's return")


def test_a_timeout_in_the_queue_is_told(launch):
    first = launch("import time, hops_magic as hops\nwhile not hops.should_stop(): time.sleep(0.02)", workers=4)
    until(first, lambda run: run.state is RunState.RUNNING)
    second = launch("1", workers=2, timeout=0.2)
    with pytest.raises(RunFailedError, match=r"ended by --timeout 0\.2 while it waited for slots"):
        collect(second, {}, follow(second))
    first.stop()
    collect(first, {}, follow(first))


def test_a_study_that_ended_and_was_never_fetched_is_conducted_again(cluster, tmp_path):
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=1), folder=tmp_path)
    prepared = prepare("1", {}, DistributedOptions(workers=1, framework="none"), surroundings)
    trial = job_of(prepared, "unfetched")

    def conducted(reason):
        async def conduct(services):
            return ev.StateChanged(at=1.0, state=RunState.DONE, reason=reason)

        job = StudyJob(beginning=Study(run_id="unfetched", name="unfetched"), trial=trial, conduct=conduct)
        handle = submit_module.submit_study(cluster.client, job, {})
        summaries = handle.follower.updates(0.05)
        wait_until(lambda: next(summaries).state.is_final, "the end of the study")
        return handle

    assert conducted("the first time").follower.run.reason == "the first time"
    again = conducted("the second time")
    assert again.follower.run.reason == "the second time"
    again.forget()


def test_a_viewer_hears_of_an_end_that_was_told_before_its_subscription_began(launch, monkeypatch):
    # the subscription and the question what has been go different ways: neither is sure to come first
    monkeypatch.setattr(Follower, "on_batch", lambda self, batch: None)
    handle = launch("1", workers=1)
    assert follow(handle).state is RunState.DONE


def test_names_bound_before_an_error_come_back_with_it(launch):
    namespace = {"seen": [1]}
    source = "found = 41\nseen.append(2)\nraise RuntimeError('on purpose')\nnever = 1"
    handle = launch(source, namespace, workers=2)
    seen = namespace["seen"]
    with pytest.raises(RunFailedError, match="on purpose"):
        collect(handle, namespace, follow(handle))
    assert namespace["found"] == 41
    assert namespace["seen"] is seen
    assert seen == [1, 2]
    assert "never" not in namespace


def test_names_bound_before_a_plain_exit_come_back(launch):
    namespace = {}
    handle = launch("import sys\nfound = 41\nsys.exit()", namespace, workers=1)
    assert collect(handle, namespace, follow(handle)).run.state is RunState.DONE
    assert namespace["found"] == 41


def test_a_stop_that_makes_the_code_raise_is_a_stop_whose_names_come_back(launch):
    namespace = {}
    source = (
        "import hops_magic as hops, time\nfound = 41\nhops.report(ready=1.0)\n"
        "while not hops.should_stop(): time.sleep(0.02)\nraise ValueError('stopped')"
    )
    handle = launch(source, namespace, workers=1)
    until(handle, lambda run: run.curves)
    handle.stop()
    with pytest.raises(RunStoppedError, match="stopped by the user"):
        collect(handle, namespace, follow(handle))
    assert namespace["found"] == 41
