"""A proxy between a client and a scheduler that the test can cut, as a network does."""

import asyncio
import contextlib
import threading


class Proxy:
    """Forwards a port of the loopback interface to another; while it is cut, connections break and none is accepted.

    While it is silent, they stay as they are, and carry nothing: nobody is told.
    """

    def __init__(self, port):
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._writers = set()
        self._server = None
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.mend()

    def mend(self, target=None):
        """Forward connections from now on, to the scheduler at another port if there is a new one."""
        self._target = target or self._target
        self._call(self._listen())

    def cut(self):
        """Break all connections, and refuse new ones."""
        self._call(self._break())

    def silence(self):
        """Carry nothing from now on, over connections that there are and such as come."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def speak(self):
        """Carry everything again, with what has waited."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def close(self):
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine):
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self):
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _break(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _forward(self, reader, writer):
        with contextlib.suppress(OSError):
            await self._flows.wait()
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, other_writer}
            await asyncio.gather(self._pump(reader, other_writer), self._pump(other_reader, writer))
            self._writers -= {writer, other_writer}

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
