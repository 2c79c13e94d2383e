"""Parts of batches between ranks: what a step needs of its rows, as bytes on a connection."""

from __future__ import annotations

import math
import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hops_magic.frameworks.wire import exactly, fill

FINGERPRINT_RANGE = 251
_ALIGNMENT = 64

_HEAD = struct.Struct("<BqQ")
"""What it is, the pass over the data that it belongs to, and the size of its pickled description."""


class Of(IntEnum):
    """What a frame is."""

    BATCH = 1
    END = 2
    """The pass over the data is over."""
    ERROR = 3
    """Drawing the data raised."""


@dataclass(frozen=True)
class Frame:
    """One rank's part of a batch, the end of the data, or the error that drawing it raised.

    ``arrays`` are the dense components of the part's rows, in the order of their spec.
    """

    of: Of
    total: int = 0
    first: int = 0
    count: int = 0
    fingerprint: tuple[float, ...] = (0.0, 0.0)
    arrays: Sequence[NDArray[Any]] = ()
    error: BaseException | None = None


END = Frame(Of.END)


class Abandoned(Exception):
    """The pass over the data that a thread makes is not wanted any more."""


def send(sock: socket.socket, round_: int, frame: Frame) -> None:
    """Send a frame of a pass over the data."""
    arrays = [np.asarray(array) for array in frame.arrays]
    described = pickle.dumps(
        (
            frame.total,
            frame.first,
            frame.count,
            frame.fingerprint,
            _portable(frame.error),
            # strings are objects, which have no bytes of their own
            [array if array.dtype == object else (array.shape, array.dtype) for array in arrays],
        )
    )
    sock.sendall(_HEAD.pack(frame.of, round_, len(described)) + described)
    for array in arrays:
        if array.dtype != object and array.size:
            sock.sendall(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def receive(sock: socket.socket) -> tuple[int, Frame]:
    """Receive a frame, with the pass over the data that it belongs to.

    Raises
    ------
    PeerLostError
        If the connection was closed.
    """
    of, round_, size = _HEAD.unpack(exactly(sock, _HEAD.size))
    total, first, count, fingerprint, error, described = pickle.loads(exactly(sock, size))
    arrays = []
    for each in described:
        if isinstance(each, np.ndarray):
            arrays.append(each)
            continue
        array = _aligned(*each)
        if array.size:
            fill(sock, memoryview(array.reshape(-1).view(np.uint8).data))
        arrays.append(array)
    return round_, Frame(Of(of), total, first, count, fingerprint, arrays, error)


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array that TensorFlow takes as it is; it copies those that do not begin at a multiple of 64 bytes."""
    size = math.prod(shape) * dtype.itemsize
    space = np.empty(size + _ALIGNMENT, np.uint8)
    first = -space.ctypes.data % _ALIGNMENT
    return space[first : first + size].view(dtype).reshape(shape)


class Incoming:
    """The frames that a peer sends, pass by pass."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._early: tuple[int, Frame] | None = None

    def of(self, round_: int) -> Frame:
        """Return the next frame of a pass; what is left of earlier ones is dropped.

        Raises
        ------
        Abandoned
            If the peer has gone on to a later pass: it has given this one up, as this rank is about to.
        """
        while True:
            found = self._early or receive(self._sock)
            if found[0] > round_:
                self._early = found
                raise Abandoned
            self._early = None
            if found[0] == round_:
                return found[1]


def _portable(error: BaseException | None) -> BaseException | None:
    """Return an error that can be pickled: itself, or one that says the same."""
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 (errors of users may fail to travel in any way)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
