"""Collectives over a ring of stream sockets: Unix sockets on one host, TCP (with TLS) across hosts.

Each collective begins with a header that travels with the first bytes: its number, kind, operation, dtype and size. Ranks
that call different collectives learn so, from both calls, instead of hanging or mixing their data.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from hops_magic.errors import CollectiveError, OptionError, PeerLostError

_CHUNK = 1 << 20
_HEAD = struct.Struct("<BH")
_SIZE = struct.Struct("<Q")
_CALL, _GOODBYE, _POISON = 1, 2, 3

SMALL_BYTES = 64 << 10
"""Fits into the kernel's buffers: sending it never blocks."""
MEDIUM_BYTES = 1 << 20

Bytes = bytes | memoryview

_OPS: dict[str, Callable[..., Any]] = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum}


class Alone:
    """The collective of a single rank."""

    rank = 0
    world_size = 1

    def all_reduce(self, array: NDArray[Any], op: str = "sum") -> NDArray[Any]:
        _check_op(op)
        return np.array(array)

    def broadcast(self, array: NDArray[Any], root: int = 0) -> NDArray[Any]:  # noqa: ARG002 (there is one rank)
        return np.array(array)

    def all_gather_objects(self, value: Any) -> Sequence[Any]:
        return [value]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:  # noqa: ARG002 (there is one rank)
        return value

    def barrier(self) -> None:
        return

    def close(self) -> None:
        return


