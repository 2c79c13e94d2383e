"""Which way an input takes to the ranks, decided for each fit and evaluation by all of them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.keras.agreement import refuse_other_rows
from hops_magic.frameworks.keras.inputs import arrays, chains, pushing
from hops_magic.frameworks.keras.inputs.dealing import deal
from hops_magic.frameworks.keras.inputs.feed import Feed
from hops_magic.frameworks.keras.inputs.own import feed_own
from hops_magic.frameworks.keras.inputs.parts import Evidence, agreed_batches, are_parts, evidence_of
from hops_magic.frameworks.keras.inputs.specs import can_travel
from hops_magic.frameworks.keras.inputs.turns import SLOW_S, alternate, seconds_a_batch
from hops_magic.runs.events import InputShared, Warned

_SPLIT_BY_HAND = (
    "rank 0 draws this input for all ranks, and hops.shard was used: if this input is made of one rank's part, the rows of "
    "all others are left out; leave hops.shard out, or let what fit is given hold what hops.shard gave, unchanged"
)


_NONE = Evidence()


@dataclass(frozen=True)
class _Facts:
    """What a rank knows of an input; all ranks decide by the facts of all."""

    travels: bool
    repeatable: bool = False
    is_heavy: bool = False
    sources: str = ""
    signature: str = ""
    seconds: float = 0.0
    first: tuple[str, ...] = ()
    parts: Evidence = _NONE


class Inputs:
    """The inputs of a rank's fits and evaluations."""

    def __init__(self, context: RankContext) -> None:
        self._context, self._collective = context, context.collective
        self._feeds: list[Feed] = []
        self._phase = ""
        self._opened = 0
        self._parts: list[bool] = []
        self._splits_before = 0
        self._are_parts = False

    @contextmanager
    def of(self, phase: str, parts: tuple[bool, ...] = ()) -> Iterator[None]:
        """Divide the inputs that are opened inside, unless ``phase`` is ``predict``, and end them afterwards.

        Parameters
        ----------
        parts
            Of the inputs in their order, the last for all others: whether ranks feed arrays that are rows of their own.
        """
        before, self._phase = (self._phase, len(self._feeds), self._parts), phase
        self._parts = list(parts)
        is_well = False
        try:
            yield
            is_well = True
        finally:
            self._phase, outer, self._parts = before
            mine, self._feeds = self._feeds[outer:], self._feeds[:outer]
            for feed in mine:
                feed.close()
        if mine and is_well:
            self._draw_alike()

    @property
    def failure(self) -> BaseException | None:
        """What went wrong while a batch was drawn, if anything did."""
        return next((feed.failure for feed in self._feeds if feed.failure is not None), None)

    def opening(self) -> bool:
        """Note that an input is about to be opened; return whether its arrays, if it is made of any, are ranks' own rows."""
        self._splits_before = len(self._context.splits)
        if len(self._parts) > 1:
            self._are_parts = self._parts.pop(0)
        else:
            self._are_parts = bool(self._parts and self._parts[0])
        return self._are_parts

    def arrays(self, adapter: Any, get_tf_dataset: Callable[[], Any]) -> Any:
        """Make the dataset of Keras's adapter for arrays."""
        if not self._divides or self._are_parts:
            return get_tf_dataset()
        return arrays.divided(adapter, get_tf_dataset, self._context.rank, self._context.world_size)

    def divide(self, iterator: Any) -> None:
        """Let an iterator of Keras's give this rank its parts; all ranks must call it."""
        if not self._divides:
            return
        adapter = iterator.data_adapter
        dataset = iterator._distributed_dataset
        if type(adapter).__name__ == "ArrayDataAdapter":
            way = "shard" if self._are_parts else "arrays"
        else:
            way = self._way_of(adapter, dataset)
        if way == "shard":
            self._let_feed(iterator, adapter, dataset)
        elif way == "arrays":
            iterator._distributed_dataset = arrays.ReadOnce(dataset, iterator)
        elif way == "push" and (chain := pushing.chain_of(dataset)) is not None:
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
        if are_parts([each.parts for each in facts]):
            return "shard"
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
        parts = self._evidence(adapter, dataset)
        if parts.holds_part:
            return _Facts(travels=travels, parts=parts)
        if type(adapter).__name__ == "PyDatasetAdapter":
            seconds, first = seconds_a_batch(adapter, self._collective)
            return _Facts(travels=travels, seconds=seconds, first=first, parts=parts)
        if type(adapter).__name__ != "TFDatasetAdapter":
            return _Facts(travels=travels, parts=parts)
        repeatable = chains.is_repeatable(dataset)
        chain = pushing.chain_of(dataset) if repeatable else None
        heavy = chain is not None and self._context.rank == 0 and pushing.is_heavy(chain)
        signature = chains.signature(dataset) if repeatable else ""
        return _Facts(travels, repeatable, heavy, chains.sources(dataset), signature, parts=parts)

    def _evidence(self, adapter: Any, dataset: Any) -> Evidence:
        if len(self._context.splits) > self._splits_before:  # its own code split data, in what was drawn of it so far
            return Evidence(holds_part=True)
        held = [getattr(adapter, name, None) for name in ("py_dataset", "generator")]
        return evidence_of(next((each for each in held if each is not None), dataset), self._context)

    def _let_feed(self, iterator: Any, adapter: Any, dataset: Any) -> None:
        """Let each rank feed its own rows."""
        spec = dataset.element_spec
        number = agreed_batches(adapter.num_batches, spec, self._collective)
        if not can_travel(spec):
            raise UnsupportedError(
                "this input is a part that hops.shard gave, and has parts of batches without rows (numbers, or None): "
                "leave them out, or train with -n 1"
            )
        iterator._distributed_dataset = self._opened_feed(feed_own, dataset)
        # how many batches there are is what all ranks' data make, not this rank's alone
        kind = type(adapter)
        adapter.__class__ = type(kind.__name__, (kind,), {"num_batches": property(lambda _: number)})
        iterator._num_batches = number

    def _opened_feed(self, way: Callable[..., Feed], *args: Any) -> Any:
        self._opened += 1
        feed = way(*args, self._collective, f"input {self._opened}")
        self._feeds.append(feed)
        return feed

    def _tell(self, way: str) -> None:
        if self._context.rank:
            return
        self._context.emit(InputShared(way=way, phase=self._phase))
        if way == "deal" and self._context.splits:
            self._context.emit(Warned(message=_SPLIT_BY_HAND))

    def _draw_alike(self) -> None:
        """Give all ranks the random generators of rank 0, whose code drew the data."""
        states = (random.getstate(), np.random.get_state()) if self._context.rank == 0 else None
        python_state, numpy_state = self._collective.broadcast_object(states)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
