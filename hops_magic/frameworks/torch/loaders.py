"""Loops over a ``DataLoader`` that train: each rank gets its rows of every global batch.

Where gradients are off (``torch.no_grad``, ``inference_mode``), or the modules that were trained are in ``eval`` mode, every
rank gets all rows: loops that evaluate are right as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.patches import Patches
from hops_magic.frameworks.torch import rows, shadow
from hops_magic.frameworks.torch.first_step import FirstStep
from hops_magic.frameworks.torch.places import Place
from hops_magic.frameworks.torch.state import Site, StepState, place_of, site
from hops_magic.frameworks.torch.watching import Watch


def install(patches: Patches, state: StepState, first_step: FirstStep, watch: Watch) -> None:
    """Hook ``DataLoader.__iter__``, and what loads the samples of a batch."""
    from torch.utils.data import DataLoader, _utils

    def fetch(original: Callable[..., Any]) -> Callable[..., Any]:
        def fetch_part(fetcher: Any, indices: Any) -> Any:
            return (
                rows.fetch_part(fetcher, indices, original) if isinstance(indices, rows.Part) else original(fetcher, indices)
            )

        return fetch_part

    loops = _Loops(state, first_step, watch)
    patches.wrap(_utils.fetch._MapDatasetFetcher, "fetch", fetch)
    patches.wrap(DataLoader, "__iter__", lambda original: lambda loader: loops.over(loader, original))


class _Parts:
    """A batch sampler whose batches know which rows are this rank's. Workers that persist keep it from loop to loop."""

    def __init__(self, sampler: Any, state: StepState) -> None:
        self._sampler, self._state = sampler, state
        self.batches: list[rows.Part] = []
        """Of the loop under way."""
        self.first = 0
        """Number of the first batch that the loop's code gets: those before were trained with before a restart."""
        self.loads_own = False
        self.keeps_whole = False

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[rows.Part]:
        self.batches = []
        return self._walk(self.batches, iter(self._sampler))

    def _walk(self, batches: list[rows.Part], sampler: Iterator[Any]) -> Iterator[rows.Part]:
        for indices in sampler:
            listed = list(indices)
            low, high = self._state.part(len(listed))
            is_first = len(batches) == self.first
            part = rows.Part.of(listed, low, high, loads_own=self.loads_own, keeps_whole=self.keeps_whole and is_first)
            batches.append(part)
            yield part


class _Loops:
    """What loops over loaders get."""

    def __init__(self, state: StepState, first_step: FirstStep, watch: Watch) -> None:
        self._state, self._first_step, self._watch = state, first_step, watch
        self._parts: WeakKeyDictionary[Any, _Parts] = WeakKeyDictionary()

    def over(self, loader: Any, original: Callable[[Any], Any]) -> Iterator[Any]:
        """Begin a loop."""
        self._first_step.boundary()
        if self._state.is_whole:
            return self._as_one(original(loader))
        here = site(2)
        if self._watch.evaluates():
            return self._watch.evaluating(loader, here, iter(original(loader)))
        _refuse_spawned(loader, here)
        return self._watch.training(loader, here, lambda place: self._parted(loader, original, place))

    def _parted(self, loader: Any, original: Callable[[Any], Any], place: Place) -> Iterator[Any]:
        import torch

        if loader.batch_sampler is None or isinstance(loader.dataset, torch.utils.data.IterableDataset):
            whole = self._watch.places.resumed(place, loader, self._here(loader, iter(original(loader))))
            return self._cut(whole, place.where)
        sampler = loader.batch_sampler
        parts = self._parts.setdefault(loader, _Parts(sampler, self._state))
        parts.loads_own = self._first_step.may_load_own(loader)
        parts.keeps_whole, parts.first = self._first_step.wants_whole, place.given
        # its own __setattr__ refuses to exchange it; what is made now keeps it
        vars(loader)["batch_sampler"] = parts
        try:
            iterator = original(loader)
        finally:
            vars(loader)["batch_sampler"] = sampler
        batches = self._watch.places.resumed(place, loader, self._here(loader, iterator))
        return self._shared_out(loader, batches, parts.batches, place)

    def _as_one(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What the shadow gets of a further loader: all rows, and its end where it asks for a second batch."""
        for batch in batches:
            yield batch
            self._first_step.next_asked()

    def _cut(self, batches: Iterator[Any], here: Site) -> Iterator[Any]:
        began = self._first_step.backwards
        for batch in batches:
            count = rows.rows_of(batch)
            low, high = self._state.part(count)
            yield from self._one(
                None, batch, lambda low=low, high=high, all_=batch, n=count: rows.cut(all_, low, high, n), count
            )
        self._warn_without_backward(began, here)

    def _shared_out(self, loader: Any, batches: Iterator[Any], parts: list[rows.Part], place: Place) -> Iterator[Any]:
        began = self._first_step.backwards
        for number, got in enumerate(batches, place.given):
            whole, mine = (got.whole, got.part) if isinstance(got, rows.Both) else (None, got)
            candidate = (loader, parts[number], mine) if whole is not None else None
            yield from self._one(candidate, whole, lambda mine=mine: mine, len(parts[number]))
        self._warn_without_backward(began, place.where)

    def _here(self, loader: Any, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            if self._state.is_whole and loader.num_workers:
                shadow.leave()  # the processes that load belong to rank 0
            before = self._state.batch
            # what loads the samples works on no batch, though one of another loader may be at hand
            self._state.outside()
            try:
                got = next(batches)
            except StopIteration:
                return
            finally:
                self._state.batch = before
            yield got

    def _one(self, candidate: Any, whole: Any, part: Callable[..., Any], count: int) -> Iterator[Any]:
        state, first_step = self._state, self._first_step
        if state.is_whole:
            # a loop that began before the shadow did
            if whole is None:
                shadow.leave()
            yield whole
            first_step.next_asked()
            return
        before = state.batch
        state.inside(count)
        is_shadow = first_step.begin(candidate, whole)
        # a loop that is left keeps its batch
        with first_step.randomness():
            yield whole if is_shadow else part()
        first_step.next_asked()
        state.batch = before

    def _warn_without_backward(self, began: int, here: Site) -> None:
        if self._first_step.backwards == began:
            self._first_step.tell(
                f"{place_of(here)}: this loop over a DataLoader computes no gradients, and what it counts is of a rank's "
                "own rows: put it under torch.no_grad(), where every rank gets all rows"
            )


def _refuse_spawned(loader: Any, here: Site) -> None:
    context = loader.multiprocessing_context
    if loader.num_workers and context is not None and context.get_start_method() != "fork":
        raise UnsupportedError(
            f"{place_of(here)}: a DataLoader with multiprocessing_context={context.get_start_method()!r} loads in processes "
            "that do not know which rows are a rank's: leave multiprocessing_context out, or set num_workers=0"
        )
