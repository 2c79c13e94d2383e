"""What ranks say to one another: the protocol every transport fulfils."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class Collective(Protocol):
    """Collectives among the ranks of one attempt; each must be called by all ranks in the same order.

    A transport checks that: a rank that calls another collective, or with another size or dtype, raises
    :class:`~hops_magic.errors.CollectiveError` on every rank, naming both calls. A rank whose peer is gone raises
    :class:`~hops_magic.errors.PeerLostError` at once.
    """

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        ...

    def all_reduce(self, array: NDArray[Any], op: str = "sum", *, what: str = "") -> NDArray[Any]:
        """Reduce arrays of one shape and dtype over ranks (``sum``, ``mean``, ``max``, ``min``); the same result on all.

        ``what`` says what the array holds, e.g. the names of values packed into it; it must be alike on all ranks too.
        """
        ...

    def broadcast(self, array: NDArray[Any], root: int = 0) -> NDArray[Any]:
        """Give every rank the array of ``root``; shapes and dtypes must agree."""
        ...

    def all_gather_objects(self, value: Any) -> Sequence[Any]:
        """Give every rank the picklable values of all, in order of rank."""
        ...

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        """Give every rank the picklable value of ``root``."""
        ...

    def barrier(self) -> None:
        """Return when every rank has called it."""
        ...

    def close(self) -> None:
        """Say goodbye: peers that still wait for this rank get an error, not silence."""
        ...
