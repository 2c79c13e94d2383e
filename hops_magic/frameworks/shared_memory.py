"""Memory that the ranks of one host share: each writes into a buffer of its own, and reads those of the others.

A buffer is anonymous memory, whose descriptor goes from rank to rank over their own connections: it has no name that
anybody else could open, and is gone with the last rank that holds it.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hops_magic.errors import PeerLostError

HALF_BYTES = 4 << 20
"""What is exchanged at once: it stays in the processor's caches, and a step of a larger model costs no larger buffer."""

_HALVES = 2
_BOUNDARY = 64
_MOST_KEPT = 2
# the list's, the name's, and that of the question itself
_REFERENCES = 3
_MARK = b"m"


def can_be_passed(sock: socket.socket) -> bool:
    """Whether a connection takes descriptors of memory along, which only those within a host do."""
    return sock.family == socket.AF_UNIX and hasattr(os, "memfd_create")


def buffer_of_a_rank() -> int | None:
    """Make the memory of one buffer; return its descriptor, or None where there is no memory for it."""
    try:
        descriptor = os.memfd_create("hops-ranks", os.MFD_CLOEXEC)
    except OSError:
        return None
    try:
        # now, since a page that is missing later would end the process
        os.posix_fallocate(descriptor, 0, _HALVES * HALF_BYTES)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def pass_on(descriptor: int, following: socket.socket, previous: socket.socket) -> int:
    """Send a descriptor to the next rank; return the one that the previous rank sends.

    Raises
    ------
    PeerLostError
        If the previous rank is gone.
    """
    socket.send_fds(following, [_MARK], [descriptor])
    data, found, _, _ = socket.recv_fds(previous, len(_MARK), 1, socket.MSG_CMSG_CLOEXEC)
    if data != _MARK or not found:
        for each in found:
            os.close(each)
        raise PeerLostError("the connection was closed")
    return found[0]


class SharedMemory:
    """The buffers of all ranks, mapped into this one.

    Each has two halves, which are used in turns: whoever writes into a half knows that all have read what it held before,
    since they have met over the other half meanwhile.

    Parameters
    ----------
    descriptors
        Of the ranks' buffers, in order of rank; they are not needed any more afterwards.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        # an array keeps its mapping alive, and the mapping the memory
        self._buffers = [np.frombuffer(mmap.mmap(each, _HALVES * HALF_BYTES), np.uint8) for each in descriptors]
        self._half = 0

    def turn(self, dtype: np.dtype[Any], size: int) -> list[NDArray[Any]]:
        """Return the next half of every rank's buffer as an array of ``size`` elements."""
        start = self._half * HALF_BYTES
        self._half = (self._half + 1) % _HALVES
        return [buffer[start : start + size * dtype.itemsize].view(dtype) for buffer in self._buffers]


class Results:
    """Memory for results: such as TensorFlow takes as it is, and again and again as long as nobody else holds it.

    TensorFlow copies what does not begin at a boundary of 64 bytes; and the pages of a new large array cost more than adding
    it up.
    """

    def __init__(self) -> None:
        self._kept: list[NDArray[np.uint8]] = []

    def like(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return memory for as many elements of the same type."""
        size = array.nbytes + _BOUNDARY
        found = next((kept for kept in self._kept if kept.nbytes >= size and sys.getrefcount(kept) == _REFERENCES), None)
        if found is None:
            found = np.empty(size, np.uint8)
            self._kept = [*self._kept[-(_MOST_KEPT - 1) :], found]
        first = -found.ctypes.data % _BOUNDARY
        return found[first : first + array.nbytes].view(array.dtype)
