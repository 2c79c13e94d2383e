"""The worker's end of its warm process: start it, ask it for ranks, learn of their exits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hops_magic.errors import ClusterError

_MAX_PACKET = 1 << 16


@dataclass
class Child:
    """A rank's process."""

    pid: int
    exited: asyncio.Future[int] = field(repr=False)

    @property
    def is_alive(self) -> bool:
        """Whether its exit has not been seen yet."""
        return not self.exited.done()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Signal the rank's whole process group, if the rank has not been reaped (so its pid is still its own)."""
        if self.is_alive:
            try:
                os.killpg(self.pid, signum)
            except ProcessLookupError:
                return


@dataclass
class Newborn:
    """A forked process that waits to be told which rank it is.

    Attributes
    ----------
    child : Child
    control : socket
        Our end of its connection.
    out, err : int
        Descriptors from which its output is read.
    """

    child: Child
    control: socket.socket
    out: int
    err: int

    def discard(self) -> None:
        """End the process without having used it."""
        self.child.kill()
        self.control.close()
        os.close(self.out)
        os.close(self.err)


class Nursery:
    """One warm process and the ranks it forked. All methods belong to the worker's event loop."""

    def __init__(self, preload: tuple[str, ...], env: Mapping[str, str]) -> None:
        self._preload, self._env = preload, dict(env)
        self._children: dict[int, Child] = {}
        self._early: dict[int, int] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._requests = 0
        self._standby: list[Newborn] = []
        self._wanted = 0
        self._bearing: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._is_closed = False
        self.ready: asyncio.Future[dict[str, object]]

    def start(self) -> None:
        """Start the warm process; :attr:`ready` is done when its imports are."""
        loop = asyncio.get_running_loop()
        self.ready = loop.create_future()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        command = [sys.executable, "-m", "hops_magic.engine.warm", str(theirs.fileno()), ",".join(self._preload)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module, no input of anybody's)
                command, pass_fds=[theirs.fileno()], env=_without_trimming(self._env), stdin=subprocess.DEVNULL
            )
        self._channel = ours
        loop.add_reader(ours.fileno(), self._read)

    @property
    def pid(self) -> int | None:
        """Process id of the warm process."""
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether the warm process can fork ranks."""
        return self._process is not None and self._process.poll() is None and self._channel is not None

    async def newborn(self) -> Newborn:
        """Return a process that waits for its rank: one that was held ready, or else forked now.

        Raises
        ------
        ClusterError
            If the warm process has died.
        """
        while self._standby:
            ready = self._standby.pop(0)
            self._hold_ready()
            if ready.child.is_alive:
                return ready
            ready.discard()
        born = await self._bear()
        self._hold_ready()
        return born

    def stand_by(self, count: int) -> None:
        """Hold ``count`` processes ready from now on, so that the next rank need not wait for its fork."""
        self._wanted = count
        while len(self._standby) > count:
            self._standby.pop().discard()
        self._hold_ready()

    def _hold_ready(self) -> None:
        if self._bearing is None and len(self._standby) < self._wanted and self.is_alive:
            self._bearing = asyncio.create_task(self._bear_one_more())

    async def _bear_one_more(self) -> None:
        try:
            while len(self._standby) < self._wanted:
                self._standby.append(await self._bear())
        except ClusterError:
            return  # whoever needs a rank next is told
        finally:
            self._bearing = None
        while len(self._standby) > self._wanted:
            self._standby.pop().discard()

    async def _bear(self) -> Newborn:
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        try:
            child = await self._fork((theirs.fileno(), out[1], err[1]))
        except BaseException:
            ours.close()
            os.close(out[0])
            os.close(err[0])
            raise
        finally:
            theirs.close()
            os.close(out[1])
            os.close(err[1])
        return Newborn(child, ours, out[0], err[0])

    async def _fork(self, descriptors: tuple[int, int, int]) -> Child:
        """Fork a process; it gets copies of ``descriptors`` (control socket, stdout, stderr)."""
        if self._is_closed:
            raise ClusterError("the warm process of this worker has ended with the worker or its study")
        if not self.is_alive:
            if self._channel is not None:
                self._lost()  # it has died just now, and its channel has not told so yet
            self.start()
        loop = asyncio.get_running_loop()
        # shielded: others wait for it too
        await asyncio.shield(self.ready)
        if self._channel is None:
            raise _died()
        self._requests += 1
        number = self._requests
        socket.send_fds(self._channel, [json.dumps({"id": number}).encode()], descriptors)
        self._waiting[number] = answer = loop.create_future()
        pid = await answer
        child = Child(pid, loop.create_future())
        if pid in self._early:
            child.exited.set_result(self._early.pop(pid))
        else:
            self._children[pid] = child
        return child

    def close(self) -> None:
        """Kill every rank and the warm process, and reap it."""
        self._is_closed, self._wanted = True, 0
        if self._bearing is not None:
            self._bearing.cancel()
        while self._standby:
            self._standby.pop().discard()
        for child in list(self._children.values()):
            child.kill()
        self._disconnect()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._disappoint()

    def _read(self) -> None:
        assert self._channel is not None
        try:
            packet = self._channel.recv(_MAX_PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._lost()
            return
        message = json.loads(packet)
        if "ready" in message:
            self.ready.set_result(message)
        elif "exit" in message:
            child = self._children.pop(message["pid"], None)
            if child is None:
                self._early[message["pid"]] = message["exit"]
            else:
                child.exited.set_result(message["exit"])
        elif answer := self._waiting.pop(message["id"], None):
            answer.set_result(message["pid"])

    def _lost(self) -> None:
        """The warm process died, and by PR_SET_PDEATHSIG its ranks with it."""
        self._disconnect()
        if self._process is not None:
            self._process.wait()
        self._disappoint()
        self._early.clear()
        for child in self._children.values():
            if not child.exited.done():
                child.exited.set_result(-signal.SIGKILL)
        self._children.clear()

    def _disappoint(self) -> None:
        """Tell those who wait for a rank that the warm process has died."""
        answers: list[asyncio.Future[Any]] = [*self._waiting.values(), self.ready]
        for answer in answers:
            if not answer.done():
                answer.set_exception(_died())
        self._waiting.clear()
        self.ready.exception()  # looked at, since often nobody waits for it

    def _disconnect(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None


def _died() -> ClusterError:
    return ClusterError("the warm process of this worker died; it will be started anew with the next run")


def _without_trimming(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a warm process: the worker's, without what Dask sets to give memory back soon.

    With a fixed threshold malloc maps and unmaps each large tensor of each step anew: a fifth of the time of a training.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "MALLOC_TRIM_THRESHOLD_"}
    return {**inherited, **env}
