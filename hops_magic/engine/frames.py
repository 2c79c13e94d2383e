"""Messages on a stream: four bytes of length, then that many bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable

_PART = 1 << 16
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


async def messages(reader: asyncio.StreamReader, on_data: Callable[[], None]) -> AsyncIterator[bytes]:
    """Yield messages to the end of the stream, whole or torn; ``on_data`` is called with whatever part of one comes."""
    left = bytearray()
    while True:
        try:
            part = await reader.read(_PART)
        except ConnectionError:
            return
        if not part:
            return
        on_data()
        left += part
        while len(left) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(left)[0]
            if len(left) < end:
                break
            message = bytes(left[_LENGTH.size : end])
            del left[:end]
            yield message
