"""The warm process of a worker: imports the frameworks once, executes no op of theirs, and forks a fresh process per rank.

Run as ``python -m hops_magic.engine.warm FD MODULE,...``. On the inherited socket (``SOCK_SEQPACKET``: a message is a
packet) come requests ``{"id": n}`` with three descriptors (control, stdout, stderr); back go
``{"ready": ...}``, ``{"id": n, "pid": p}`` and ``{"pid": p, "exit": code}``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from typing import Any, NoReturn

from hops_magic.frameworks.forks import die_with_parent

_MAX_PACKET = 1 << 16


def serve(channel: socket.socket, preload: list[str]) -> NoReturn:
    """Import ``preload``, then fork ranks until the worker goes away."""
    began = time.monotonic()
    failed = _import_all(preload)
    gc.collect()
    gc.freeze()  # collections in children must not touch, and so copy, the shared pages
    _send(channel, {"ready": time.monotonic() - began, "failed": failed, "pid": os.getpid()})
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        watched: list[Any] = [channel, woken]
        readable, _, _ = select.select(watched, [], [])
        if woken in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(channel)
        if channel in readable:
            packet, descriptors, _, _ = socket.recv_fds(channel, _MAX_PACKET, 3)
            if not packet:
                os._exit(0)  # the worker is gone; PR_SET_PDEATHSIG takes the ranks along
            _fork(channel, json.loads(packet), descriptors)


def _import_all(names: list[str]) -> dict[str, str]:
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 (whatever a user's installation raises; the rank meets it again if it needs it)
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode())


def _reap(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(channel, {"pid": pid, "exit": os.waitstatus_to_exitcode(status)})


def _fork(channel: socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
    with warnings.catch_warnings():
        # the one thread that imports start is jemalloc's, which knows how to be forked
        warnings.filterwarnings("ignore", r".*multi-threaded, use of fork", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _become_rank(channel, descriptors)
    # from both sides: no moment in which a signal to the group would miss it
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    for descriptor in descriptors:
        os.close(descriptor)
    _send(channel, {"id": request["id"], "pid": pid})


def _become_rank(channel: socket.socket, descriptors: list[int]) -> NoReturn:
    code = 1
    try:
        die_with_parent()
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        channel.close()
        control, out, err = descriptors
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        from hops_magic.engine.rank import main

        code = main(socket.socket(fileno=control))
    except BaseException:  # noqa: BLE001 (the last frame of a process: its text is all that is left of the error)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)  # no atexit handlers of the parent's libraries, no slow teardown


if __name__ == "__main__":
    die_with_parent()
    # Ctrl+C in a terminal reaches the whole group: ending ranks is the supervisor's decision
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2].split(","))
