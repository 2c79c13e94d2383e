"""A rank's process as its host sees it: descriptors, events, heartbeat, exit."""

from __future__ import annotations

import array
import asyncio
import base64
import codecs
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import termios
import time
from collections.abc import Callable
from typing import Any

from hops_magic.engine import frames
from hops_magic.engine.handing_back import PARCEL
from hops_magic.engine.job import RankSpec
from hops_magic.engine.nursery import Child, Newborn, Nursery
from hops_magic.engine.processes import end_group
from hops_magic.engine.resources import Liveness, ResourceSampler, oom_kills
from hops_magic.errors import ClusterError
from hops_magic.runs import events as ev
from hops_magic.runs.events import Wire

logger = logging.getLogger(__name__)

HUNG_AFTER_S = 3.0
_DRAIN_S = 5.0
_SAMPLE_EVERY_S = 2.0
_ROOM_EVERY_S = 0.02


class RankProcess:
    """One rank from fork to exit. All methods belong to the worker's event loop.

    Parameters
    ----------
    say
        Takes what the rank says.
    is_crowded
        Whether so much has been said that the rank should wait before it says more.
    keep
        Takes the rank's values by parts, each with its offset, where no disk has room for them.
    """

    def __init__(
        self,
        spec: RankSpec,
        worker: str,
        host: str,
        say: Callable[[Wire], None],
        is_crowded: Callable[[], bool] = lambda: False,
        keep: Callable[[int, bytes], None] = lambda offset, part: None,
    ) -> None:
        self._keep = keep
        self.spec, self._worker, self._host, self._say, self._is_crowded = spec, worker, host, say, is_crowded
        self._child: Child | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._untold: list[dict[str, Any]] = []
        self._heard_at = time.monotonic()
        self._end_reason = ""
        self._end_asked = asyncio.Event()

    async def run(self, nursery: Nursery, listener: socket.socket | None) -> None:
        """Start the rank, pass on what it says, and return when it is gone and all has been said."""
        oom_before = oom_kills()
        try:
            born = await self._birth(nursery)
        except (ClusterError, OSError) as error:
            self._end_reason = self._end_reason or f"could not be started: {error}"
            self._say_exit(1, oom=0)
            born = None
        if born is None:
            if listener is not None:
                listener.close()
            return
        await self._live(born, listener)
        self._say_exit(await born.child.exited, oom_kills() - oom_before)

    async def _birth(self, nursery: Nursery) -> Newborn | None:
        """Wait for a process; None if the rank's end was asked for first, which a cold worker's imports must not delay."""
        birth = asyncio.create_task(_newborn(nursery))
        asked = asyncio.create_task(self._end_asked.wait())
        try:
            await asyncio.wait({birth, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not self._end_asked.is_set():
                return birth.result()
            self._say_exit(1, oom=0)
            with contextlib.suppress(ClusterError, OSError):
                (await birth).discard()
            return None
        finally:
            asked.cancel()

    async def _live(self, born: Newborn, listener: socket.socket | None) -> None:
        self._child = born.child
        self._heard_at = time.monotonic()
        started = ev.RankStarted(
            at=time.time(),
            rank=self.spec.rank,
            attempt=self.spec.attempt,
            pid=self._child.pid,
            worker=self._worker,
            host=self._host,
            gpus=self.spec.gpus,
        )
        self._say(ev.to_wire(started))
        readers = [
            asyncio.create_task(self._read_output(born.out, "stdout")),
            asyncio.create_task(self._read_output(born.err, "stderr")),
            asyncio.create_task(self._talk(born.control, listener)),
        ]
        watch = asyncio.create_task(self._watch(self._child, born.control))
        await self._child.exited
        watch.cancel()
        end_group(self._child.pid, self.spec.job.run_id)
        # what was written before the exit is still in the pipes; only a process that fled the group can keep them open
        _, left = await asyncio.wait(readers, timeout=_DRAIN_S)
        while left and self._is_crowded() and not self._end_reason:
            _, left = await asyncio.wait(left, timeout=_DRAIN_S)
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, watch, return_exceptions=True)

    def tell(self, command: dict[str, Any]) -> None:
        """Send the rank a command, e.g. ``{"stop": true}``; one that is not born yet hears it first of all."""
        if self._writer is None:
            self._untold.append(command)
        elif not self._writer.is_closing():
            self._writer.write(frames.frame(json.dumps(command).encode()))

    def kill(self, reason: str) -> None:
        """End the rank and all that it started; one that is not born yet will do nothing."""
        self._end_reason = self._end_reason or reason
        self._end_asked.set()
        if self._child is not None:
            self._child.kill()

    async def _talk(self, ours: socket.socket, listener: socket.socket | None) -> None:
        spec = self.spec.pickled()
        if listener is not None:
            # the listening socket was bound before any rank was forked, so that no port is guessed
            with listener:
                socket.send_fds(ours, [b"L"], [listener.fileno()])
        else:
            ours.sendall(b"N")
        reader, self._writer = await asyncio.open_connection(sock=ours)
        try:
            self._writer.write(frames.frame(spec))
            del spec
            for command in self._untold:
                self.tell(command)
            async for message in frames.messages(reader, self._hear):
                for wire in json.loads(message):
                    if wire["kind"] == PARCEL:
                        self._keep(int(wire["offset"]), base64.b64decode(wire["data"]))
                    else:
                        self._say(wire)
                await self._room()
        finally:
            self._writer.close()

    def _hear(self) -> None:
        self._heard_at = time.monotonic()

    def _has_spoken(self, control: socket.socket) -> bool:
        """Whether the rank has said something that nobody here has found the time to read."""
        unread = array.array("i", [0])
        with contextlib.suppress(OSError, ValueError):  # closed, since the rank has hung up
            fcntl.ioctl(control.fileno(), termios.FIONREAD, unread)
        return unread[0] > 0

    async def _room(self) -> None:
        """Leave what the rank says in its socket and pipes, where it waits with it, while too much is on its way."""
        while self._is_crowded() and not self._end_reason:
            await asyncio.sleep(_ROOM_EVERY_S)
            self._heard_at = time.monotonic()  # it is not the rank that is silent

    async def _read_output(self, descriptor: int, stream: str) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while data := await reader.read(1 << 16):
                if text := decoder.decode(data):
                    self._say(ev.to_wire(ev.Output(at=time.time(), rank=self.spec.rank, stream=stream, text=text)))
                    await self._room()
        finally:
            transport.close()

    async def _watch(self, child: Child, control: socket.socket) -> None:
        """Sample what the rank uses, and end it when it neither speaks nor computes.

        A rank is silent only if there is nothing of it to hear: what waits in its connection, while this process is too busy
        to read, is a sign of life.
        """
        sampler, liveness = ResourceSampler(child.pid, self.spec.gpus), Liveness(child.pid, hung_after_s=HUNG_AFTER_S)
        sampled_at = time.monotonic()
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            if self._has_spoken(control):
                self._heard_at = now
            if liveness.is_hung(now - self._heard_at):
                self.kill(f"hung: no sign of life for {now - self._heard_at:.0f} s and no CPU time used")
                return
            if now - sampled_at >= _SAMPLE_EVERY_S:
                sampled_at = now
                if (sample := sampler.sample(self.spec.rank)) is not None:
                    self._say(ev.to_wire(sample))

    def _say_exit(self, code: int, oom: int) -> None:
        reason = self._end_reason
        if not reason and code < 0:
            with contextlib.suppress(ValueError):
                reason = f"was killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL and oom > 0:
                reason += f" because memory ran out on {self._host}"
        elif not reason and code > 0:
            reason = f"exited with code {code}"
        exited = ev.RankExited(at=time.time(), rank=self.spec.rank, attempt=self.spec.attempt, code=code, reason=reason)
        self._say(ev.to_wire(exited))


async def _newborn(nursery: Nursery) -> Newborn:
    try:
        return await nursery.newborn()
    except (ClusterError, OSError) as error:
        # the warm process has died, perhaps long ago and for nothing that concerns this rank: it is started anew once
        logger.warning("a rank is asked for again: %s", error)
        return await nursery.newborn()
