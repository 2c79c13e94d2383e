"""Connections between single ranks, beside the ring: one direction each, for data that must not wait for collectives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.errors import PeerLostError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.wire import shut

if TYPE_CHECKING:
    from hops_magic.frameworks.rendezvous import Doors

JOIN_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Links:
    """A rank's connections for one purpose, by the rank at the other end."""

    to: Mapping[int, socket.socket]
    come_from: Mapping[int, socket.socket]

    def close(self) -> None:
        """End all connections; what was sent still arrives, and a thread that waits for more stops."""
        for sock in self.to.values():
            shut(sock, socket.SHUT_WR)
        for sock in self.come_from.values():
            shut(sock)
        for sock in (*self.to.values(), *self.come_from.values()):
            sock.close()


def open_links(collective: Collective, name: str, sends: Callable[[int, int], bool]) -> Links:
    """Connect ranks; all of them must call it.

    Parameters
    ----------
    name : str
        What the connections are for, alike on all ranks and never used before.
    sends : callable
        Whether a rank (the first argument) sends to another (the second).
    """
    me, peers = collective.rank, [rank for rank in range(collective.world_size) if rank != collective.rank]
    targets = [rank for rank in peers if sends(me, rank)]
    callers = {rank for rank in peers if sends(rank, me)}
    doors = _doors(collective)
    with doors.open() as (listener, address):
        addresses = collective.all_gather_objects(address)
        called: dict[int, socket.socket | Exception] = {}
        calling = threading.Thread(target=_call_all, args=(doors, addresses, targets, name, called), daemon=True)
        calling.start()
        welcomed: dict[int, socket.socket] = {}
        try:
            welcomed = doors.welcome(listener, callers, name, JOIN_TIMEOUT_S)
        finally:
            calling.join(JOIN_TIMEOUT_S)
            links = Links({rank: sock for rank, sock in called.items() if isinstance(sock, socket.socket)}, welcomed)
            if len(links.to) < len(targets) or len(welcomed) < len(callers):
                links.close()
    for rank, answer in called.items():
        if isinstance(answer, Exception):
            raise PeerLostError(f"rank {me} cannot connect to rank {rank}: {answer}") from answer
    # nobody's door closes before all have come in
    collective.barrier()
    return links


def _call_all(doors: Doors, addresses: Any, targets: list[int], name: str, called: dict[int, Any]) -> None:
    for rank in targets:
        try:
            called[rank] = doors.call(addresses[rank], name, JOIN_TIMEOUT_S)
        except (OSError, PeerLostError) as error:
            called[rank] = error


def _doors(collective: Collective) -> Doors:
    doors: Doors | None = getattr(collective, "doors", None)
    if doors is None:
        raise PeerLostError(f"rank {collective.rank} has no way to open connections to its peers")
    return doors


__all__ = ["Links", "open_links"]
