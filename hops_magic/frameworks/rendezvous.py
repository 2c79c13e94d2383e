"""How ranks find each other: sockets that are bound before a rank starts, and a mutual proof that both belong to the run."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hops_magic.errors import PeerLostError
from hops_magic.frameworks.ring import Ring, exactly

_LENGTH = struct.Struct("<I")
_SOCKET_BUFFER = 4 << 20

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
    try:
        accepted = _answer(listener, previous, token, deadline, ssl_server)
    except OSError as error:
        raise PeerLostError(f"rank {rank}: rank {previous} did not join within {timeout_s:.0f} s") from error
    finally:
        listener.close()
    caller.join(max(0.0, deadline - time.monotonic()) + 1)
    reached = met.get("next")
    if not isinstance(reached, socket.socket):
        raise PeerLostError(f"rank {rank}: rank {following} did not join within {timeout_s:.0f} s") from reached
    return Ring(rank, world_size, reached, accepted)


def _proof(token: bytes, who: bytes, nonce: bytes) -> bytes:
    return hmac.new(token, who + nonce, hashlib.sha256).digest()


def _call(address: Address, rank: int, token: bytes, deadline: float, context: ssl.SSLContext | None) -> socket.socket:
    sock = _dial(address)
    sock.settimeout(max(0.1, deadline - time.monotonic()))
    if context is not None:
        sock = context.wrap_socket(sock)
    nonce = os.urandom(16)
    sock.sendall(nonce + _LENGTH.pack(rank))
    answer = exactly(sock, 48)
    if not hmac.compare_digest(answer[16:], _proof(token, b"server", nonce)):
        raise PeerLostError(f"what listens at {address} does not belong to this run")
    sock.sendall(_proof(token, b"client", answer[:16]))
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


def _answer(
    listener: socket.socket, expected: int, token: bytes, deadline: float, context: ssl.SSLContext | None
) -> socket.socket:
    while True:
        listener.settimeout(max(0.01, deadline - time.monotonic()))
        sock, _ = listener.accept()
        sock.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            hello = exactly(sock, 20)
            nonce = os.urandom(16)
            sock.sendall(nonce + _proof(token, b"server", hello[:16]))
            proven = hmac.compare_digest(exactly(sock, 32), _proof(token, b"client", nonce))
            if proven and _LENGTH.unpack(hello[16:])[0] == expected:
                return _tuned(sock)
        except (OSError, PeerLostError):
            pass  # a stranger, or one that gave up: the right one may still come
        sock.close()


def _tuned(sock: socket.socket) -> socket.socket:
    sock.settimeout(None)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
    return sock
