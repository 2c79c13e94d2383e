"""Alternate: ranks make the batches of an indexable dataset in turns, and give each other the rows.

For a ``PyDataset`` whose ``__getitem__`` gives the same for the same index on every rank, whoever asks and whenever.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from hops_magic.errors import PeerLostError, UnsupportedError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.inputs.dealing import Put, frames_of
from hops_magic.frameworks.keras.inputs.feed import AHEAD, Feed
from hops_magic.frameworks.keras.inputs.frames import END, Frame, Incoming, Of, send
from hops_magic.frameworks.keras.inputs.purity import probed, state_of
from hops_magic.frameworks.keras.inputs.specs import part_spec
from hops_magic.frameworks.links import Links, open_links

SLOW_S = 5e-3
"""Seconds a batch from which on making them in turns is worth the exchange."""


def seconds_a_batch(adapter: Any, collective: Collective) -> tuple[float, tuple[str, ...]]:
    """Return how long a ``PyDataset`` takes for a batch, and what it and some of its batches are, to be the same everywhere.

    The time is 0.0 where batches may depend on more than their index.
    """
    import keras

    dataset, base = adapter.py_dataset, keras.utils.PyDataset
    hooks = ("on_epoch_begin", "on_epoch_end", "__iter__")
    if any(getattr(type(dataset), name) is not getattr(base, name) for name in hooks) or not dataset.num_batches:
        return 0.0, ()
    if adapter.enqueuer is not None:
        return 0.0, ()
    return probed(dataset, backwards=collective.rank % 2 == 1)


def alternate(adapter: Any, dataset: Any, collective: Collective, name: str) -> Feed:
    """Return a rank's feed of a ``PyDataset`` in the hands of Keras's adapter; all ranks must call it."""
    spec = collective.broadcast_object(part_spec(dataset.element_spec) if collective.rank == 0 else None)
    return Feed(spec, lambda: None, *_turns(adapter, collective, open_links(collective, name, lambda *_: True)))


def _turns(adapter: Any, collective: Collective, links: Links) -> tuple[Callable[..., None], Callable[[], None]]:
    rank, world_size = collective.rank, collective.world_size
    incoming = {peer: Incoming(sock) for peer, sock in links.come_from.items()}

    def produce(round_: int, _: Any, put: Put) -> None:
        order = _drawn_order(adapter, links, round_) if rank == 0 else _told_order(adapter, incoming[0].of(round_))
        maker = _Maker(adapter, order, round_, rank, world_size, links)
        try:
            for number in range(len(order)):
                owner = number % world_size
                frame = maker.take() if owner == rank else incoming[owner].of(round_)
                put(frame)
                if frame.of is not Of.BATCH:
                    return
            put(END)
        finally:
            maker.end()

    return produce, links.close


def _drawn_order(adapter: Any, links: Links, round_: int) -> list[int]:
    """Draw the order of batches as Keras does, for all ranks."""
    order = list(range(adapter.py_dataset.num_batches))
    if adapter.shuffle:
        random.shuffle(order)
    for link in links.to.values():
        send(link, round_, Frame(Of.BATCH, arrays=[np.array(order), np.array([state_of(adapter.py_dataset)])]))
    return order


def _told_order(adapter: Any, told: Frame) -> list[int]:
    """Return the order that rank 0 has drawn, if its dataset is still as this rank's."""
    order, state = told.arrays
    if state[0] != state_of(adapter.py_dataset):
        name = type(adapter.py_dataset).__name__
        raise UnsupportedError(
            f"the ranks' copies of {name}, whose batches they make in turns, have become different: something changes it "
            "by what it did on one rank; change it in on_epoch_end of its own (then rank 0 makes all batches), or use -n 1"
        )
    return list(order)


class _Maker:
    """A thread that makes a rank's batches of a pass, and sends the other ranks their rows."""

    def __init__(self, adapter: Any, order: list[int], round_: int, rank: int, world_size: int, links: Links) -> None:
        self._adapter, self._order, self._round, self._links = adapter, order, round_, links
        self._rank, self._world_size = rank, world_size
        self._mine: collections.deque[Frame] = collections.deque()
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._make, name="hops-turns", daemon=True)
        self._thread.start()

    def take(self) -> Frame:
        """Return this rank's part of the next batch that it makes."""
        with self._news:
            self._news.wait_for(lambda: self._mine)
            self._news.notify_all()
            return self._mine.popleft()

    def end(self) -> None:
        """Make no more."""
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._thread.join()

    def _make(self) -> None:
        for number in range(self._rank, len(self._order), self._world_size):
            try:
                batch = _tensors(self._adapter, self._order[number])
                frames = frames_of(batch, number, self._world_size)
            except Exception as error:  # noqa: BLE001 (whatever the user's code raises is told on every rank)
                frames = [Frame(Of.ERROR, error=error)] * self._world_size
            try:
                for peer, link in self._links.to.items():
                    send(link, self._round, frames[peer])
            except OSError as error:
                frames[self._rank] = Frame(Of.ERROR, error=PeerLostError(f"a rank that shares the input is gone: {error}"))
            with self._news:
                self._mine.append(frames[self._rank])
                self._news.notify_all()
                self._news.wait_for(lambda: self._ended or len(self._mine) < AHEAD)
                if self._ended or frames[self._rank].of is Of.ERROR:
                    return


def _tensors(adapter: Any, index: int) -> Any:
    """Make a batch as Keras's own pipeline would hand it on: of the types of its spec."""
    import tensorflow as tf

    batch = adapter._standardize_batch(adapter.py_dataset[index])
    return tf.nest.map_structure(lambda spec, leaf: tf.convert_to_tensor(leaf, spec.dtype), adapter._output_signature, batch)
