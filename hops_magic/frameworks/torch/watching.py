"""What every training loop has, on one rank and on many: curves, and an end between two steps where a stop is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from hops_magic.errors import UnsupportedError, first_sentence
from hops_magic.frameworks.patches import Patches
from hops_magic.frameworks.stopping import StopRequested
from hops_magic.frameworks.torch import rows
from hops_magic.frameworks.torch.calls import Calls
from hops_magic.frameworks.torch.curves import Curves, Loop, length_of
from hops_magic.frameworks.torch.keeping import save_model
from hops_magic.frameworks.torch.places import Place, Places
from hops_magic.frameworks.torch.state import Site, StepState, place_of, site
from hops_magic.runs.events import Noted, Warned


class Watch:
    """Watches the loops of a rank.

    Parameters
    ----------
    state : StepState
    """

    def __init__(self, state: StepState) -> None:
        self.state = state
        self.calls = Calls(state)
        self.curves = Curves(state.context, self.calls.settle)
        self.places = Places(self.curves)
        state.context.keepers["torch"] = self.places
        self._step_at: Site | None = None

    # -- loops over a loader -------------------------------------------------------------------------------------------

    def training(self, loader: Any, here: Site, begin: Callable[[Place], Iterator[Any]]) -> Iterator[Any]:
        """Begin a loop that trains.

        Parameters
        ----------
        begin
            Begins it from a place on: returns the batches which this process gets, of rows that the state tells.
        """
        self._stop_if_agreed(here)
        place = self.places.begin(loader, here)
        batches = begin(place)
        self.places.begun(place)
        return self._watched(self.curves.begin(here, loader), place, batches)

    def _watched(self, loop: Loop, place: Place, batches: Iterator[Any]) -> Iterator[Any]:
        state = self.state
        self.places.entered(place, loop)
        try:
            for batch in batches:
                self.curves.got(loop, state.own, state.whole)
                yield batch
                if not state.is_whole:
                    self.curves.asked(loop)
                    self._stop_if_agreed(loop.place, loop)
        except GeneratorExit:
            self._ended(loop)
            raise
        finally:
            self.places.left(loop)
        self._ended(loop)

    def _ended(self, loop: Loop) -> None:
        if not self.state.is_whole:
            self.curves.ended(loop)

    def evaluating(self, loader: Any, here: Site, batches: Iterator[Any]) -> Iterator[Any]:
        """Begin a loop that computes no gradients. One rank alone may stop in it: several have nothing to agree by."""
        before = self.state.batch
        for number, batch in enumerate(batches, 1):
            # all rows, whatever batch of another loop may be at hand
            self.state.outside()
            try:
                yield batch
            finally:
                self.state.batch = before
            if not self.state.is_whole:
                self.curves.evaluating(number, length_of(loader))
                if self.state.context.world_size == 1:
                    self._stop_if_agreed(here)

    def evaluates(self) -> bool:
        """Whether a loop that begins is to evaluate: gradients are off, or what was trained is in ``eval`` mode now."""
        import torch

        return not torch.is_grad_enabled() or self.calls.are_in_eval_mode()

    # -- gradients -----------------------------------------------------------------------------------------------------

    def computing(self, here: Site) -> None:
        """Gradients are about to be computed; without a loader, this is where a step ends."""
        if not self.state.is_inside and not self.state.is_whole and here == self._step_at:
            self._stop_if_agreed(here)

    def computed(self, here: Site, root: Any, value: Any) -> None:
        """Gradients were computed of a loss, whose value is that of all rows."""
        if self.state.is_whole:
            return
        self.curves.computed(root, value)
        if not self.state.is_inside:
            self._step_at = self._step_at or here
            if here == self._step_at:
                self.curves.step_without_loader(here)

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The cell is over."""
        self.calls.end()
        self.curves.say_epoch()
        self.places.close()

    def keep_model(self) -> None:
        """Leave the module that was trained where the record of the run takes it from."""
        context, trained = self.state.context, list(self.calls.trained.values())
        if context.rank or not context.keeps_model or not trained:
            return
        if len(trained) > 1:
            names = ", ".join(sorted(name or type(module).__name__ for name, module, _ in trained))
            sentence = f"the record keeps no model, since the cell trains several ({names})"
            context.emit(Noted(message=f"{sentence}: %models register NAME --run {context.run_id} --var VARIABLE keeps one"))
            return
        _, module, seen = trained[0]
        try:
            save_model(module, context.checkpoint_dir.parent / "model", seen)
        except Exception as error:  # noqa: BLE001 (a module of the user's that cannot be pickled must not fail the run)
            context.emit(Warned(message=f"the model is not recorded, it cannot be saved: {first_sentence(error)}"))

    def _stop_if_agreed(self, here: Site, loop: Loop | None = None) -> None:
        state = self.state
        if state.stops or (state.context.world_size == 1 and state.context.stop_requested()):
            self._stop(here, loop)

    def _stop(self, here: Site, loop: Loop | None) -> NoReturn:
        done = f"after step {loop.given} of epoch {loop.series.epochs + 1}" if loop is not None else "between two steps"
        sentence = f"the cell was stopped {done}, in {place_of(here)}: what it has trained by then comes back"
        if self.state.context.rank == 0:
            self.state.context.emit(Warned(message=sentence))
        raise StopRequested(sentence)


def install(patches: Patches, watch: Watch) -> None:
    """Hook what scales losses for half precision, and look at the modules that are called."""
    import torch

    watch.calls.begin()

    def scale(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def scaled(scaler: Any, outputs: Any) -> Any:
            made = original(scaler, outputs)
            if isinstance(made, torch.Tensor) and scaler.is_enabled():
                watch.curves.scaled(made, scaler.get_scale())
            return made

        return scaled

    patches.wrap(torch.amp.GradScaler, "scale", scale)


def install_alone(patches: Patches, watch: Watch) -> None:
    """Hook the loops and the gradients of a rank that trains alone: they are watched, and nothing else."""
    import torch
    from torch.utils.data import DataLoader

    def begin(original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Iterator[Any]:
            here = site(2)
            if not torch.is_grad_enabled():
                return watch.evaluating(loader, here, iter(original(loader)))
            return watch.training(loader, here, lambda place: _alone(watch, loader, place, iter(original(loader))))

        return iterate

    def backward(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def watched(tensors: Any, *args: Any, **options: Any) -> None:
            here = site(2)
            watch.computing(here)
            original(tensors, *args, **options)
            root = tensors if isinstance(tensors, torch.Tensor) else None
            watch.computed(here, root, None if root is None or root.numel() != 1 else root.detach())

        return watched

    patches.wrap(DataLoader, "__iter__", begin)
    patches.wrap(torch.autograd, "backward", backward)


def _alone(watch: Watch, loader: Any, place: Place, batches: Iterator[Any]) -> Iterator[Any]:
    state = watch.state
    for batch in watch.places.resumed(place, loader, batches):
        before = state.batch
        try:
            state.inside(rows.rows_of(batch))
        except UnsupportedError:  # batches of no tensors have no rows that could be told
            state.inside(0)
        yield batch
        state.batch = before