class _Sender(threading.Thread):
    """Sends to the next rank while this one receives from the previous."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(name="hops-ring-send", daemon=True)
        self._sock = sock
        self._jobs: queue.SimpleQueue[tuple[Bytes, ...] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self.start()

    def send(self, *parts: Bytes) -> None:
        self._jobs.put(parts)

    def wait(self) -> None:
        if error := self._done.get():
            raise error

    def end(self) -> None:
        self._jobs.put(None)

    def run(self) -> None:
        while (parts := self._jobs.get()) is not None:
            try:
                for part in parts:
                    self._sock.sendall(part)
                self._done.put(None)
            except OSError as error:
                self._done.put(error)


class Ring:
    """Collectives among ranks, each connected to the next and the previous one.

    One collective runs at a time; several threads take turns, which is only right if they do so alike on all ranks.
    Half-precision values are added up in float32.
    """

    def __init__(self, rank: int, world_size: int, following: socket.socket, previous: socket.socket) -> None:
        self.rank, self.world_size = rank, world_size
        self._next, self._previous = following, previous
        self._sender = _Sender(following)
        self._lock = threading.Lock()
        self._number = 0
        self._closed = False

    def all_reduce(self, array: NDArray[Any], op: str = "sum") -> NDArray[Any]:
        _check_op(op)
        source = np.ascontiguousarray(array)
        wide = source.astype(np.float32) if _is_half(source.dtype) else source.copy()
        flat = wide.reshape(-1)
        with self._lock:
            call = self._begin(f"all_reduce(op={op}, dtype={source.dtype}, elements={source.size})")
            with self._told_to_peers(call):
                if flat.nbytes <= SMALL_BYTES or (self.world_size == 2 and flat.nbytes <= MEDIUM_BYTES):
                    self._reduce_small(flat, _OPS[op], call)
                else:
                    self._reduce_large(flat, _OPS[op], call)
        if op == "mean":
            flat = flat / self.world_size
        return flat.reshape(np.shape(array)).astype(source.dtype, copy=False)

    def broadcast(self, array: NDArray[Any], root: int = 0) -> NDArray[Any]:
        source = np.ascontiguousarray(array)
        data = source.copy()
        view = _bytes_of(data)
        with self._lock:
            call = self._begin(f"broadcast(root={root}, dtype={source.dtype}, elements={source.size})")
            with self._told_to_peers(call):
                place = (self.rank - root) % self.world_size
                # in parts, so that ranks further down receive while this one still does
                for start in range(0, max(1, len(view)), _CHUNK):
                    part = view[start : start + _CHUNK]
                    if place > 0:
                        self._receive_head(call)
                        _fill(self._previous, part)
                    if place < self.world_size - 1:
                        self._next.sendall(_head(_CALL, call))
                        self._next.sendall(part)
        return data

    def all_gather_objects(self, value: Any) -> Sequence[Any]:
        data = memoryview(cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
        gathered: list[Any] = [None] * self.world_size
        gathered[self.rank] = bytes(data)
        with self._lock:
            call = self._begin("all_gather_objects()")
            with self._told_to_peers(call):
                for step in range(self.world_size - 1):
                    self._sender.send(_head(_CALL, call), _SIZE.pack(len(data)), data)
                    self._receive_head(call)
                    size = _SIZE.unpack(exactly(self._previous, _SIZE.size))[0]
                    data = memoryview(bytearray(size))
                    _fill(self._previous, data)
                    self._sender.wait()
                    gathered[(self.rank - step - 1) % self.world_size] = bytes(data)
        return [value if rank == self.rank else pickle.loads(data) for rank, data in enumerate(gathered)]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        return self.all_gather_objects(value if self.rank == root else None)[root]

    def barrier(self) -> None:
        self.all_reduce(np.zeros(1, np.uint8))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._next.sendall(_head(_GOODBYE, f"rank {self.rank} finished without joining"))
        self._hang_up()

    # -- inside --------------------------------------------------------------------------------------------------

    def _begin(self, what: str) -> str:
        if self._closed:
            raise CollectiveError(f"rank {self.rank} called {what} after its end")
        self._number += 1
        return f"#{self._number} {what}"

    def _receive_head(self, call: str) -> None:
        kind, size = _HEAD.unpack(exactly(self._previous, _HEAD.size))
        said = exactly(self._previous, size).decode()
        if kind == _CALL and said == call:
            return
        previous = (self.rank - 1) % self.world_size
        if kind == _CALL:
            raise CollectiveError(f"ranks do not call the same collectives: rank {self.rank} {call}, rank {previous} {said}")
        raise CollectiveError(f"{said} {call} of rank {self.rank}" if kind == _GOODBYE else said)

    @contextlib.contextmanager
    def _told_to_peers(self, call: str) -> Iterator[None]:
        """What goes wrong here must reach every rank: pass it on and hang up."""
        try:
            yield
        except CollectiveError as error:
            if not isinstance(error, PeerLostError):
                with contextlib.suppress(OSError):
                    self._next.sendall(_head(_POISON, str(error)))
            self._hang_up()
            if isinstance(error, PeerLostError):
                raise PeerLostError(f"rank {self.rank} lost a neighbour during {call}") from error
            raise
        except OSError as error:
            words = self._last_words()
            if words:
                with contextlib.suppress(OSError):
                    self._next.sendall(_head(_POISON, words))
            self._hang_up()
            if words:
                raise CollectiveError(words) from error
            raise PeerLostError(f"rank {self.rank} lost a neighbour during {call}: {error}") from error

    def _last_words(self) -> str:
        """What the previous rank said before it went, if it said anything: the next one's silence alone tells no cause."""
        rest = bytearray()
        with contextlib.suppress(OSError):
            self._previous.settimeout(1.0)
            while len(rest) < _CHUNK and (data := self._previous.recv(_CHUNK)):
                rest += data
        # data may come before it, but it is the last thing that is said
        for start in range(len(rest) - _HEAD.size):
            kind, size = _HEAD.unpack_from(rest, start)
            if kind in (_GOODBYE, _POISON) and start + _HEAD.size + size == len(rest):
                return rest[start + _HEAD.size :].decode(errors="replace")
        return ""

    def _hang_up(self) -> None:
        self._closed = True
        self._sender.end()
        for sock in (self._next, self._previous):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def _reduce_small(self, flat: NDArray[Any], combine: Callable[..., Any], call: str) -> None:
        """Pass every rank's values round, and combine them in the order of ranks: the same bits everywhere."""
        parts = {self.rank: flat.copy()}
        outgoing = parts[self.rank]
        for step in range(self.world_size - 1):
            # each part has a head: what comes instead of it, a refusal say, must never be taken for data
            data = _head(_CALL, call) + outgoing.tobytes()
            direct = len(data) <= SMALL_BYTES
            if direct:
                self._next.sendall(data)
            else:
                self._sender.send(data)
            self._receive_head(call)
            incoming = np.empty_like(flat)
            _fill(self._previous, _bytes_of(incoming))
            if not direct:
                self._sender.wait()
            parts[(self.rank - step - 1) % self.world_size] = outgoing = incoming
        flat[:] = parts[0]
        for rank in range(1, self.world_size):
            combine(flat, parts[rank], out=flat)

    def _reduce_large(self, flat: NDArray[Any], combine: Callable[..., Any], call: str) -> None:
        """Reduce-scatter, then gather: each rank sends and receives 2 (n - 1) / n of the data."""
        world, bounds = self.world_size, np.linspace(0, flat.size, self.world_size + 1).astype(int)

        def segment(number: int) -> NDArray[Any]:
            number %= world
            return flat[bounds[number] : bounds[number + 1]]

        spare = np.empty(-(-_CHUNK // flat.itemsize), flat.dtype)
        for step in range(world - 1):
            self._sender.send(_head(_CALL, call), _bytes_of(segment(self.rank - step)))
            self._receive_head(call)
            target = segment(self.rank - step - 1)
            for start in range(0, target.size, spare.size):
                part = target[start : start + spare.size]
                incoming = spare[: part.size]
                _fill(self._previous, _bytes_of(incoming))
                combine(part, incoming, out=part)
            self._sender.wait()
        for step in range(world - 1):
            self._sender.send(_head(_CALL, call), _bytes_of(segment(self.rank + 1 - step)))
            self._receive_head(call)
            _fill(self._previous, _bytes_of(segment(self.rank - step)))
            self._sender.wait()


def _head(kind: int, text: str) -> bytes:
    data = text.encode()
    return _HEAD.pack(kind, len(data)) + data


def exactly(sock: socket.socket, count: int) -> bytes:
    """Read so many bytes; a closed connection is a lost peer."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = sock.recv_into(view)
        if not got:
            raise PeerLostError("the connection was closed")
        view = view[got:]
    return bytes(data)


def _fill(sock: socket.socket, view: memoryview) -> None:
    while view:
        got = sock.recv_into(view)
        if not got:
            raise PeerLostError("the connection was closed")
        view = view[got:]


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return memoryview(array.view(np.uint8).data) if array.size else memoryview(b"")


def _is_half(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize == 2 and dtype.kind in "fV"


def _check_op(op: str) -> None:
    if op not in _OPS:
        raise OptionError("op", f"must be one of {', '.join(_OPS)}", op)
