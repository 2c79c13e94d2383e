"""Runs of plain Python on a real cluster: results, errors, faults, stops, queues; and that nothing is left behind."""

import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
from waiting import wait_until
from watching import nothing_is_left, until

from hops_magic.engine.submit import attach, cluster_state, live_runs
from hops_magic.errors import OptionError, RunFailedError, RunStoppedError
from hops_magic.runs.states import RunState
from hops_magic.training import collect, follow


def test_values_go_in_and_come_back(run_cell):
    namespace = {"x": 20, "double": lambda v: 2 * v}
    trained = run_cell("import hops_magic as hops\ny = double(x) + hops.world_size\ny", namespace, workers=2)
    assert namespace["y"] == 42
    assert (trained.value, trained.has_value) == (42, True)
    assert trained.run.state is RunState.DONE


def test_large_arrays_are_mapped_and_results_come_back_out_of_band(run_cell):
    data = np.random.default_rng(0).normal(size=(1_000_000,))
    namespace = {"data": data}
    run_cell("total = data.sum()\nscaled = data * 2", namespace, workers=2)
    assert namespace["total"] == data.sum()
    np.testing.assert_array_equal(namespace["scaled"], data * 2)


def test_ranks_reduce_and_gather_without_tensorflow(run_cell):
    namespace = {}
    source = """
import sys
import hops_magic as hops
total = hops.all_reduce(hops.rank + 1, "sum")
seen = hops.gather(hops.rank)
hops.barrier()
"""
    run_cell(source, namespace, workers=3)
    assert namespace["total"] == 6
    assert list(namespace["seen"]) == [0, 1, 2]


def test_output_of_each_rank_arrives(run_cell):
    trained = run_cell(
        "import hops_magic as hops, os, sys\nprint('hello from', hops.rank)\nos.write(2, b'low level')", workers=2
    )
    for rank in (0, 1):
        text = trained.run.ranks[rank].output
        assert ("stdout", f"hello from {rank}\n") in text
        assert any(stream == "stderr" and "low level" in part for stream, part in text)


def test_an_error_on_every_rank_is_one_traceback_at_the_cells_line(run_cell):
    began = time.monotonic()
    with pytest.raises(RunFailedError) as raised:
        run_cell("x = 1\n\n\n1 / 0", workers=3)
    text = str(raised.value)
    assert "ZeroDivisionError" in text
    assert "line 5" in text  # the magic's line is the first
    assert text.count("Traceback") == 1
    assert "ranks 0-2" in text
    assert time.monotonic() - began < DEADLINE


DEADLINE = 30


def test_an_error_on_one_rank_names_it_and_ends_the_others(run_cell, cluster, home):
    source = """
import hops_magic as hops
if hops.rank == 1:
    raise ValueError("only here")
hops.barrier()
"""
    with pytest.raises(RunFailedError, match="only here") as raised:
        run_cell(source, workers=2)
    assert "rank 1" in str(raised.value)
    assert "PeerLost" not in str(raised.value)
    wait_until(lambda: nothing_is_left(cluster, home), "clean-up")


def test_ranks_that_disagree_about_collectives_are_told_so(run_cell):
    source = """
import hops_magic as hops
if hops.rank == 0:
    hops.all_reduce(1.0)
"""
    with pytest.raises(RunFailedError, match="all_reduce"):
        run_cell(source, workers=2)


def test_a_killed_rank_is_named_and_the_run_starts_again(launch, cluster, home):
    source = """
import time, pathlib
import hops_magic as hops
mark = pathlib.Path(hops.checkpoint_dir) / "user"
mark.mkdir(exist_ok=True)
first = not (mark / f"seen{hops.rank}").exists()
(mark / f"seen{hops.rank}").touch()
hops.report(ready=1.0)
while first:
    time.sleep(0.05)
answer = "second attempt"
"""
    namespace = {}
    handle = launch(source, namespace, workers=2, restarts=1)
    run = until(handle, lambda run: len(run.curves) == 2)
    killed_at = time.time()
    os.kill(run.ranks[1].pid, signal.SIGKILL)
    run = until(handle, lambda run: run.restarts)
    assert run.restarts == ("rank 1 was killed by SIGKILL",)
    assert time.time() - killed_at < 5
    trained = collect(handle, namespace, follow(handle))
    assert namespace["answer"] == "second attempt"
    assert trained.run.attempt == 1
    pids = [rank.pid for rank in trained.run.ranks.values()]
    wait_until(lambda: nothing_is_left(cluster, home, pids), "clean-up")


