"""Registries that fail once, or hang: a run goes on, a stop ends it soon with its values, and the record comes later."""

import asyncio
from types import SimpleNamespace

import pytest
from waiting import in_a_loop, wait_until
from watching import job_of, until

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine import daemon, recording
from hops_magic.engine import submit as submit_module
from hops_magic.engine.job import StudyJob, run_folder
from hops_magic.engine.journal import Journal, last_state
from hops_magic.engine.recording import Recording
from hops_magic.engine.submit import live_runs
from hops_magic.runs import events as ev
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study
from hops_magic.training import Surroundings, collect, follow, prepare


class Registry:
    """A record that is a file of the run's folder, in a registry that hangs until it is told to answer."""

    def __init__(self, folder, hangs_at):
        self._folder, self._hangs_at = folder, hangs_at
        self._hang("opening")

    def _hang(self, where):
        if where == self._hangs_at:
            (self._folder / "hangs").touch()
            wait_until((self._folder / "answers").exists, "the registry's answer", 600)

    def events(self, events):
        with (self._folder / "heard").open("a") as heard:
            heard.writelines(f"{event.kind}\n" for event in events)

    def finish(self, run):
        self._hang("its end")
        (self._folder / "record").write_text(f"{run.state.value} {run.warnings}")


def is_recorded(handle):
    (known,) = (run for run in live_runs(handle.client) if run.run_id == handle.run_id)
    return known.is_recorded


def is_completed(handle):
    (run_folder(handle.run_id) / "answers").touch()
    wait_until(lambda: is_recorded(handle), "the completion of the record")
    return (run_folder(handle.run_id) / "record").read_text()


def waited_s(warnings):
    [told] = warnings
    assert told.startswith(f"{ev.RECORD_NOT_COMPLETE}: the registry did not answer within ")
    return int(told.split()[-2])


HEEDS = """
import time
import hops_magic as hops
while not hops.should_stop():
    time.sleep(0.02)
answer = "so far"
"""


def test_a_stop_hands_out_values_although_the_registry_hangs_while_it_is_opened(launch):
    namespace = {}
    handle = launch(HEEDS, namespace, workers=1, recorder=lambda folder: Registry(folder, "opening"))
    until(handle, lambda run: run.state is RunState.RUNNING)
    handle.stop()
    trained = collect(handle, namespace, follow(handle))
    assert (trained.run.state, namespace["answer"]) == (RunState.STOPPED, "so far")
    assert waited_s(trained.run.warnings) < 25
    assert not is_recorded(handle)
    assert is_completed(handle) == "stopped ()"  # nothing is missing any more


def test_a_stop_while_a_run_that_is_done_waits_for_its_record_leaves_it_done(launch):
    namespace = {}
    handle = launch("answer = 42", namespace, workers=1, recorder=lambda folder: Registry(folder, "its end"))
    wait_until((run_folder(handle.run_id) / "hangs").exists, "the registry's silence")
    handle.stop()
    trained = collect(handle, namespace, follow(handle))
    assert (trained.run.state, namespace["answer"]) == (RunState.DONE, 42)
    assert waited_s(trained.run.warnings) < 25
    assert last_state(run_folder(handle.run_id)).state is RunState.DONE
    assert is_completed(handle) == "done ()"


def test_a_stop_ends_a_study_although_the_registry_hangs(cluster, tmp_path):
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=1), folder=tmp_path)
    prepared = prepare("1", {}, DistributedOptions(workers=1, framework="none"), surroundings)

    async def conduct(services):
        services.say(ev.StateChanged(at=1.0, state=RunState.RUNNING))
        await services.stopping.wait()
        return ev.StateChanged(at=2.0, state=RunState.STOPPED, reason=services.stop_reason)

    job = StudyJob(
        beginning=Study(run_id="hanging", name="hanging"),
        trial=job_of(prepared, "hanging"),
        conduct=conduct,
        open_recorder=lambda folder: Registry(folder, "its end"),
    )
    handle = submit_module.submit_study(cluster.client, job, {})
    until(handle, lambda study: study.state is RunState.RUNNING)
    handle.stop()
    study = follow(handle)
    assert study.state is RunState.STOPPED
    assert waited_s(study.warnings) < 25
    assert is_completed(handle) == "stopped ()"
    handle.forget()


class FailsFirst:
    """Opens records in the run's folder, but not the first time."""

    def __call__(self, folder):
        if not (folder / "failed").exists():
            (folder / "failed").touch()
            raise OSError("database is locked")
        return Registry(folder, "")


def test_a_record_that_did_not_open_is_opened_again_while_the_run_goes_on(launch, tmp_path):
    source = """
import pathlib, time
import hops_magic as hops
hops.report(step=1, loss=0.5)
while not pathlib.Path(gate).exists(): time.sleep(0.02)
answer = 42
"""
    namespace = {"gate": str(tmp_path / "gate")}
    handle = launch(source, namespace, workers=1, recorder=FailsFirst())
    heard = run_folder(handle.run_id) / "heard"
    wait_until(lambda: heard.exists() and "metrics" in heard.read_text(), "the record of what was said before it opened")
    (tmp_path / "gate").touch()
    trained = collect(handle, namespace, follow(handle))
    assert trained.run.warnings == ("the run is not recorded: OSError: database is locked",)
    assert "the run is recorded now, with all that it had said" in trained.run.notes
    assert (run_folder(handle.run_id) / "record").read_text() == "done ()"


def test_a_record_that_opens_late_is_told_from_the_log_what_did_not_wait_in_memory(home, monkeypatch):
    monkeypatch.setattr(recording, "MOST_WAITING_EVENTS", 10)
    heard = []

    class Recorder:
        def recall(self, events):
            heard.extend(events)

        def events(self, events):
            heard.extend(events)

        def finish(self, run):
            heard.append(run.state)

    opened = []

    def opener(folder):
        opened.append(folder)
        if len(opened) == 1:
            raise OSError("database is locked")
        return Recorder()

    said = [ev.Metrics(rank=0, step=step, scope="user", values={"loss": 0.5}) for step in range(25)]

    async def record():
        journal = Journal(run_folder("late"))
        told = []
        record = Recording("late", opener, journal, told.append)
        record.begin()
        while not told:
            await asyncio.sleep(0)
        for event in said:
            journal.write([ev.to_wire(event)])
            record.take([event])
        await record.end(Run(run_id="late", state=RunState.DONE), 60.0, is_log_behind=False)
        return told

    told = in_a_loop(record())
    assert heard == [*said, RunState.DONE]
    assert [event.message for event in told] == [
        "the run is not recorded: OSError: database is locked",
        "the run is recorded now, with all that it had said",
    ]


def test_a_run_without_a_record_ends_at_once(home):
    async def end():
        record = Recording("none", None, Journal(run_folder("none")), pytest.fail)
        record.begin()
        record.hand_over()
        await record.end(Run(run_id="none"), 60.0, is_log_behind=False)
        return record.is_behind

    assert in_a_loop(end()) is False


@pytest.mark.parametrize(("is_final", "is_recorded"), [(False, True), (True, False)])
def test_a_cluster_does_not_end_for_idleness_while_a_run_or_its_record_is_not_over(is_final, is_recorded):
    run = SimpleNamespace(is_final=is_final, is_recorded=is_recorded, supervisor="tcp://here:1")
    placement = SimpleNamespace(runs={"one": run})
    scheduler = SimpleNamespace(plugins={"hops-placement": placement}, workers={"tcp://here:1": None})
    assert daemon._runs_alive(scheduler)
    run.is_final = run.is_recorded = True
    assert not daemon._runs_alive(scheduler)
