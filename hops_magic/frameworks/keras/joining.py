"""Calls that all ranks must make: one that some ranks make alone is named, with what calls it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hops_magic.errors import CollectiveError, PeerLostError, UnsupportedError
from hops_magic.frameworks.context import RankContext

_CALL = "a call of "
_SAID = re.compile(rf"of {_CALL}([^()]+)\)")


def join(context: RankContext, method: str) -> None:
    """Wait until all ranks make this call. Called at the beginning of what cannot be done by one rank alone."""
    if context.world_size > 1:
        context.collective.all_reduce(np.zeros(1, np.uint8), "max", what=f"{_CALL}{method}{_in_callback()}")


def _in_callback() -> str:
    from keras.callbacks import Callback, CallbackList

    frame: Any = sys._getframe(2)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Callback) and not isinstance(owner, CallbackList) and frame.f_code.co_name.startswith("on_"):
            return f" in {type(owner).__name__}.{frame.f_code.co_name}"
        frame = frame.f_back
    return ""


@contextmanager
def explained(context: RankContext) -> Iterator[None]:
    """Say of ranks that parted which call of Keras some of them made alone, and what to do."""
    try:
        yield
    except CollectiveError as error:
        calls = sorted(set(_SAID.findall(str(error))))
        if isinstance(error, PeerLostError) or not calls:
            raise
        raise UnsupportedError(_sentence(calls, str(error), by_rank=context.mentions_rank)) from error


def _sentence(calls: list[str], error: str, *, by_rank: bool) -> str:
    if len(calls) > 1:
        said = f"some ranks call {calls[0]} while others call {calls[1]}"
    else:
        said = f"some ranks call {calls[0]} and others do not"
    guarded = " outside of conditions on hops.rank" if by_rank else ", not by what one rank alone knows"
    return (
        f"{said}, but its rows are split over all ranks: let every rank make the same calls{guarded}, "
        f"or use predict, which a rank can call alone ({error})"
    )
