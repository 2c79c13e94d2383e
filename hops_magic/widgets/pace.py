"""How long a run or a study has taken, and how long it still takes."""

from __future__ import annotations

from hops_magic.runs.run import Run

_EPOCHS_LOOKED_AT = 5


class Pace:
    """Tells how long a run still takes, from how its fraction done grows, and counts down between two news of it.

    Once an epoch has ended, whole epochs are the measure: they hold validation and checkpoints, during which no step is
    done.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = 0.0
        self._last_at = 0.0
        self._ends: list[tuple[float, int]] = []

    def remaining_of(self, run: Run, now: float) -> float | None:
        """Seconds until a run is done; None while it cannot be told, or when it takes longer than was told."""
        if run.state.is_final:
            return None
        fitting = [view for view in run.ranks.values() if view.phase == "fit" and view.epochs]
        slowest = min(fitting, key=lambda view: (view.epoch, view.step), default=None)
        if slowest is None or slowest.epochs is None:
            return self.remaining_s(now, run.fraction_done())
        return self.remaining_s(now, run.fraction_done(), epoch=slowest.epoch, epochs=slowest.epochs)

    def remaining_s(self, now: float, fraction: float | None, *, epoch: int = 0, epochs: int = 0) -> float | None:
        """Seconds until done; None while it cannot be told. Going back (a restart, another fit) begins anew.

        Parameters
        ----------
        now
            Seconds, from any beginning.
        fraction
            How much is done, from 0 to 1.
        epoch, epochs
            Epochs that have ended, and all of them; 0 where there are none.
        """
        if fraction is None:
            return None
        if self._first is None or fraction < self._last:
            self._first, self._ends = (now, fraction), []
        if fraction != self._last or self._first[0] == now:
            self._last, self._last_at = fraction, now
        if epochs and (not self._ends or self._ends[-1][1] != epoch):
            self._ends = [*self._ends, (now, epoch)][-_EPOCHS_LOOKED_AT - 1 :]
        if fraction >= 1.0 and epoch >= epochs:
            return 0.0
        left = self._by_epochs(now, epochs) if len(self._ends) > 1 else self._by_fraction(now, fraction)
        return left if left is not None and left > 0 else None

    def _by_epochs(self, now: float, epochs: int) -> float:
        (then, before), (ended_at, done) = self._ends[0], self._ends[-1]
        each = (ended_at - then) / (done - before)
        # an epoch that takes longer than the others counts as about to end
        return max(0.0, each - (now - ended_at)) + each * (epochs - done - 1)

    def _by_fraction(self, now: float, fraction: float) -> float | None:
        assert self._first is not None
        then, before = self._first
        # the first steps build graphs and fill caches: a forecast from them misleads
        if fraction - before < 0.01 or self._last_at - then < 1.0:
            return None
        return (self._last_at - then) * (1.0 - fraction) / (fraction - before) - (now - self._last_at)


class Stopwatch:
    """How long a run or study has taken, by a clock that may be set back or be another host's: it never goes backwards."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._told = 0.0

    def elapsed_s(self, began_at: float, ended_at: float | None, now: float) -> float:
        """Seconds since the beginning, or until the end."""
        if ended_at is not None:
            return max(0.0, ended_at - began_at)
        if began_at != self._began_at:
            self._began_at, self._told = began_at, 0.0
        self._told = max(self._told, now - began_at)
        return self._told
