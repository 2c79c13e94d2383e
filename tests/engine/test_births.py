"""What happens to a rank while its process is being born: stops, ends, and warm processes that die."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from waiting import in_a_loop
from watching import job_of

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine import frames
from hops_magic.engine.job import RankSpec
from hops_magic.engine.nursery import Child, Newborn, Nursery
from hops_magic.engine.rank_process import RankProcess
from hops_magic.runs.options import DistributedOptions
from hops_magic.training import Surroundings, prepare

WITHIN_S = 30


@pytest.fixture
def spec(tmp_path):
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=1), folder=tmp_path)
    prepared = prepare("while True: pass", {}, DistributedOptions(workers=1, framework="none"), surroundings)
    job = job_of(prepared, prepared.run_id)
    return RankSpec(
        job=job,
        attempt=0,
        rank=0,
        threads=1,
        gpus=(),
        addresses=(None,),
        token=b"",
        buffer_dir=str(tmp_path),
        run_dir=str(tmp_path),
    )


class Gate:
    """A nursery whose processes come when the test opens it."""

    def __init__(self, bear):
        self._bear, self.born, self.opened = bear, None, asyncio.Event()

    async def newborn(self):
        await self.opened.wait()
        self.born = await self._bear()
        return self.born


class Said(list):
    """What a rank's process said; a kind of event can be waited for."""

    def __init__(self):
        self._more = asyncio.Event()

    def append(self, wire):
        super().append(wire)
        self._more.set()

    async def hear(self, kind):
        while not (found := [wire for wire in self if wire["kind"] == kind]):
            self._more.clear()
            await self._more.wait()
        return found[0]


def test_an_end_asked_for_before_the_birth_is_said_at_once_and_nothing_runs(spec):
    async def story():
        said, nursery = Said(), Nursery((), {})
        gate = Gate(nursery.newborn)
        rank = RankProcess(spec, "tcp://w", "here", said.append)
        running = asyncio.create_task(rank.run(gate, None))
        await asyncio.sleep(0)
        rank.kill("did not stop in time")
        await said.hear("rank-exited")
        assert not gate.opened.is_set()
        gate.opened.set()
        await running
        await gate.born.child.exited
        nursery.close()
        return said

    said = in_a_loop(asyncio.wait_for(story(), WITHIN_S))
    (exited,) = said
    assert (exited["kind"], exited["reason"]) == ("rank-exited", "did not stop in time")


def test_a_stop_asked_for_before_the_birth_follows_the_spec(spec):
    async def story():
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        exited = asyncio.get_running_loop().create_future()
        # a process group that is nobody's
        child = Child((1 << 22) + 1, exited)

        async def bear():
            return Newborn(child, ours, out[0], err[0])

        gate = Gate(bear)
        rank = RankProcess(spec, "tcp://w", "here", lambda _: None)
        running = asyncio.create_task(rank.run(gate, None))
        await asyncio.sleep(0)
        rank.tell({"stop": True})
        gate.opened.set()

        def hear():
            assert theirs.recv(1) == b"N"
            return frames.receive(theirs), frames.receive(theirs)

        heard = await asyncio.to_thread(hear)
        for end in (theirs.fileno(), out[1], err[1]):
            os.close(end)
        theirs.detach()
        exited.set_result(0)
        await running
        return heard

    described, command = in_a_loop(asyncio.wait_for(story(), WITHIN_S))
    assert len(described) > 100
    assert json.loads(command) == {"stop": True}


BEATS = """
import socket, time
line = socket.socket(fileno=0)
while True:
    line.sendall(bytes([2, 0, 0, 0]) + b"[]")
    time.sleep(0.1)
"""


def test_a_host_that_is_too_busy_to_listen_does_not_take_its_ranks_for_hung(spec, monkeypatch):
    monkeypatch.setattr("hops_magic.engine.rank_process.HUNG_AFTER_S", 0.3)

    async def story():
        said = Said()
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        process = subprocess.Popen([sys.executable, "-c", BEATS], stdin=theirs.fileno(), start_new_session=True)
        exited = asyncio.get_running_loop().create_future()
        child = Child(process.pid, exited)

        async def bear():
            return Newborn(child, ours, out[0], err[0])

        gate = Gate(bear)
        gate.opened.set()
        rank = RankProcess(spec, "tcp://w", "here", said.append)
        running = asyncio.create_task(rank.run(gate, None))
        await said.hear("rank-started")
        for _ in range(3):
            # the whole loop stands still for longer than a rank may be silent, again and again
            blocked = threading.Event()
            asyncio.get_running_loop().call_later(0.05, blocked.wait, 1.0)
            await asyncio.sleep(0.1)
        is_alive = process.poll() is None
        os.kill(process.pid, signal.SIGSTOP)  # now it is silent
        code = await asyncio.to_thread(process.wait)
        for end in (theirs.fileno(), out[1], err[1]):
            os.close(end)
        theirs.detach()
        exited.set_result(code)
        await running
        return is_alive, await said.hear("rank-exited")

    is_alive, exit_said = in_a_loop(asyncio.wait_for(story(), WITHIN_S))
    assert is_alive
    assert exit_said["reason"].startswith("hung: no sign of life")


def test_a_rank_that_waits_for_a_warm_process_that_dies_is_born_of_the_next(spec):
    async def story():
        said, nursery = Said(), Nursery((), {})
        nursery.start()
        rank = RankProcess(spec, "tcp://w", "here", said.append)
        running = asyncio.create_task(rank.run(nursery, None))
        first = nursery.pid
        os.kill(first, signal.SIGKILL)
        await said.hear("rank-started")
        assert nursery.pid != first
        rank.kill("enough")
        await running
        nursery.close()
        return said

    said = in_a_loop(asyncio.wait_for(story(), WITHIN_S))
    assert [wire["reason"] for wire in said if wire["kind"] == "rank-exited"] == ["enough"]


def test_a_warm_process_that_always_dies_is_the_reason_of_the_ranks_exit(spec, tmp_path):
    (tmp_path / "fatal.py").write_text("import os\nos._exit(3)\n")
    root = Path(__file__).parents[2]

    async def story():
        said, nursery = Said(), Nursery(("fatal",), {"PYTHONPATH": f"{tmp_path}:{root}"})
        await RankProcess(spec, "tcp://w", "here", said.append).run(nursery, None)
        nursery.close()
        return said

    (exited,) = in_a_loop(asyncio.wait_for(story(), WITHIN_S))
    assert exited["code"] == 1
    assert exited["reason"].startswith("could not be started: the warm process of this worker died")


def test_a_closed_nursery_tells_those_who_wait_and_starts_nothing_more(spec):
    async def story():
        said, nursery = Said(), Nursery((), {})
        nursery.start()
        running = asyncio.create_task(RankProcess(spec, "tcp://w", "here", said.append).run(nursery, None))
        await asyncio.sleep(0)
        nursery.close()
        await running
        return said, nursery.pid

    (exited,), pid = in_a_loop(asyncio.wait_for(story(), WITHIN_S))
    assert "could not be started" in exited["reason"]
    assert not psutil.pid_exists(pid)
