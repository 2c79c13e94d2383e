"""Messages of a widget's front end, handled even while a cell keeps the kernel's main thread busy.

JupyterLab since 4.4 and Notebook since 7.4 send them to a subshell of ipykernel. That is enough with ipykernel 7.0 to 7.3;
7.4 sends the answer back to the main shell, so a subshell of our own takes them. A front end without subshells is served by
listening on the kernel's channel thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import Enum
from typing import Any

from hops_magic.widgets.kernel_status import stay_busy

_PATIENCE_S = 5.0
_Handler = Callable[[Mapping[str, Any]], None]


class Route(Enum):
    """How messages come."""

    SUBSHELL = "subshell"
    TAP = "tap"
    MAIN = "main"

    @property
    def works_while_busy(self) -> bool:
        """Whether messages arrive while a cell runs."""
        return self is not Route.MAIN


def route(widget: Any, on_custom: _Handler) -> Route:
    """Call ``on_custom(content)`` for each custom message of a widget.

    Parameters
    ----------
    widget
        An ipywidget.
    on_custom
        May be called from another thread, and twice for the same message.
    """
    from IPython import get_ipython

    widget.on_msg(lambda _, content, __: on_custom(content))
    kernel = getattr(get_ipython(), "kernel", None)
    thread = getattr(kernel, "shell_channel_thread", None)
    comm = getattr(widget, "comm", None)
    if kernel is None or thread is None or comm is None:
        return Route.MAIN
    try:
        stay_busy(kernel, thread.parent_thread)
        if hasattr(comm, "_reply_subshell_for"):
            subshell = _subshell(kernel, thread)
            comm._reply_subshell_for = lambda data, default=None: subshell
            return Route.SUBSHELL
        _tap(kernel, thread)[comm.comm_id] = on_custom
        return Route.TAP
    # these parts of ipykernel are private: when they move, interrupting the kernel still stops the run
    except Exception:
        kernel.log.debug("hops_magic: no way round the busy main shell", exc_info=True)
        return Route.MAIN


def _subshell(kernel: Any, thread: Any) -> Any:
    if not hasattr(kernel, "_hops_subshell"):
        kernel._hops_subshell = _on_channel_thread(thread, thread.manager._create_subshell)
    return kernel._hops_subshell


def _tap(kernel: Any, thread: Any) -> dict[str, _Handler]:
    if hasattr(kernel, "_hops_tap_handlers"):
        return kernel._hops_tap_handlers  # type: ignore[no-any-return]
    handlers: dict[str, _Handler] = {}
    ordinary = kernel.shell_channel_thread_main

    async def listen(frames: Any) -> None:
        try:
            _offer(kernel.session, frames, handlers)
        # a message that we cannot read is the kernel's business, which comes next
        except Exception:
            kernel.log.debug("hops_magic: a comm message could not be read", exc_info=True)
        await ordinary(frames)

    _on_channel_thread(thread, lambda: kernel.shell_stream.on_recv(listen, copy=False))
    kernel._hops_tap_handlers = handlers
    return handlers


def _offer(session: Any, frames: Any, handlers: Mapping[str, _Handler]) -> None:
    parts = session.feed_identities(frames, copy=False)[1]
    if session.unpack(parts[1].bytes).get("msg_type") != "comm_msg":
        return
    content = session.unpack(parts[4].bytes)
    handler = handlers.get(content["comm_id"])
    if handler is not None and content["data"].get("method") == "custom":
        handler(content["data"]["content"])


def _on_channel_thread(thread: Any, call: Callable[[], Any]) -> Any:
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        # whatever it is, it belongs to the thread that waits
        except Exception as error:  # noqa: BLE001
            done.set_exception(error)

    thread.io_loop.add_callback(run)
    return done.result(_PATIENCE_S)
