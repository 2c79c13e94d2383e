"""By which rule the losses of ranks are joined, found in the first step, and what of that step is not one process's."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.torch import shadow
from hops_magic.frameworks.torch.packing import Packed, numbers_of
from hops_magic.frameworks.torch.state import MEAN, SUM, Site, StepState, place_of
from hops_magic.runs.events import Noted, Warned

Run = Callable[..., list[Any]]
"""``run(again=...)`` computes this rank's gradients; ``again``: it will be called once more."""

MOST_SHADOWS = 20
_ALIKE = {"float64": 1e-6, "float32": 2e-3}
_ALIKE_HALF = 0.1
_SMALL = 1e-3
_FAINT = 1e-4


@dataclass
class Verdict:
    """What rank 0 has found of a ``backward()``, and tells all."""

    rule: str
    error: float
    by_rows: list[int] = field(default_factory=list)
    """Places of leaves that are rows of the batch: their gradients are the rank's own."""
    worst: str = ""
    is_checked: bool = True


class Calibration:
    """Joins the ranks' gradients, by a rule for each call site that the shadow settles.

    Parameters
    ----------
    state : StepState
    names
        Returns the names of parameters by id, as the user's code has them.
    """

    def __init__(self, state: StepState, names: Callable[[], dict[int, str]]) -> None:
        self._state, self._names = state, names
        self._rules: dict[tuple[Site, bool], Verdict] = {}
        self._open: dict[tuple[Site, bool], None] = {}
        self.said: shadow.Said | None = None
        self.shadow: shadow.Shadow | None = None
        self.shadows = 0
        self.backwards = 0
        self.is_mixed = False
        """Whether parts of the step under way are computed with half the digits."""
        self._told: set[str] = set()
        self.faint: set[int] = set()
        """Ids of parameters whose gradients are mere rounding, which optimizers such as Adam make as large as any."""

    @property
    def wants_shadow(self) -> bool:
        """Whether the next batch should be made by a shadow too: at first, and for a ``backward()`` that came later."""
        return self.shadows < MOST_SHADOWS and (not self._rules or bool(self._open))

    def joined(self, here: Site, leaves: Sequence[Any], run: Run, value: Any) -> list[Any]:
        """Return the gradients of the global batch; ``value``, the loss, becomes the global one in place."""
        self.backwards += 1
        if self.said is not None:
            return self._as_shadow(run, value)
        key = (here, self._state.is_inside)
        verdict = self._rules.get(key)
        if verdict is None or (key in self._open and self.shadow is not None):
            return self._calibrated(key, leaves, run, value)
        self._state.rule = verdict.rule
        return self._join(run(again=False), value, verdict)

    def tell(self, sentence: str, *, warns: bool = False) -> None:
        """Say something once; all ranks do, in the same words."""
        if sentence not in self._told:
            self._told.add(sentence)
            if warns or self._state.context.rank == 0:
                self._state.context.emit((Warned if warns else Noted)(message=sentence))

    def _as_shadow(self, run: Run, value: Any) -> list[Any]:
        assert self.said is not None
        self._state.rule = MEAN
        got = run(again=False)
        self.said.say(("backward", [_numbers(each) for each in (*got, value)]))
        return got

    def _join(self, gradients: list[Any], value: Any, verdict: Verdict) -> list[Any]:
        own = self._state.weight_by(verdict.rule)
        kept = {place: gradients[place] for place in verdict.by_rows if place < len(gradients)}
        shared = [None if place in kept else each for place, each in enumerate(gradients)]
        # whether to stop travels with the gradients: ranks hear of it at different moments, and must end alike
        vote = _vote_like([*shared, value], wants=self._state.context.stop_requested())
        *made, total, votes = self._summed([*shared, value, vote], own)
        if votes is not None and float(votes.real) > 0:
            self._state.stops = True
        if value is not None:
            value.copy_(total)
        for place, gradient in kept.items():
            made[place] = None if gradient is None else gradient * own
        return made

    def _summed(self, tensors: list[Any], weight: float) -> list[Any]:
        packed = Packed(tensors)
        arrays = packed.arrays()
        for array in arrays:
            # what a borrowed row gave may be no number
            np.multiply(array, weight, out=array) if weight else array.fill(0)
        return packed.unpacked([self._state.collective.all_reduce(array, what="gradients") for array in arrays])

    # -- the first step --------------------------------------------------------------------------------------------

    def _calibrated(self, key: tuple[Site, bool], leaves: Sequence[Any], run: Run, value: Any) -> list[Any]:
        state = self._state
        # moments over the batch count the ranks' parts in their own gradients: with parts of different size, by the rule
        is_twofold = state.has_moments and not state.is_even and state.is_inside
        state.rule = MEAN
        got = {MEAN: run(again=is_twofold)}
        if is_twofold:
            state.rule = SUM
            got[SUM] = run(again=False)
        else:
            got[SUM] = got[MEAN]
        self._check_alike(leaves)
        verdict = self._unchecked(key) if self.shadow is None else self._judged(key, leaves, got, value)
        self._rules[key] = verdict
        return self._join(got[verdict.rule], value, verdict)

    def _check_alike(self, leaves: Sequence[Any]) -> None:
        """Refuse weights that the ranks have made each for themselves."""
        import torch

        mine = [zlib.crc32(numbers_of(leaf).tobytes()) for leaf in leaves if isinstance(leaf, torch.nn.Parameter)]
        if any(each != mine for each in self._state.collective.all_gather_objects(mine)):
            raise UnsupportedError(
                "the ranks begin with different weights, so they would not train one model: make it without numbers that "
                "differ from rank to rank (hops.rank, the time, a generator without a seed)"
            )

    def _unchecked(self, key: tuple[Site, bool]) -> Verdict:
        here, is_inside = key
        if not is_inside:
            self.tell(
                f"{place_of(here)}: nothing was shared out there, and every rank does the same work: "
                "take batches from a DataLoader, or a part of the data by hops.shard",
                warns=True,
            )
        else:
            self._open[key] = None
        return Verdict(MEAN, 0.0, is_checked=False)

    def _judged(self, key: tuple[Site, bool], leaves: Sequence[Any], got: dict[str, list[Any]], value: Any) -> Verdict:
        """Let rank 0 compare with what its shadow says; all ranks learn what it finds."""
        state, is_first = self._state, self._state.context.rank == 0
        assert self.shadow is not None
        message = self.shadow.receive() if is_first else None
        whole = message[1] if message is not None and message[0] == "backward" else None
        shapes = state.collective.broadcast_object(None if whole is None else [_shape(each) for each in whole])
        here = [_shape(each) for each in (*got[MEAN], value)]
        by_rows = [] if shapes is None else [place for place, (a, b) in enumerate(zip(here, shapes, strict=False)) if a != b]
        said = state.collective.all_gather_objects((len(here), by_rows, [s for p, s in enumerate(here) if p not in by_rows]))
        verdict = Verdict(MEAN, 0.0, is_checked=False)
        if shapes is not None and (any(each != said[0] for each in said) or len(shapes) != len(here)):
            verdict = Verdict(MEAN, float("inf"), by_rows, worst="parameters that only some of them reach")
        elif shapes is not None:
            made = {}
            for rule, gradients in got.items():
                shared = [None if place in by_rows else gradient for place, gradient in enumerate(gradients)]
                made[rule] = self._summed([*shared, value], state.weight_by(rule))
            if is_first:
                assert whole is not None
                verdict = self._compared(whole, made, leaves, by_rows)
        verdict = state.collective.broadcast_object(verdict)
        self._check(key[0], verdict, leaves, is_late=key in self._open)
        self._open.pop(key, None)
        settled: Verdict = verdict
        return settled

    def _compared(self, whole: list[Any], made: dict[str, list[Any]], leaves: Sequence[Any], by_rows: list[int]) -> Verdict:
        errors = {rule: _differences(values, whole, by_rows) for rule, values in made.items()}
        sizes = [0.0 if each is None else _largest(each) for each in whole[: len(leaves)]]
        least = _FAINT * max(sizes, default=0.0)
        self.faint |= {id(leaf) for leaf, size in zip(leaves, sizes, strict=True) if size < least}
        rule = min(errors, key=lambda each: max(errors[each]))
        worst = int(np.argmax(errors[rule]))
        name = self._names().get(id(leaves[worst]), "") if worst < len(leaves) else "the loss"
        return Verdict(rule, max(errors[rule]), by_rows, name)

    def _check(self, here: Site, verdict: Verdict, leaves: Sequence[Any], *, is_late: bool) -> None:
        place = place_of(here)
        if not verdict.is_checked:
            self.tell(
                f"{place}: the first step could not be compared with one process; losses are taken for means over rows",
                warns=True,
            )
            return
        if verdict.error > self.allowed(leaves) and self._state.context.check != "never":
            of = f" of {verdict.worst}" if verdict.worst else ""
            raise UnsupportedError(
                f"{place}: what one process computes of the same batch is neither the mean nor the sum of what the ranks "
                f"compute of their rows: the gradient{of} differs by {verdict.error:.1e} of its size. A loss that mixes the "
                "rows of a batch does that (contrastive losses, means over a mask): train this cell with -n 1"
            )
        if is_late and verdict.rule == SUM:
            raise UnsupportedError(
                f"{place}: the loss is a sum over rows, which shows only now: earlier steps have joined it as a mean. "
                "Let the first batch reach this line too, or divide the loss by the number of rows"
            )
        joined = "means" if verdict.rule == MEAN else "sums"
        self.tell(
            f"{place}: losses are joined as {joined} over rows; the first step is one process's to {verdict.error:.0e}"
        )

    def allowed(self, leaves: Sequence[Any]) -> float:
        """Return up to which relative difference a step counts as one process's, by the least exact numbers that it uses."""
        kinds = {str(leaf.dtype).removeprefix("torch.") for leaf in leaves}
        return max(map(self.allowed_for, kinds), default=_ALIKE_HALF)

    def allowed_for(self, dtype: str) -> float:
        """Return up to which relative difference numbers of a dtype count as one process's."""
        return _ALIKE_HALF if self.is_mixed else _ALIKE.get(dtype, _ALIKE_HALF)

    def tell_open(self) -> None:
        """Say which places were never compared."""
        for here, _ in self._open:
            self.tell(
                f"{place_of(here)} was first reached after the first batch and could not be compared with one process: "
                "its loss was taken for a mean over rows",
                warns=True,
            )


