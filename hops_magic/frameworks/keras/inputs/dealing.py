"""Deal: rank 0 draws the data as one process would, and sends each rank its part.

Right for whatever an input does: generators with a state of their own, shuffles without a seed, random numbers in parallel
maps. What is drawn, and in which order, is what one process draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.inputs.element import bounds
from hops_magic.frameworks.keras.inputs.feed import Feed
from hops_magic.frameworks.keras.inputs.frames import END, FINGERPRINT_RANGE, Frame, Incoming, Of, send
from hops_magic.frameworks.keras.inputs.specs import part_spec
from hops_magic.frameworks.links import open_links

Put = Callable[[Frame], None]


def deal(dataset: Any, collective: Collective, name: str) -> Feed:
    """Return a rank's feed of a dataset that rank 0 draws; all ranks must call it."""
    spec = collective.broadcast_object(part_spec(dataset.element_spec) if collective.rank == 0 else None)
    links = open_links(collective, name, lambda sender, _: sender == 0)

    def produce(round_: int, batches: Any, put: Put) -> None:
        for frames in drawn(batches, collective.world_size):
            for rank, link in links.to.items():
                send(link, round_, frames[rank])
            put(frames[0])

    if collective.rank == 0:
        return Feed(spec, lambda: iter(dataset), produce, links.close)
    incoming = Incoming(links.come_from[0])

    def pass_on(round_: int, _: Any, put: Put) -> None:
        frame = incoming.of(round_)
        while frame.of is Of.BATCH:
            put(frame)
            frame = incoming.of(round_)
        put(frame)

    return Feed(spec, lambda: None, pass_on, links.close)


def drawn(batches: Iterator[Any], world_size: int) -> Iterator[list[Frame]]:
    """Draw batches, each as the frames of all ranks; last come those of the end, or of the error that drawing raised."""
    number = 0
    while True:
        try:
            frames = frames_of(next(batches), number, world_size)
        except StopIteration:
            yield [END] * world_size
            return
        except Exception as error:  # noqa: BLE001 (whatever the user's code raises is told on every rank)
            yield [Frame(Of.ERROR, error=error)] * world_size
            return
        yield frames
        number += 1


def frames_of(element: Any, number: int, world_size: int) -> list[Frame]:
    """Cut a batch of eager tensors into the parts of all ranks."""
    import tensorflow as tf

    from hops_magic.frameworks.keras.step import has_length, length_of, named_leaves, part_of
    from hops_magic.frameworks.keras.tensors import other_lengths

    leaves = [leaf for leaf in tf.nest.flatten(element) if leaf is not None]
    lengths = {name: int(length_of(leaf)) for name, leaf in named_leaves(element) if has_length(leaf)}
    if len(set(lengths.values())) > 1:
        raise other_lengths(list(lengths), list(lengths.values()))
    total = next(iter(lengths.values()))
    # views, where leaf.numpy() would copy the batch
    dense = [np.asarray(leaf) if tf.is_tensor(leaf) and isinstance(leaf, tf.Tensor) else leaf for leaf in leaves]
    mark = (float(number % FINGERPRINT_RANGE), float(total % FINGERPRINT_RANGE))
    frames = []
    for rank in range(world_size):
        first, last, count = bounds(total, rank, world_size)
        arrays: list[Any] = []
        for leaf in dense:
            if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):
                part = part_of(leaf, total, rank, world_size)
                arrays += [component.numpy() for component in tf.nest.flatten(part, expand_composites=True)]
            else:
                arrays.append(leaf[first:last] if leaf.ndim else leaf)
        frames.append(Frame(Of.BATCH, total, first, count, mark, arrays))
    return frames
