"""Which way an input takes to the ranks, decided for each fit and evaluation by all of them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.keras.agreement import refuse_other_rows
from hops_magic.frameworks.keras.inputs import arrays, chains
from hops_magic.frameworks.keras.inputs.dealing import deal
from hops_magic.frameworks.keras.inputs.feed import Feed
from hops_magic.frameworks.keras.inputs.specs import can_travel
from hops_magic.runs.events import InputShared


class Inputs:
    """The inputs of a rank's fits and evaluations."""

    def __init__(self, context: RankContext) -> None:
        self._context, self._collective = context, context.collective
        self._feeds: list[Feed] = []
        self._phase = ""
        self._opened = 0

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Divide the inputs that are opened inside, unless ``phase`` is ``predict``, and end them afterwards."""
        before, self._phase = (self._phase, len(self._feeds)), phase
        is_well = False
        try:
            yield
            is_well = True
        finally:
            self._phase, outer = before
            mine, self._feeds = self._feeds[outer:], self._feeds[:outer]
            for feed in mine:
                feed.close()
        if mine and is_well:
            self._draw_alike()

    @property
    def failure(self) -> BaseException | None:
        """What went wrong while a batch was drawn, if anything did."""
        return next((feed.failure for feed in self._feeds if feed.failure is not None), None)

    def arrays(self, get_tf_dataset: Callable[[], Any]) -> Any:
        """Make the dataset of Keras's adapter for arrays."""
        if not self._divides:
            return get_tf_dataset()
        return arrays.divided(get_tf_dataset, self._context.rank, self._context.world_size)

    def divide(self, iterator: Any) -> None:
        """Let an iterator of Keras's give this rank its parts; all ranks must call it."""
        if not self._divides:
            return
        adapter = iterator.data_adapter
        if type(adapter).__name__ == "ArrayDataAdapter":
            self._tell("arrays")
            return
        dataset = iterator._distributed_dataset
        way = self._way_of(adapter, dataset)
        if way == "deal":
            iterator._distributed_dataset = self._opened_feed(deal, dataset)
            if self._context.rank and getattr(adapter, "enqueuer", None) is not None:
                adapter.enqueuer = None  # rank 0's alone works ahead
        self._tell(way)

    # -- inside ---------------------------------------------------------------------------------------------------------

    @property
    def _divides(self) -> bool:
        return self._phase in ("fit", "evaluate")

    def _way_of(self, adapter: Any, dataset: Any) -> str:
        is_chain = type(adapter).__name__ == "TFDatasetAdapter"
        mine = (
            is_chain and chains.is_repeatable(dataset),
            can_travel(dataset.element_spec),
            chains.sources(dataset) if is_chain else "",
            chains.signature(dataset) if is_chain else "",
        )
        repeatable, travel, sources, signatures = zip(*self._collective.all_gather_objects(mine), strict=True)
        if len(set(sources)) > 1:
            refuse_other_rows()
        if (all(repeatable) and len(set(signatures)) == 1) or not all(travel):
            return "whole"
        return "deal"

    def _opened_feed(self, way: Callable[..., Feed], *args: Any) -> Any:
        self._opened += 1
        feed = way(*args, self._collective, f"input {self._opened}")
        self._feeds.append(feed)
        return feed

    def _tell(self, way: str) -> None:
        if self._context.rank == 0:
            self._context.emit(InputShared(way=way, phase=self._phase))

    def _draw_alike(self) -> None:
        """Give all ranks the random generators of rank 0, whose code drew the data."""
        states = (random.getstate(), np.random.get_state()) if self._context.rank == 0 else None
        python_state, numpy_state = self._collective.broadcast_object(states)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
