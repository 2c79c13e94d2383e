"""How ranks find each other: sockets that are bound before a rank starts, and a mutual proof that both belong to the run."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hops_magic.errors import PeerLostError
from hops_magic.frameworks.ring import Ring
from hops_magic.frameworks.wire import exactly

_LENGTH = struct.Struct("<I")
_SOCKET_BUFFER = 4 << 20
_LOOK_S = 0.2

Address = Any
"""Path of a Unix socket, or ``(host, port)``."""


def listen(place: Path | str) -> tuple[socket.socket, Address]:
    """Bind a listening socket: a Unix socket in a folder (a ``Path``), or a TCP port of a host that the system picks."""
    if isinstance(place, Path):
        path = place / os.urandom(6).hex()
        listener = socket.socket(socket.AF_UNIX)
        # the path of a Unix socket is at most 107 bytes: bind through the folder's descriptor
        folder = os.open(place, os.O_PATH | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        address: Address = str(path)
    else:
        family = socket.AF_INET6 if ":" in place else socket.AF_INET
        listener = socket.socket(family)
        listener.bind((place.strip("[]"), 0))
        address = list(listener.getsockname()[:2])
    listener.listen(8)
    return listener, address


@dataclass(frozen=True)
class Doors:
    """How a rank opens further connections to its peers, as private and as proven as those of the ring.

    Attributes
    ----------
    place : Path or str
        Where it listens: the folder of its Unix sockets, or its host.
    """

    rank: int
    place: Path | str
    token: bytes
    ssl_client: ssl.SSLContext | None = None
    ssl_server: ssl.SSLContext | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[socket.socket, Address]]:
        """Listen for as long as peers are expected."""
        listener, address = listen(self.place)
        try:
            with listener:
                yield listener, address
        finally:
            if isinstance(address, str):
                Path(address).unlink(missing_ok=True)

    def call(self, address: Address, name: str, timeout_s: float) -> socket.socket:
        """Connect to a peer that listens; ``name`` tells connections of one purpose from those of another."""
        return _call(address, self.rank, self._token_of(name), time.monotonic() + timeout_s, self.ssl_client)

    def welcome(
        self, listener: socket.socket, callers: Collection[int], name: str, timeout_s: float
    ) -> dict[int, socket.socket]:
        """Accept peers, each once.

        Raises
        ------
        PeerLostError
            If one does not come in time.
        """
        deadline, token = time.monotonic() + timeout_s, self._token_of(name)
        met: dict[int, socket.socket] = {}
        news = threading.Condition()

        def judge(sock: socket.socket) -> None:
            try:
                caller, proven = _answer(sock, callers, token, deadline, self.ssl_server)
            except (OSError, PeerLostError):
                sock.close()
                return
            with news:
                met[caller] = proven
                news.notify_all()

        listener.settimeout(_LOOK_S)
        while len(met) < len(callers):
            if time.monotonic() > deadline:
                missing = min(set(callers) - set(met))
                raise PeerLostError(f"rank {self.rank}: rank {missing} did not connect within {timeout_s:.0f} s")
            with contextlib.suppress(TimeoutError):
                sock, _ = listener.accept()
                threading.Thread(target=judge, args=(sock,), name="hops-door", daemon=True).start()
                # all that are expected may have called by now: do not wait for one more
                with news:
                    news.wait(_LOOK_S)
        return met

    def _token_of(self, name: str) -> bytes:
        return hmac.new(self.token, b"door " + name.encode(), hashlib.sha256).digest()


def connect_ring(
    rank: int,
    world_size: int,
    addresses: Sequence[Address],
    *,
    token: bytes,
    listener: socket.socket,
    timeout_s: float,
    ssl_client: ssl.SSLContext | None = None,
    ssl_server: ssl.SSLContext | None = None,
) -> Ring:
    """Join a ring: connect to the next rank, accept the previous one, and prove to each other that both know the token.

    Raises
    ------
    PeerLostError
        If a neighbour does not join within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    following, previous = (rank + 1) % world_size, (rank - 1) % world_size
    met: dict[str, socket.socket | Exception] = {}

    def reach() -> None:
        try:
            met["next"] = _call(addresses[following], rank, token, deadline, ssl_client)
        except (OSError, PeerLostError) as error:
            met["next"] = error

    # both at once: with two ranks each waits for the other to answer
    caller = threading.Thread(target=reach, name="hops-ring-join", daemon=True)
    caller.start()
    accepted = _welcome(
        listener, previous, token, deadline, ssl_server, is_hopeless=lambda: isinstance(met.get("next"), Exception)
    )
    caller.join(max(0.0, deadline - time.monotonic()) + 1)
    reached = met.get("next")
    if accepted is not None and isinstance(reached, socket.socket):
        own = addresses[rank]
        place = Path(own).parent if isinstance(own, str) else str(own[0])
        return Ring(rank, world_size, reached, accepted, Doors(rank, place, token, ssl_client, ssl_server))
    for sock in (accepted, reached):
        if isinstance(sock, socket.socket):
            sock.close()
    if isinstance(reached, Exception) and not isinstance(reached, TimeoutError):
        raise PeerLostError(f"rank {rank} cannot join rank {following}: {reached}") from reached
    missing = following if accepted is not None or reached is None else previous
    raise PeerLostError(f"rank {rank}: rank {missing} did not join within {timeout_s:.0f} s")


