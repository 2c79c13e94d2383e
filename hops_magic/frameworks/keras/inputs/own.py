"""Own rows: each rank draws a stream of its own; the rows of a global batch are those of all ranks' batches.

Ranks tell each other, ahead of the steps, how many rows they have for each. One whose data end first goes on without
rows, until those of the last have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.inputs.feed import Feed
from hops_magic.frameworks.keras.inputs.frames import END, FINGERPRINT_RANGE, Frame, Incoming, Of, send
from hops_magic.frameworks.keras.inputs.specs import part_spec
from hops_magic.frameworks.links import Links, open_links


def feed_own(dataset: Any, collective: Collective, name: str) -> Feed:
    """Return a rank's feed of its own dataset; all ranks must call it."""
    links = open_links(collective, name, lambda *_: True)
    peers = _Peers(links, collective.rank)
    spec = part_spec(dataset.element_spec)

    def produce(round_: int, batches: Any, put: Callable[[Frame], None]) -> None:
        own = _Own(batches)
        for number in range(1 << 31):
            heard = peers.exchanged(round_, own.next())
            if error := next((each for each in heard if each.of is Of.ERROR), None):
                put(error)
                return
            if all(each.of is Of.END for each in heard):
                put(END)
                return
            total = sum(each.count for each in heard)
            own.borrow(heard)
            if total:
                put(own.part(total, sum(each.count for each in heard[: collective.rank]), number))

    return Feed(spec, lambda: iter(dataset), produce, links.close)


class _Own:
    """A rank's batches, one after the other, and a row that stands in where it has none."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._now = END
        self._borrowed: list[Any] = []
        self._has_ended = False

    def next(self) -> Frame:
        """Draw the next batch; return what other ranks are told of it."""
        if self._has_ended:
            return END
        try:
            self._now, row = _drawn(next(self._batches))
        except StopIteration:
            self._has_ended, self._now = True, END
            return END
        except Exception as error:  # noqa: BLE001 (whatever the user's code raises is told on every rank)
            return Frame(Of.ERROR, error=error)
        is_first = not self._borrowed and self._now.count
        if is_first:
            self._borrowed = row
        return Frame(Of.BATCH, count=self._now.count, arrays=row if is_first else ())

    def borrow(self, heard: list[Frame]) -> None:
        """Take a row of another rank, if this one has had none so far."""
        self._borrowed = self._borrowed or next((list(each.arrays) for each in heard if each.arrays), [])

    def part(self, total: int, before: int, number: int) -> Frame:
        """Return the rows of the batch that was drawn, as a part of the global one."""
        mark = (float(number % FINGERPRINT_RANGE), float(total % FINGERPRINT_RANGE))
        arrays = self._now.arrays if self._now.count else self._borrowed
        return Frame(Of.BATCH, total, min(before, total - 1), self._now.count, mark, arrays)


class _Peers:
    """What the other ranks tell of their batches."""

    def __init__(self, links: Links, rank: int) -> None:
        self._links, self._rank = links, rank
        self._incoming = {peer: Incoming(sock) for peer, sock in links.come_from.items()}

    def exchanged(self, round_: int, said: Frame) -> list[Frame]:
        """Tell all ranks something of a step; return what each of them said, in their order."""
        for link in self._links.to.values():
            send(link, round_, said)
        heard = {peer: incoming.of(round_) for peer, incoming in self._incoming.items()}
        return [said if rank == self._rank else heard[rank] for rank in range(len(heard) + 1)]


def _drawn(element: Any) -> tuple[Frame, list[Any]]:
    """Return a batch as a frame, and its first row."""
    import tensorflow as tf

    from hops_magic.frameworks.keras.step import first_rows, has_length, length_of, named_leaves
    from hops_magic.frameworks.keras.tensors import other_lengths

    lengths = {name: int(length_of(leaf)) for name, leaf in named_leaves(element) if has_length(leaf)}
    if len(set(lengths.values())) > 1:
        raise other_lengths(list(lengths), list(lengths.values()))
    count = next(iter(lengths.values()))
    row = tf.nest.map_structure(lambda leaf: first_rows(leaf, 1), element) if count else ()
    return Frame(Of.BATCH, count=count, arrays=_arrays(element)), _arrays(row)


def _arrays(element: Any) -> list[Any]:
    import tensorflow as tf

    return [component.numpy() for component in tf.nest.flatten(element, expand_composites=True)]