def test_a_rank_killed_too_often_fails_the_run_with_the_reason(launch):
    handle = launch("import time\nwhile True: time.sleep(0.05)", workers=2, restarts=0)
    run = until(handle, lambda run: run.state is RunState.RUNNING)
    os.kill(run.ranks[0].pid, signal.SIGKILL)
    with pytest.raises(RunFailedError, match="rank 0 was killed by SIGKILL"):
        collect(handle, {}, follow(handle))


def test_a_hung_rank_is_named_within_five_seconds(launch):
    handle = launch("import time\nwhile True: time.sleep(0.05)", workers=2, restarts=0)
    run = until(handle, lambda run: run.state is RunState.RUNNING)
    os.kill(run.ranks[1].pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    with pytest.raises(RunFailedError, match="rank 1 hung"):
        collect(handle, {}, follow(handle))
    assert time.monotonic() - stopped_at < 7


def test_stop_ends_every_rank_and_its_children(launch, cluster, home):
    source = """
import subprocess, time
import hops_magic as hops
child = subprocess.Popen(["sleep", "1000"])
hops.report(child=child.pid)
while True:
    time.sleep(0.05)
"""
    handle = launch(source, workers=2)
    run = until(handle, lambda run: len(run.curves) == 2)
    children = [int(curve.values[-1]) for curve in run.curves.values()]
    began = time.monotonic()
    handle.stop()
    with pytest.raises(RunStoppedError, match="stopped by the user"):
        collect(handle, {}, follow(handle))
    assert time.monotonic() - began < 6
    pids = [*children, *(rank.pid for rank in run.ranks.values())]
    wait_until(lambda: nothing_is_left(cluster, home, pids), "clean-up")


def test_what_a_rank_had_started_ends_with_its_run_although_its_worker_was_killed(launch, cluster, home):
    source = """
import subprocess, time
import hops_magic as hops
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
hops.report(child=child.pid)
while True:
    time.sleep(0.05)
"""
    handle = launch(source, workers=2, restarts=0)
    run = until(handle, lambda run: len(run.curves) == 2)
    children = [int(curve.values[-1]) for curve in run.curves.values()]
    supervisor = cluster.client.sync(cluster.client.scheduler.hops_snapshot, run_id=handle.run_id)["supervisor"]
    address = next(rank.worker for rank in run.ranks.values() if rank.worker != supervisor)
    os.kill(cluster.client.run(os.getpid, workers=[address])[address], signal.SIGKILL)
    assert follow(handle).state is RunState.FAILED
    pids = [*children, *(rank.pid for rank in run.ranks.values())]
    wait_until(lambda: nothing_is_left(cluster, home, pids), "clean-up")
    wait_until(lambda: len(cluster.client.sync(cluster.client.scheduler.hops_state)["slots"]) == 4, "the worker's return")


def test_a_body_that_heeds_the_stop_hands_back_what_it_has(launch):
    source = """
import time
import hops_magic as hops
while not hops.should_stop():
    time.sleep(0.02)
answer = "so far"
"""
    namespace = {}
    handle = launch(source, namespace, workers=2)
    until(handle, lambda run: run.state is RunState.RUNNING)
    handle.stop()
    trained = collect(handle, namespace, follow(handle))
    assert trained.run.state is RunState.STOPPED
    assert namespace["answer"] == "so far"


@pytest.fixture
def interrupts():
    """Interrupts reach this process, even where it was started in the background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_stops_the_run(launch, interrupts):
    handle = launch("import time\nwhile True: time.sleep(0.05)", workers=2)
    until(handle, lambda run: run.state is RunState.RUNNING)
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
    run = follow(handle)
    assert run.state is RunState.STOPPED
    with pytest.raises(RunStoppedError, match="interrupted"):
        collect(handle, {}, run)


def test_a_rank_that_says_more_than_can_be_carried_waits_hears_the_stop_and_loses_nothing(launch):
    namespace = {}
    body = """
said = 0
while not hops.should_stop():
    for _ in range(500):
        said += 1
        hops.report(value=said)
"""
    handle = launch(body, namespace, workers=1, framework="none", out=("said",))
    until(handle, lambda run: any(curve.steps and curve.steps[-1] > 16_000 for curve in run.curves.values()))
    handle.stop()
    run = collect(handle, namespace, follow(handle)).run
    assert run.state is RunState.STOPPED
    assert [curve.count for curve in run.curves.values()] == [namespace["said"]]


def test_a_timeout_ends_the_run(run_cell):
    with pytest.raises(RunFailedError, match="--timeout"):
        run_cell("import time\nwhile True: time.sleep(0.05)", workers=2, timeout=1.0)


def test_two_runs_of_three_ranks_on_four_slots_take_turns(launch, cluster):
    source = "import time, hops_magic as hops\nwhile not hops.should_stop(): time.sleep(0.02)\nx = 1"
    first = launch(source, workers=3)
    until(first, lambda run: run.state is RunState.RUNNING)
    second = launch(source, workers=3)
    run = until(second, lambda run: run.state is RunState.QUEUED)
    assert (run.queue_position, run.slots_needed, run.slots_free) == (1, 3, 1)
    first.stop()
    assert collect(first, {}, follow(first)).run.state is RunState.STOPPED
    until(second, lambda run: run.state is RunState.RUNNING)
    second.stop()
    assert collect(second, {}, follow(second)).run.state is RunState.STOPPED


def test_a_queued_run_can_be_stopped(launch):
    source = "import time, hops_magic as hops\nwhile not hops.should_stop(): time.sleep(0.02)"
    first = launch(source, workers=4)
    until(first, lambda run: run.state is RunState.RUNNING)
    second = launch(source, workers=2)
    until(second, lambda run: run.state is RunState.QUEUED)
    second.stop()
    with pytest.raises(RunStoppedError):
        collect(second, {}, follow(second))
    first.stop()
    collect(first, {}, follow(first))


def test_more_ranks_than_slots_are_refused_before_anything_starts(launch, cluster):
    before = set(cluster_state(cluster.client)["runs"])
    with pytest.raises(OptionError, match="must be at most 4"):
        launch("1", workers=5)
    assert set(cluster_state(cluster.client)["runs"]) == before


def test_another_viewer_catches_up(launch, cluster):
    source = """
import time
import hops_magic as hops
for step in range(1, 51):
    hops.report(step=step, loss=1.0 / step)
print("said all")
while not hops.should_stop():
    time.sleep(0.02)
"""
    handle = launch(source, workers=1)
    until(handle, lambda run: run.ranks and any("said all" in text for _, text in run.ranks[0].output))
    viewer = attach(cluster.client, handle.run_id)
    run = until(viewer, lambda run: run.latest.get("loss") == 1.0 / 50)
    (curve,) = run.curves.values()
    assert curve.steps == tuple(range(1, 51))
    viewer.stop()
    collect(handle, {}, follow(handle))


def test_a_detached_run_is_found_again_with_its_values(launch, cluster):
    handle = launch("answer = 7", workers=1)
    namespace = {}
    again = attach(cluster.client, handle.run_id[:6])
    run = follow(again)
    assert listed(cluster, handle.run_id) == (RunState.DONE, True)
    collect(again, namespace, run)
    assert namespace["answer"] == 7
    assert listed(cluster, handle.run_id) == (RunState.DONE, False)


def listed(cluster, run_id):
    (found,) = [run for run in live_runs(cluster.client) if run.run_id == run_id]
    return found.state, found.has_values


def test_the_death_of_the_supervisors_worker_starts_the_run_again_and_loses_nothing(launch, cluster, home):
    source = """
import time, pathlib
import hops_magic as hops
first = not (pathlib.Path(hops.checkpoint_dir) / "seen").exists()
(pathlib.Path(hops.checkpoint_dir) / "seen").touch()
hops.report(ready=1.0)
while first:
    time.sleep(0.05)
answer = "second attempt"
"""
    namespace = {}
    handle = launch(source, namespace, workers=1)
    run = until(handle, lambda run: run.latest.get("ready"))
    supervisor = cluster.client.sync(cluster.client.scheduler.hops_snapshot, run_id=handle.run_id)["supervisor"]
    pid = cluster.client.run(os.getpid, workers=[supervisor])[supervisor]
    os.kill(pid, signal.SIGKILL)
    trained = collect(handle, namespace, follow(handle))
    assert namespace["answer"] == "second attempt"
    assert trained.run.restarts == ("the supervisor's worker died",)
    wait_until(lambda: nothing_is_left(cluster, home, [rank.pid for rank in run.ranks.values()]), "clean-up")
    wait_until(lambda: len(cluster_state(cluster.client)["slots"]) == 4, "the worker's return")


def test_a_finished_run_is_not_run_again_when_the_worker_that_has_its_outcome_dies(launch, cluster, tmp_path):
    log = tmp_path / "executions"
    namespace = {"log": str(log)}
    handle = launch("import pathlib\npathlib.Path(log).open('a').write('x')\nanswer = 3", namespace, workers=1)
    follow(handle)
    supervisor = cluster.client.sync(cluster.client.scheduler.hops_snapshot, run_id=handle.run_id)["supervisor"]
    pid = cluster.client.run(os.getpid, workers=[supervisor])[supervisor]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid), "the worker's death")
    wait_until(lambda: len(cluster_state(cluster.client)["slots"]) == 4, "the worker's return")
    collect(handle, namespace, handle.follower.run)
    assert namespace["answer"] == 3
    assert log.read_text() == "x"
