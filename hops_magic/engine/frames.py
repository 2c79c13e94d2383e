"""Messages on a stream: four bytes of length, then that many bytes."""

from __future__ import annotations

import asyncio
import socket
import struct

_LENGTH = struct.Struct("<I")


def frame(payload: bytes) -> bytes:
    """Return a message as it goes over the stream."""
    return _LENGTH.pack(len(payload)) + payload


def receive(sock: socket.socket) -> bytes | None:
    """Read one message, blocking; None at the end of the stream."""
    head = _receive_exactly(sock, _LENGTH.size)
    return None if head is None else _receive_exactly(sock, _LENGTH.unpack(head)[0])


def _receive_exactly(sock: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


async def read(reader: asyncio.StreamReader) -> bytes | None:
    """Read one message; None at the end of the stream, whole or torn."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        return await reader.readexactly(_LENGTH.unpack(head)[0])
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
