"""Collectives over a ring of stream sockets: Unix sockets on one host, TCP (with TLS) across hosts.

Ranks that are all on one host reduce large arrays in memory that they share, and meet over their sockets.

Each collective begins with a header that travels with the first bytes: its number, kind, operation, dtype and size. Ranks
that call different collectives learn so, from both calls, instead of hanging or mixing their data.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from hops_magic.errors import CollectiveError, OptionError, PeerLostError
from hops_magic.frameworks.shared_memory import HALF_BYTES, Results, SharedMemory, buffer_of_a_rank, can_be_passed, pass_on
from hops_magic.frameworks.wire import Kind, Sender, exactly, fill, head, last_words, receive_head, shut

if TYPE_CHECKING:
    from hops_magic.frameworks.rendezvous import Doors

_CHUNK = 1 << 20
_LAST_WORDS_S = 5.0
_SIZE = struct.Struct("<Q")

SMALL_BYTES = 64 << 10
"""Fits into the kernel's buffers: sending it never blocks."""
MEDIUM_BYTES = 1 << 20

_OPS: dict[str, Callable[..., Any]] = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum}


class Alone:
    """The collective of a single rank."""

    rank = 0
    world_size = 1

    def all_reduce(self, array: NDArray[Any], op: str = "sum", *, what: str = "") -> NDArray[Any]:  # noqa: ARG002 (said to peers)
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