def _proof(token: bytes, who: bytes, nonce: bytes) -> bytes:
    return hmac.new(token, who + nonce, hashlib.sha256).digest()


def _call(address: Address, rank: int, token: bytes, deadline: float, context: ssl.SSLContext | None) -> socket.socket:
    sock = _dial(address)
    sock.settimeout(max(0.1, deadline - time.monotonic()))
    if context is not None:
        sock = context.wrap_socket(sock)
    nonce, me = os.urandom(16), _LENGTH.pack(rank)
    sock.sendall(nonce + me)
    answer = exactly(sock, 48)
    if not hmac.compare_digest(answer[16:], _proof(token, b"server", nonce)):
        raise PeerLostError(f"what listens at {address} does not belong to this run")
    sock.sendall(_proof(token, b"client" + me, answer[:16]))
    return _tuned(sock)


def _dial(address: Address) -> socket.socket:
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        path = Path(address)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        return sock
    return socket.create_connection(tuple(address), timeout=10)


def _welcome(
    listener: socket.socket,
    expected: int,
    token: bytes,
    deadline: float,
    context: ssl.SSLContext | None,
    is_hopeless: Callable[[], bool],
) -> socket.socket | None:
    """Return the connection of the expected rank, None if it does not come in time or it would not help any more."""
    proven: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def judge(sock: socket.socket) -> None:
        try:
            proven.put(_answer(sock, {expected}, token, deadline, context)[1])
        except (OSError, PeerLostError):
            sock.close()  # a stranger, or one that gave up: the right one may still come

    with listener:
        listener.settimeout(_LOOK_S)
        while time.monotonic() < deadline and not is_hopeless():
            with contextlib.suppress(queue.Empty):
                return proven.get_nowait()
            with contextlib.suppress(TimeoutError):
                sock, _ = listener.accept()
                # each in a thread: a stranger that says nothing must not keep the right one waiting
                threading.Thread(target=judge, args=(sock,), name="hops-ring-welcome", daemon=True).start()
                with contextlib.suppress(queue.Empty):
                    return proven.get(timeout=_LOOK_S)
    return None


def _answer(
    sock: socket.socket, expected: Container[int], token: bytes, deadline: float, context: ssl.SSLContext | None
) -> tuple[int, socket.socket]:
    sock.settimeout(max(0.1, deadline - time.monotonic()))
    if context is not None:
        sock = context.wrap_socket(sock, server_side=True)
    hello = exactly(sock, 20)
    nonce = os.urandom(16)
    sock.sendall(nonce + _proof(token, b"server", hello[:16]))
    if not hmac.compare_digest(exactly(sock, 32), _proof(token, b"client" + hello[16:], nonce)):
        raise PeerLostError("a stranger called")
    (caller,) = _LENGTH.unpack(hello[16:])
    if caller not in expected:
        raise PeerLostError("another rank called")
    return caller, _tuned(sock)


def _tuned(sock: socket.socket) -> socket.socket:
    sock.settimeout(None)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
    return sock
