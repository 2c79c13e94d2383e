"""Bytes between two ranks: whole reads, heads that say what follows, and a thread that sends while its rank receives."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from hops_magic.errors import PeerLostError

Bytes = bytes | memoryview
_Job = tuple[tuple[Bytes, ...], Callable[[OSError | None], None]]
"""What to send, and whom to tell how that went."""

_HEAD = struct.Struct("<BH")
_LAST_WORDS_S = 2.0
_READ = 1 << 20
_LONGEST = _HEAD.size + 0xFFFF


class Kind(IntEnum):
    """What a head announces."""

    CALL = 1
    """Data of a collective, which the text names."""
    GOODBYE = 2
    """The sender has finished its work."""
    POISON = 3
    """The collective failed, for the reason in the text; pass it on."""


def head(kind: Kind, text: str) -> bytes:
    """Return the bytes of a head."""
    data = text.encode()[:0xFFFF]
    return _HEAD.pack(kind, len(data)) + data


def receive_head(sock: socket.socket) -> tuple[Kind, str]:
    """Read a head."""
    kind, size = _HEAD.unpack(exactly(sock, _HEAD.size))
    return Kind(kind), exactly(sock, size).decode(errors="replace")


def exactly(sock: socket.socket, count: int) -> bytes:
    """Read so many bytes; a closed connection is a lost peer."""
    data = bytearray(count)
    fill(sock, memoryview(data))
    return bytes(data)


def fill(sock: socket.socket, view: memoryview) -> None:
    """Read until the view is full; a closed connection is a lost peer."""
    while view:
        got = sock.recv_into(view)
        if not got:
            raise PeerLostError("the connection was closed")
        view = view[got:]


def last_words(sock: socket.socket) -> str:
    """Return what a peer said before it went, if it said anything: its silence alone tells no cause."""
    rest = bytearray()
    deadline = time.monotonic() + _LAST_WORDS_S
    with contextlib.suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not (data := sock.recv(_READ)):
                break
            # data may come before it, but it is the last thing that is said
            rest = (rest + data)[-_LONGEST:]
    for start in range(len(rest) - _HEAD.size):
        kind, size = _HEAD.unpack_from(rest, start)
        if kind in (Kind.GOODBYE, Kind.POISON) and start + _HEAD.size + size == len(rest):
            return rest[start + _HEAD.size :].decode(errors="replace")
    return ""


def shut(sock: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """End a connection under whoever still reads or writes it, in any thread."""
    with contextlib.suppress(OSError):
        # the socket's own method: that of TLS drops the encryption first, and what is still being sent would go in the clear
        socket.socket.shutdown(sock, how)


class Sender(threading.Thread):
    """Sends to the next rank while this one receives from the previous."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(name="hops-ring-send", daemon=True)
        self._sock = sock
        self._jobs: queue.SimpleQueue[tuple[tuple[Bytes, ...], Callable[[OSError | None], None]] | None] = (
            queue.SimpleQueue()
        )
        self._done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self.start()

    def send(self, *parts: Bytes) -> None:
        """Begin to send; the parts must stay as they are until :meth:`wait` returns."""
        self._jobs.put((parts, self._done.put))

    def wait(self) -> None:
        """Return when what :meth:`send` was given is sent."""
        if error := self._done.get():
            raise error

    def say(self, data: Bytes, *, timeout_s: float) -> None:
        """Send something after all that is still being sent, and wait for that; give up after ``timeout_s``."""
        tried = threading.Event()
        self._jobs.put(((data,), lambda _: tried.set()))
        tried.wait(timeout_s)

    def end(self) -> None:
        """Let the thread end."""
        self._jobs.put(None)

    def run(self) -> None:
        """Send what is queued."""
        while (job := self._jobs.get()) is not None:
            parts, done = job
            try:
                for part in parts:
                    self._sock.sendall(part)
            except OSError as error:
                done(error)
            else:
                done(None)