class Ring:
    """Collectives among ranks, each connected to the next and the previous one.

    One collective runs at a time; several threads take turns, which is only right if they do so alike on all ranks.
    Half-precision values are added up in float32, truth values with "or". :meth:`close` from another thread ends a
    collective that waits.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        following: socket.socket,
        previous: socket.socket,
        doors: Doors | None = None,
    ) -> None:
        self.rank, self.world_size, self.doors = rank, world_size, doors
        self._next, self._previous = following, previous
        self._sender = Sender(following)
        self._spare = np.empty(0, np.uint8)
        self._lock = threading.Lock()
        self._number = 0
        self._ended = ""
        self._results = Results()
        self._memory: SharedMemory | None = None
        self._is_memory_asked = False

    def all_reduce(self, array: NDArray[Any], op: str = "sum", *, what: str = "") -> NDArray[Any]:
        _check_op(op)
        array = np.asarray(array)
        said = f"all_reduce(op={op}, dtype={array.dtype}, elements={array.size}{what and f', of {what}'})"
        return self._reduce(array, op, said)

    def _reduce(self, array: NDArray[Any], op: str, said: str) -> NDArray[Any]:
        source = np.ascontiguousarray(array)
        is_half = _is_half(source.dtype)
        flat = (source.astype(np.float32) if is_half else source).reshape(-1)
        with self._lock:
            call = self._begin(said)
            with self._told_to_peers(call):
                if flat.nbytes <= SMALL_BYTES:
                    flat = self._reduce_small(flat, _OPS[op], call)
                elif (memory := self._shared_memory(call)) is not None:
                    flat = self._reduce_shared(flat, _OPS[op], call, memory)
                elif self.world_size == 2 and flat.nbytes <= MEDIUM_BYTES:
                    flat = self._reduce_small(flat, _OPS[op], call)
                else:
                    flat = flat if is_half else flat.copy()  # reduced in place
                    self._reduce_large(flat, _OPS[op], call)
        if op == "mean":
            flat = np.divide(flat, self.world_size, out=flat) if flat.dtype.kind == "f" else flat / self.world_size
        return flat.reshape(np.shape(array)).astype(source.dtype, copy=False)

    def broadcast(self, array: NDArray[Any], root: int = 0) -> NDArray[Any]:
        data = np.array(array, order="C", ndmin=1)
        view = _bytes_of(data)
        with self._lock:
            call = self._begin(f"broadcast(root={root}, dtype={data.dtype}, elements={data.size})")
            with self._told_to_peers(call):
                # the root hears of the last rank too: two roots would send to each other for ever
                self._next.sendall(head(Kind.CALL, call))
                self._receive_head(call)
                place = (self.rank - root) % self.world_size
                # in parts, so that ranks further down receive while this one still does
                for start in range(0, len(view), _CHUNK):
                    part = view[start : start + _CHUNK]
                    if place > 0:
                        self._receive_head(call)
                        fill(self._previous, part)
                    if place < self.world_size - 1:
                        self._next.sendall(head(Kind.CALL, call))
                        self._next.sendall(part)
        return data.reshape(np.shape(array))

    def all_gather_objects(self, value: Any) -> Sequence[Any]:
        return self._gather(value, "all_gather_objects()")

    def _gather(self, value: Any, said: str) -> list[Any]:
        data = memoryview(cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
        gathered: list[Any] = [None] * self.world_size
        gathered[self.rank] = bytes(data)
        with self._lock:
            call = self._begin(said)
            with self._told_to_peers(call):
                for step in range(self.world_size - 1):
                    self._sender.send(head(Kind.CALL, call), _SIZE.pack(len(data)), data)
                    self._receive_head(call)
                    size = _SIZE.unpack(exactly(self._previous, _SIZE.size))[0]
                    data = memoryview(bytearray(size))
                    fill(self._previous, data)
                    self._sender.wait()
                    gathered[(self.rank - step - 1) % self.world_size] = bytes(data)
        return [value if rank == self.rank else pickle.loads(data) for rank, data in enumerate(gathered)]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        return self._gather(value if self.rank == root else None, f"broadcast_object(root={root})")[root]

    def barrier(self) -> None:
        self._reduce(np.zeros(1, np.uint8), "sum", "barrier()")

    def close(self) -> None:
        if self._ended:
            return
        self._ended = "it was closed"
        if self._lock.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):
                    self._next.sendall(head(Kind.GOODBYE, f"rank {self.rank} finished without joining"))
                self._hang_up("it was closed")
            finally:
                self._lock.release()
        else:
            # another thread is in a collective: let it stop waiting
            for sock in (self._next, self._previous):
                shut(sock)

    # -- inside --------------------------------------------------------------------------------------------------

    def _begin(self, what: str) -> str:
        if self._ended:
            raise CollectiveError(f"rank {self.rank} called {what} on a ring that has ended: {self._ended}")
        self._number += 1
        return f"#{self._number} {what}"

    def _receive_head(self, call: str) -> None:
        kind, said = receive_head(self._previous)
        if kind is Kind.CALL and said == call:
            return
        previous = (self.rank - 1) % self.world_size
        if kind is Kind.CALL:
            raise CollectiveError(f"ranks do not call the same collectives: rank {self.rank} {call}, rank {previous} {said}")
        raise CollectiveError(f"{said} {call} of rank {self.rank}" if kind is Kind.GOODBYE else said)

    @contextlib.contextmanager
    def _told_to_peers(self, call: str) -> Iterator[None]:
        """What goes wrong here must reach every rank: pass it on and hang up."""
        try:
            yield
        except (PeerLostError, OSError) as error:
            if self._ended:
                self._hang_up(self._ended)
                raise CollectiveError(f"rank {self.rank} was closed during {call}") from error
            words = last_words(self._previous) if isinstance(error, OSError) else ""
            self._fail(words, f"rank {self.rank} lost a neighbour during {call}")
            if words:
                raise CollectiveError(words) from error
            raise PeerLostError(f"rank {self.rank} lost a neighbour during {call}: {error}") from error
        except CollectiveError as error:
            self._fail(str(error), str(error))
            raise
        except BaseException as error:
            # an interrupt, say: what is still under way would be taken for the next collective's
            self._fail("", f"{type(error).__name__} in the middle of {call}")
            raise

    def _fail(self, words: str, reason: str) -> None:
        # first of all: a rank that still sends here would wait for ever, and so would its own words
        shut(self._previous)
        self._previous.close()
        if words:
            self._sender.say(head(Kind.POISON, words), timeout_s=_LAST_WORDS_S)
        self._hang_up(reason)

    def _hang_up(self, reason: str) -> None:
        self._ended = reason
        self._sender.end()
        shut(self._next, socket.SHUT_WR)  # what was said still arrives
        shut(self._previous)
        self._previous.close()

    def _reduce_small(self, flat: NDArray[Any], combine: Callable[..., Any], call: str) -> NDArray[Any]:
        """Pass every rank's values round, and combine them in the order of ranks: the same bits everywhere."""
        parts = {self.rank: flat}
        outgoing = flat
        for step in range(self.world_size - 1):
            # each part has a head: what comes instead of it, a refusal say, must never be taken for data
            announced = head(Kind.CALL, call)
            direct = len(announced) + outgoing.nbytes <= SMALL_BYTES
            if direct:
                self._next.sendall(announced + outgoing.tobytes())
            else:
                self._sender.send(announced, _bytes_of(outgoing))
            self._receive_head(call)
            incoming = self._space(flat) if self.world_size == 2 else np.empty_like(flat)
            fill(self._previous, _bytes_of(incoming))
            if not direct:
                self._sender.wait()
            parts[(self.rank - step - 1) % self.world_size] = outgoing = incoming
        reduced: NDArray[Any] = combine(parts[0], parts[1])
        for rank in range(2, self.world_size):
            combine(reduced, parts[rank], out=reduced)
        return reduced

    def _space(self, like: NDArray[Any]) -> NDArray[Any]:
        """Return memory that is used again and again: new pages for each call would cost more than the call."""
        if self._spare.nbytes < like.nbytes:
            self._spare = np.empty(like.nbytes, np.uint8)
        return self._spare[: like.nbytes].view(like.dtype)

    def _shared_memory(self, call: str) -> SharedMemory | None:
        """Return what all ranks map, if all of them can; they find that out with the first large array."""
        if self._is_memory_asked:
            return self._memory
        self._is_memory_asked = True
        is_near = can_be_passed(self._next) and can_be_passed(self._previous)
        mine = buffer_of_a_rank() if is_near else None
        found = {} if mine is None else {self.rank: mine}
        try:
            if not self._all_have(mine is not None, call):
                return None
            for step in range(self.world_size - 1):
                place = (self.rank - step) % self.world_size
                found[(place - 1) % self.world_size] = pass_on(found[place], self._next, self._previous)
            self._memory = SharedMemory([found[rank] for rank in range(self.world_size)])
        finally:
            # what is mapped stays
            for descriptor in found.values():
                os.close(descriptor)
        return self._memory

    def _all_have(self, is_there: bool, call: str) -> bool:
        """Whether all ranks say yes; each is asked by the next one, and passes on what it has heard."""
        everyone = heard = is_there
        for _ in range(self.world_size - 1):
            self._next.sendall(head(Kind.CALL, call) + bytes([heard]))
            self._receive_head(call)
            heard = bool(exactly(self._previous, 1)[0])
            everyone = everyone and heard
        return everyone

    def _meet(self, call: str) -> None:
        """Return when every rank is here."""
        for _ in range(self.world_size - 1):
            self._next.sendall(head(Kind.CALL, call))
            self._receive_head(call)

    def _reduce_shared(
        self, flat: NDArray[Any], combine: Callable[..., Any], call: str, memory: SharedMemory
    ) -> NDArray[Any]:
        """Each rank reduces its segment from all buffers, in the order of ranks, and takes the others' as they made them."""
        reduced = self._results.like(flat)
        most = HALF_BYTES // flat.itemsize
        for start in range(0, flat.size, most):
            given, taken = flat[start : start + most], reduced[start : start + most]
            buffers = memory.turn(flat.dtype, given.size)
            bounds = np.linspace(0, given.size, self.world_size + 1).astype(int)
            segments = [slice(*pair) for pair in itertools.pairwise(bounds)]
            own = segments[self.rank]
            for other in segments:
                if other is not own:
                    buffers[self.rank][other] = given[other]
            self._meet(call)
            parts = [given[own] if rank == self.rank else buffer[own] for rank, buffer in enumerate(buffers)]
            combine(parts[0], parts[1], out=taken[own])
            for part in parts[2:]:
                combine(taken[own], part, out=taken[own])
            buffers[self.rank][own] = taken[own]
            self._meet(call)
            for rank, other in enumerate(segments):
                if other is not own:
                    taken[other] = buffers[rank][other]
        return reduced

    def _reduce_large(self, flat: NDArray[Any], combine: Callable[..., Any], call: str) -> None:
        """Reduce-scatter, then gather: each rank sends and receives 2 (n - 1) / n of the data."""
        world, bounds = self.world_size, np.linspace(0, flat.size, self.world_size + 1).astype(int)

        def segment(number: int) -> NDArray[Any]:
            number %= world
            return flat[bounds[number] : bounds[number + 1]]

        spare = np.empty(-(-_CHUNK // flat.itemsize), flat.dtype)
        for step in range(world - 1):
            self._sender.send(head(Kind.CALL, call), _bytes_of(segment(self.rank - step)))
            self._receive_head(call)
            target = segment(self.rank - step - 1)
            for start in range(0, target.size, spare.size):
                part = target[start : start + spare.size]
                incoming = spare[: part.size]
                fill(self._previous, _bytes_of(incoming))
                combine(part, incoming, out=part)
            self._sender.wait()
        for step in range(world - 1):
            self._sender.send(head(Kind.CALL, call), _bytes_of(segment(self.rank + 1 - step)))
            self._receive_head(call)
            fill(self._previous, _bytes_of(segment(self.rank - step)))
            self._sender.wait()


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return memoryview(array.view(np.uint8).data) if array.size else memoryview(b"")


def _is_half(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize == 2 and dtype.kind in "fV"


def _check_op(op: str) -> None:
    if op not in _OPS:
        raise OptionError("op", f"must be one of {', '.join(_OPS)}", op)
