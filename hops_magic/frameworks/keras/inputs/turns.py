"""Alternate: ranks make the batches of an indexable dataset in turns, and give each other the rows.

For a ``PyDataset`` whose ``__getitem__`` gives the same for the same index on every rank, whoever asks and whenever.
"""

from __future__ import annotations

import collections
import dis
import hashlib
import pickle
import random
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.inputs.dealing import Put, frames_of
from hops_magic.frameworks.keras.inputs.feed import AHEAD, Feed
from hops_magic.frameworks.keras.inputs.frames import END, Frame, Of, receive, send
from hops_magic.frameworks.keras.inputs.specs import part_spec
from hops_magic.frameworks.links import Links, open_links

SLOW_S = 5e-3
"""Seconds a batch from which on making them in turns is worth the exchange."""

# what draws random numbers, or keeps a state, whatever object it belongs to
_UNSURE = frozenset(
    {
        "random",
        "rng",
        "default_rng",
        "RandomState",
        "shuffle",
        "permutation",
        "permuted",
        "choice",
        "choices",
        "sample",
        "randint",
        "randn",
        "rand",
        "integers",
        "uniform",
        "normal",
        "standard_normal",
        "next",
        "append",
        "appendleft",
        "extend",
        "pop",
        "popleft",
        "popitem",
        "insert",
        "remove",
        "setdefault",
        "update",
        "add",
        "discard",
        "clear",
        "setattr",
        "seed",
        "time",
        "perf_counter",
        "monotonic",
        "now",
        "urandom",
        "read",
        "readline",
        "seek",
        "globals",
        "exec",
        "eval",
    }
)
_STORES = frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "STORE_DEREF"})


def seconds_a_batch(adapter: Any) -> tuple[float, str]:
    """Return how long a ``PyDataset`` takes for a batch, and what its first batch is.

    The time is 0.0 where batches may depend on more than their index.
    """
    import keras

    dataset, base = adapter.py_dataset, keras.utils.PyDataset
    hooks = ("on_epoch_begin", "on_epoch_end", "__iter__")
    if any(getattr(type(dataset), name) is not getattr(base, name) for name in hooks) or dataset.num_batches is None:
        return 0.0, ""
    if adapter.enqueuer is not None or not _is_pure(type(dataset).__getitem__, set()):
        return 0.0, ""
    began = time.perf_counter()
    batch = dataset[0]
    seconds = time.perf_counter() - began
    first, again = _digest(batch), _digest(dataset[0])
    return (seconds, first) if first == again else (0.0, "")


def _digest(batch: Any) -> str:
    return hashlib.blake2b(pickle.dumps(batch), digest_size=16).hexdigest()


def _is_pure(function: Any, seen: set[int]) -> bool:
    """Whether a function, and those of the notebook's that it names, surely keep no state and draw no random numbers."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    if id(code) in seen:
        return True
    seen.add(id(code))
    names: set[str] = set()
    for part in _codes(code):
        if any(each.opname in _STORES for each in dis.get_instructions(part)):
            return False
        names.update(part.co_names)
    if names & _UNSURE:
        return False
    owner = getattr(function, "__globals__", {})
    called = [owner[name] for name in names if isinstance(owner.get(name), types.FunctionType)]
    called += [
        cell.cell_contents for cell in function.__closure__ or () if isinstance(cell.cell_contents, types.FunctionType)
    ]
    return all(_is_pure(each, seen) for each in called)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def alternate(adapter: Any, dataset: Any, collective: Collective, name: str) -> Feed:
    """Return a rank's feed of a ``PyDataset`` in the hands of Keras's adapter; all ranks must call it."""
    spec = collective.broadcast_object(part_spec(dataset.element_spec) if collective.rank == 0 else None)
    return Feed(spec, lambda: None, *_turns(adapter, collective, open_links(collective, name, lambda *_: True)))


def _turns(adapter: Any, collective: Collective, links: Links) -> tuple[Callable[..., None], Callable[[], None]]:
    rank, world_size = collective.rank, collective.world_size

    def produce(round_: int, _: Any, put: Put) -> None:
        order = _order(adapter, collective, links, round_)
        maker = _Maker(adapter, order, round_, rank, world_size, links)
        try:
            for number in range(len(order)):
                owner = number % world_size
                frame = maker.take() if owner == rank else _frame_of(links, owner, round_, number)
                put(frame)
                if frame.of is not Of.BATCH:
                    return
            put(END)
        finally:
            maker.end()

    return produce, links.close


def _order(adapter: Any, collective: Collective, links: Links, round_: int) -> list[int]:
    """Return the order of batches, which rank 0 draws as Keras does."""
    import numpy as np

    if collective.rank:
        return list(_frame_of(links, 0, round_, _ORDER).arrays[0])
    order = list(range(adapter.py_dataset.num_batches))
    if adapter.shuffle:
        random.shuffle(order)
    for link in links.to.values():
        send(link, round_, _ORDER, Frame(Of.BATCH, arrays=[np.array(order)]))
    return order


_ORDER = (1 << 32) - 1


def _frame_of(links: Links, owner: int, round_: int, number: int) -> Frame:
    while True:
        of_round, of_number, frame = receive(links.come_from[owner])
        if (of_round, of_number) == (round_, number):
            return frame


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
                    send(link, self._round, number, frames[peer])
            except OSError as error:
                frames[self._rank] = Frame(Of.ERROR, error=ConnectionError(f"a rank that shares the input is gone: {error}"))
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
