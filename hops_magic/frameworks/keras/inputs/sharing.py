"""Which way an input takes to the ranks, decided for each fit and evaluation by all of them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hops_magic.frameworks.context import RankContext, was_split
from hops_magic.frameworks.keras.agreement import refuse_other_rows
from hops_magic.frameworks.keras.inputs import arrays, chains, pushing
from hops_magic.frameworks.keras.inputs.dealing import deal
from hops_magic.frameworks.keras.inputs.feed import Feed
from hops_magic.frameworks.keras.inputs.specs import can_travel
from hops_magic.frameworks.keras.inputs.turns import SLOW_S, alternate, seconds_a_batch
from hops_magic.runs.events import InputShared, Warned

_SPLIT_BY_HAND = (
    "rank 0 draws this input for all ranks, and hops.shard was used: an input made of one rank's part would leave "
    "out the rows of all others; leave hops.shard out, fit splits each batch over the ranks by itself"
)


@dataclass(frozen=True)
class _Facts:
    """What a rank knows of an input; all ranks decide by the facts of all."""

    travels: bool
    repeatable: bool = False
    is_heavy: bool = False
    sources: str = ""
    signature: str = ""
    seconds: float = 0.0
    first: str = ""


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
        if way == "push" and (chain := pushing.chain_of(dataset)) is not None:
            iterator._distributed_dataset = pushing.pushed(chain, self._context.rank, self._context.world_size)
        elif way == "alternate":
            iterator._distributed_dataset = self._opened_feed(alternate, adapter, dataset)
        elif way == "deal":
            iterator._distributed_dataset = self._opened_feed(deal, dataset)
            if self._context.rank and getattr(adapter, "enqueuer", None) is not None:
                adapter.enqueuer = None  # rank 0's alone works ahead
        self._tell(way)

    # -- inside ---------------------------------------------------------------------------------------------------------

    @property
    def _divides(self) -> bool:
        return self._phase in ("fit", "evaluate")

    def _way_of(self, adapter: Any, dataset: Any) -> str:
        import tensorflow as tf

        mine = self._facts(adapter, dataset)
        facts = self._collective.all_gather_objects(mine)
        if len({each.sources for each in facts}) > 1:
            refuse_other_rows()
        if not all(each.travels for each in facts):
            return "whole"
        if all(each.repeatable for each in facts) and len({each.signature for each in facts}) == 1:
            return "push" if facts[0].is_heavy else "whole"
        dense = all(isinstance(leaf, tf.TensorSpec) for leaf in tf.nest.flatten(dataset.element_spec))
        slow = dense and all(each.seconds > 0 for each in facts) and facts[0].seconds >= SLOW_S
        return "alternate" if slow and len({each.first for each in facts}) == 1 else "deal"

    def _facts(self, adapter: Any, dataset: Any) -> _Facts:
        travels = can_travel(dataset.element_spec)
        if type(adapter).__name__ == "PyDatasetAdapter":
            seconds, first = seconds_a_batch(adapter)
            return _Facts(travels=travels, seconds=seconds, first=first)
        if type(adapter).__name__ != "TFDatasetAdapter":
            return _Facts(travels=travels)
        repeatable = chains.is_repeatable(dataset)
        chain = pushing.chain_of(dataset) if repeatable else None
        heavy = chain is not None and self._context.rank == 0 and pushing.is_heavy(chain)
        signature = chains.signature(dataset) if repeatable else ""
        return _Facts(travels, repeatable, heavy, chains.sources(dataset), signature)

    def _opened_feed(self, way: Callable[..., Feed], *args: Any) -> Any:
        self._opened += 1
        feed = way(*args, self._collective, f"input {self._opened}")
        self._feeds.append(feed)
        return feed

    def _tell(self, way: str) -> None:
        if self._context.rank:
            return
        self._context.emit(InputShared(way=way, phase=self._phase))
        if way == "deal" and was_split():
            self._context.emit(Warned(message=_SPLIT_BY_HAND))

    def _draw_alike(self) -> None:
        """Give all ranks the random generators of rank 0, whose code drew the data."""
        states = (random.getstate(), np.random.get_state()) if self._context.rank == 0 else None
        python_state, numpy_state = self._collective.broadcast_object(states)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
