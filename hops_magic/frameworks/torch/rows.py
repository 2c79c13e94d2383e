"""A rank's rows of the batches that a ``DataLoader`` makes.

Every rank walks the same lists of indices, so the order is that of one process. The samples of a batch are loaded,
collated whole and with the rank's rows alone, and the axis on which both differ says what the rank's part of the whole is:
wherever the rows lie, what the whole batch decides (padding, say) stays. Where the first batch has shown that loading
draws no random numbers and mixes no rows, only the rank's own samples are loaded from then on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hops_magic.errors import UnsupportedError


class Part(list[int]):
    """The indices of a global batch, of which a rank has those from ``low`` up to ``high``."""

    low = high = 0
    loads_own = keeps_whole = False

    @classmethod
    def of(cls, indices: Any, low: int, high: int, *, loads_own: bool, keeps_whole: bool) -> Part:
        made = cls(indices)
        made.low, made.high, made.loads_own, made.keeps_whole = low, high, loads_own, keeps_whole
        return made

    @property
    def own(self) -> list[int]:
        """Its rows; a rank without any borrows one, whose loss counts nothing."""
        return self[self.low : self.high] or self[:1]


class Both:
    """The whole batch beside a rank's part of it."""

    def __init__(self, whole: Any, part: Any) -> None:
        self.whole, self.part = whole, part


def fetch_part(fetcher: Any, part: Part, fetch: Any) -> Any:
    """Load a batch and return the rank's part of it; ``fetch`` is PyTorch's own way. Runs where samples are loaded."""
    if part.loads_own:
        return fetch(fetcher, part.own)
    collate, fetcher.collate_fn = fetcher.collate_fn, _as_they_are
    try:
        samples = fetch(fetcher, list(part))
    finally:
        fetcher.collate_fn = collate
    whole = collate(samples)
    before = random_states()
    # samples may be changed while they are collated; tensors are not
    own = collate(samples[part.low : part.high] if part.high > part.low else samples[:1])
    restore(before)
    mine = narrow(whole, own, part.low, len(part), max(1, part.high - part.low))
    return Both(whole, mine) if part.keeps_whole else mine


def _as_they_are(samples: Any) -> Any:
    return samples


def narrow(whole: Any, own: Any, low: int, rows: int, count: int) -> Any:
    """Cut a rank's rows out of a collated batch, where whole and own rows differ as ``rows`` and ``count``.

    Where there is no such axis, it is what collating the own rows made.
    """
    import torch

    if isinstance(whole, torch.Tensor) and isinstance(own, torch.Tensor):
        if whole.dim() != own.dim():
            return own
        axes = [axis for axis in range(whole.dim()) if whole.size(axis) == rows and own.size(axis) == count]
        if axes:
            return whole.narrow(axes[0], low if low + count <= rows else 0, count).clone()
        return whole if whole.shape == own.shape else own
    if isinstance(whole, Mapping) and isinstance(own, Mapping):
        return _like_mapping(whole, {key: narrow(value, own[key], low, rows, count) for key, value in whole.items()})
    if isinstance(whole, list | tuple) and isinstance(own, list | tuple) and len(whole) == len(own):
        return _like_sequence(whole, [narrow(a, b, low, rows, count) for a, b in zip(whole, own, strict=True)])
    return own


def cut(batch: Any, low: int, high: int, rows: int) -> Any:
    """Cut rows out of a batch that comes as it is, along the first axis of each tensor and array."""
    import torch

    if isinstance(batch, torch.Tensor | np.ndarray):
        if batch.ndim and len(batch) == rows:
            return batch[low:high] if high > low else batch[:1]
        return batch
    if isinstance(batch, Mapping):
        return _like_mapping(batch, {key: cut(value, low, high, rows) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        if len(batch) == rows and not any(
            isinstance(part, torch.Tensor | np.ndarray | Mapping | list | tuple) for part in batch
        ):
            return batch[low:high] or batch[:1]
        return _like_sequence(batch, [cut(part, low, high, rows) for part in batch])
    return batch


def rows_of(batch: Any) -> int:
    """Return how many rows a batch has: the length of its first tensor or array.

    Raises
    ------
    UnsupportedError
        If it has none.
    """
    import torch

    for part in _leaves(batch):
        if isinstance(part, torch.Tensor | np.ndarray) and part.ndim:
            return len(part)
    raise UnsupportedError(
        f"a batch of type {type(batch).__name__} has no tensor whose rows could be shared out among the ranks: "
        "let the loader yield tensors, or train with -n 1"
    )


def _leaves(batch: Any) -> Iterator[Any]:
    if isinstance(batch, Mapping):
        for value in batch.values():
            yield from _leaves(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _leaves(value)
    else:
        yield batch


def _like_mapping(original: Any, values: dict[Any, Any]) -> Any:
    if type(original) is dict:
        return values
    try:
        return type(original)(values)
    except TypeError:
        return values


def _like_sequence(original: Any, values: list[Any]) -> Any:
    if hasattr(original, "_fields"):
        return type(original)(*values)
    return tuple(values) if isinstance(original, tuple) else values


def are_equal(one: Any, other: Any) -> bool:
    """Whether two batches hold the same."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and bool(torch.equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(are_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(are_equal, one, other))
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


def random_states() -> tuple[Any, ...]:
    """Return where the generators of PyTorch, numpy and Python are."""
    import torch

    return torch.get_rng_state(), np.random.get_state(legacy=True), random.getstate()


def restore(states: tuple[Any, ...]) -> None:
    """Set the generators back to :func:`random_states`."""
    import torch

    of_torch, of_numpy, of_python = states
    torch.set_rng_state(of_torch)
    np.random.set_state(of_numpy)
    random.setstate(of_python)


def have_moved(states: tuple[Any, ...]) -> bool:
    """Whether random numbers were drawn since."""
    import torch

    of_torch, of_numpy, of_python = states
    now: Any = np.random.get_state(legacy=True)
    return not (
        torch.equal(of_torch, torch.get_rng_state())
        and of_numpy[2:] == now[2:]
        and bool(np.array_equal(of_numpy[1], now[1]))
        and of_python == random.getstate()
    )