def _vote_like(tensors: Sequence[Any], *, wants: bool) -> Any:
    """Return a rank's vote, of a kind that travels with the tensors; None where there are none."""
    import torch

    like = next((each for each in tensors if each is not None), None)
    return None if like is None else torch.full((1,), float(wants), dtype=like.dtype, device=like.device)


def _shape(tensor: Any) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _numbers(tensor: Any) -> NDArray[Any] | None:
    return None if tensor is None else numbers_of(tensor)


def _differences(made: list[Any], whole: list[Any], by_rows: Sequence[int]) -> list[float]:
    """Return, for each gradient and at last for the loss, the largest difference in parts of its own size.

    What is small beside the others is measured by them: before a normalisation, a bias has a gradient of mere rounding.
    """
    arrays = [(_numbers(a), b) for a, b in zip(made, whole, strict=True)]
    sizes = [0.0 if b is None or place in by_rows else _largest(b) for place, (_, b) in enumerate(arrays[:-1])]
    least = max(_SMALL * max(sizes, default=0.0), 1e-300)
    found = []
    for place, (a, b) in enumerate(arrays):
        if place in by_rows or (a is None and b is None):
            found.append(0.0)
        elif a is None or b is None:
            found.append(float("inf"))
        else:
            found.append(_largest(a - b) / max(_largest(b), least))
    return found


def _largest(array: NDArray[Any]) -> float:
    if not array.size:
        return 0.0
    largest = float(np.abs(array).max())
    return float("inf") if np.isnan(largest) else largest
