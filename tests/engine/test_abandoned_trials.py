"""A trial whose study is conducted elsewhere from now on: what its first supervisor still holds of it falls silent."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from waiting import in_a_loop
from watching import job_of

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine.job import TrialJob
from hops_magic.engine.journal import JOURNAL_NAME, read_journal
from hops_magic.engine.trial_command import TrialCommand
from hops_magic.runs import events as ev
from hops_magic.runs.options import DistributedOptions
from hops_magic.training import Surroundings, prepare


class Worker:
    """The supervisor's worker, as far as a trial asks it for the way to others, which do not answer."""

    address = "tcp://127.0.0.1:1"

    def __init__(self):
        self.asked = []

    def rpc(self, address):
        return self

    def __getattr__(self, operation):
        async def ask(**message):
            self.asked.append(operation)
            await asyncio.Event().wait()

        return ask


class Study:
    """What a trial uses of its study."""

    def __init__(self):
        self.worker, self.kept_elsewhere = Worker(), set()
        self.said, self.running, self.logs = [], [], []

    def say(self, *events):
        self.said += events

    def started(self, command):
        self.running.append(command)

    def ended(self, command):
        self.running.remove(command)

    def keep_log(self, journal):
        self.logs.append(journal)

    async def everywhere(self, what, **message):
        self.worker.asked.append(what)


@pytest.fixture
def job(home, tmp_path):
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=1), folder=tmp_path)
    prepared = prepare("1", {}, DistributedOptions(workers=1, framework="none"), surroundings)
    trial = TrialJob(number=3, values={"x": 1.0})
    return replace(job_of(prepared, f"{tmp_path.name}-3"), data_of=tmp_path.name, trial=trial)


def metrics(step):
    return ev.Metrics(at=float(step), rank=0, step=step, scope="user", values={"loss": 0.5})


async def begun(study, job):
    gang = [{"worker": "tcp://127.0.0.1:2", "host": "here", "node_dir": "", "gpus": [], "threads": 1}]
    heard = []
    command = TrialCommand(study, job, 0, "place", gang, heard.append)
    task = asyncio.create_task(command.run())
    while "hops_spawn" not in study.worker.asked:
        await asyncio.sleep(0)
    return command, task, heard


def test_a_trial_that_is_abandoned_writes_and_ends_nothing_of_the_one_that_goes_on_elsewhere(job):
    study = Study()

    async def abandon():
        command, task, heard = await begun(study, job)
        command.on_events(0, [ev.to_wire(metrics(1))])
        command.abandon()
        # another supervisor writes this log from now on, with the trial's next attempt
        command.on_events(0, [ev.to_wire(metrics(2))])
        command.say(ev.StateChanged(state="failed", reason="its supervisor left"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return heard

    assert in_a_loop(abandon())[0] == metrics(1)
    assert list(read_journal(job.home)) == [metrics(1)]
    assert (study.said, study.running) == ([], [])
    # its ranks belong to whoever goes on, who ends them himself
    assert study.worker.asked == ["hops_spawn"]


def test_a_log_that_cannot_be_written_is_not_told_by_who_has_abandoned_the_trial(job):
    study = Study()
    job.home.mkdir(parents=True)
    (job.home / JOURNAL_NAME).symlink_to("/dev/full")

    async def abandon():
        command, task, _ = await begun(study, job)
        command.abandon()
        command.on_events(0, [ev.to_wire(metrics(1))])
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    in_a_loop(abandon())
    assert (study.said, study.logs) == ([], [])


def test_a_trial_that_is_ended_by_its_own_study_cleans_up_and_tells_of_its_log(job):
    study = Study()
    job.home.mkdir(parents=True)
    (job.home / JOURNAL_NAME).symlink_to("/dev/full")

    async def end():
        command, task, _ = await begun(study, job)
        command.on_events(0, [ev.to_wire(metrics(1))])
        task.cancel()
        while "hops_clean" not in study.worker.asked:
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    in_a_loop(end())
    assert [event.message for event in study.said] == ["the logs of trials are not complete: No space left on device"]
    assert study.running == []
    assert [log.is_behind for log in study.logs] == [True]
