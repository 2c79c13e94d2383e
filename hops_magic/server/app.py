"""Ties the API to a Jupyter server: its handlers, its event bus, its end."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_server.extension.application import ExtensionApp

from hops_magic.api.encoding import encoded
from hops_magic.api.routing import answer, table
from hops_magic.server.handlers import ApiHandler

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

    from hops_magic.api.changes import Changed
    from hops_magic.api.context import Context

Answer = TypeVar("Answer")

EVENT = "https://hops-magic.dev/events/changed"
EVENT_VERSION = "1"
_SCHEMA = {
    "$id": EVENT,
    "version": EVENT_VERSION,
    "title": "Something that hops_magic shows has changed",
    "personal-data": False,
    "type": "object",
    "required": ["boot", "seq", "topics"],
    "properties": {
        "boot": {"type": "string", "title": "The process that counts"},
        "seq": {"type": "integer", "title": "Number of the change"},
        "topics": {"type": "array", "title": "What has changed", "items": {"type": "string"}},
    },
}
_THREADS = 8
# so many reads of rows at once leave the machine to others, and threads to questions that are answered at once
_SLOW_THREADS = 2


class HopsExtension(ExtensionApp):
    """The extension as a Jupyter server loads it: cheap until the first request."""

    name = "hops_magic"

    def initialize_settings(self) -> None:
        """Share one context and its threads among all requests."""
        self.backend = Backend(self._emit)
        self.settings["hops_backend"] = self.backend
        assert self.serverapp is not None
        logger = self.serverapp.event_logger
        assert logger is not None
        self._events = logger
        if EVENT not in self._events.schemas:
            self._events.register_event_schema(_SCHEMA)

    def initialize_handlers(self) -> None:
        """Answer everything below the API's prefix."""
        self.handlers.append((r"/hops/api/v1(/.*)", ApiHandler))

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:  # noqa: ARG002 (Jupyter's signature)
        """Have everything open when the browser asks."""
        self.backend.warm_up(asyncio.get_running_loop())

    async def stop_extension(self) -> None:
        """Leave the cluster; it goes on."""
        await asyncio.to_thread(self.backend.close)

    def _emit(self, changed: Changed) -> None:
        self._events.emit(schema_id=EVENT, data=changed.model_dump())


class Backend:
    """The context that requests share, made at the first of them, and the threads that they work in.

    Parameters
    ----------
    emit : callable
        Tells a change to the browsers; called in the server's event loop.
    """

    def __init__(self, emit: Callable[[Changed], Any]) -> None:
        self._emit = emit
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="hops-api")
        self._slow_threads = ThreadPoolExecutor(_SLOW_THREADS, thread_name_prefix="hops-api-slow")
        self._lock = threading.Lock()
        self._context: Context | None = None

    def warm_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open what the first request needs, in a thread that nobody waits for."""
        from hops_magic.server.warming import warm_up

        opening = functools.partial(warm_up, functools.partial(self.context, loop))
        threading.Thread(target=opening, name="hops-warm-up", daemon=True).start()

    def context(self, loop: asyncio.AbstractEventLoop) -> Context:
        """Return the context; called in a thread, since the first time takes a second of imports."""
        with self._lock:
            if self._context is None:
                from hops_magic.api import endpoints
                from hops_magic.api.context import Context
                from hops_magic.session import Session
                from hops_magic.settings import Settings

                assert endpoints.__all__
                self._context = Context(Session(Settings.from_environment()))
                self._context.changes.listen(functools.partial(self._tell, loop))
            return self._context

    async def answer(
        self, method: str, path: str, query: Mapping[str, Sequence[str]], body: Any = None
    ) -> tuple[str | None, int]:
        """Answer a request in a thread; return JSON, None where there is nothing to say, and the HTTP status.

        Raises
        ------
        ProblemError, HopsError
            As :func:`hops_magic.api.routing.answer`.
        """
        if self._context is None:
            # addresses are known once it is made
            await self.work(lambda context: None)

        def ask(context: Context) -> tuple[str | None, int]:
            plain, status = answer(context, method, path, query, body)
            return None if plain is None else encoded(plain), status

        return await self.work(ask, is_slow=table.is_slow(method, path))

    async def work(self, call: Callable[[Context], Answer], *, is_slow: bool = False) -> Answer:
        """Run a call with the context in a thread; what is slow waits for others of its kind alone."""
        loop = asyncio.get_running_loop()
        threads = self._slow_threads if is_slow else self._threads
        return await loop.run_in_executor(threads, lambda: call(self.context(loop)))

    def close(self) -> None:
        """End threads and connections."""
        with self._lock:
            context, self._context = self._context, None
        if context is not None:
            context.close()
        for threads in (self._threads, self._slow_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def _tell(self, loop: asyncio.AbstractEventLoop, changed: Changed) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._emit, changed)
