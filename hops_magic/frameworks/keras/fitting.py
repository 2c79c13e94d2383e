"""What a rank keeps over the fits of its cell: their number, where they are, and what belongs around them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.keras.agreement import differing_variables
from hops_magic.frameworks.keras.checkpoints import CheckpointStore, Counted, Position
from hops_magic.frameworks.keras.logs import StepLogs
from hops_magic.frameworks.keras.metrics import replaced_states, single_metrics
from hops_magic.frameworks.keras.throughput import Throughput
from hops_magic.frameworks.keras.writing_callbacks import on_chief_only, set_aside
from hops_magic.runs.events import Warned

if TYPE_CHECKING:
    from hops_magic.frameworks.keras.counting import PassingRows
    from hops_magic.frameworks.keras.first_step import FirstStepCheck
    from hops_magic.frameworks.keras.inputs.sharing import Inputs
    from hops_magic.frameworks.keras.metrics import MetricSync
    from hops_magic.frameworks.keras.tensors import TensorCollective

STOP, CHECKPOINT = 0, 1
VOTES = 2


class FitSession:
    """The state of a rank around Keras's fits."""

    def __init__(self, context: RankContext) -> None:
        self.context = context
        self.world_size = context.world_size
        self.is_chief = context.rank == 0
        self.batch_factor = context.world_size if context.batch == "per-rank" else 1
        self.store = CheckpointStore(context)
        self.tensors: TensorCollective | None = None
        self.metric_sync: MetricSync | None = None
        self.step_logs = StepLogs()
        self.first_step: FirstStepCheck | None = None
        self.inputs: Inputs | None = None
        self.iterator: Any = None
        self.passing: PassingRows | None = None
        self.number = 0
        self.initial_epoch = 0
        self.is_only_epoch = False
        self.starts_unbuilt = False
        self.fit_callbacks: list[Any] = []
        self._judged: set[int] = set()
        self.resume: dict[str, Any] | None = None
        self.skip_steps = 0
        self.has_skipped = False
        self.throughput = Throughput(context.world_size)
        self.fit_arguments: dict[str, Any] = {}
        self.last_model: Any = None
        self._checkpoint_due_at = float("inf")
        self._counted_before: Counted | None = None
        self._begun: set[int] | None = None

    # -- votes, carried by the all-reduce of the gradients ---------------------------------------------------------

    def vote(self) -> tuple[float, ...]:
        """This rank's votes at a step: to stop, to write a checkpoint."""
        due = self.is_chief and time.monotonic() >= self._checkpoint_due_at
        return (float(self.context.stop_requested()), float(due))

    def agreed(self, what: int) -> bool:
        """Whether any rank voted for it at the last step; the same answer on every rank."""
        if self.tensors is None:
            return bool(self.vote()[what])
        return bool(self.tensors.votes[what] > 0)

    def plan_checkpoint(self) -> None:
        """Count the time to the next checkpoint inside an epoch from now."""
        if self.context.checkpoint_s is not None:
            self._checkpoint_due_at = time.monotonic() + self.context.checkpoint_s

    # -- around a fit ----------------------------------------------------------------------------------------------

    @contextmanager
    def fitting(self, model: Any, epochs: int) -> Iterator[Any]:
        """Enter a fit. Yields the history of one that an earlier attempt finished, None to go ahead."""
        self.number += 1
        self.last_model = model
        self.resume = None
        saved = self._saved()
        if saved is not None and not self.store.fits(saved, model):
            self.context.emit(
                Warned(
                    message=f"the checkpoint of fit {self.number} is of another model: training starts from the beginning"
                )
            )
            saved = None
        if saved is not None and saved["position"].is_finished:
            yield self.store.finished(saved, model, epochs)
            return
        self.resume = saved
        self.plan_checkpoint()
        self.is_only_epoch = epochs - self.initial_epoch == 1
        try:
            yield None
        finally:
            self.is_only_epoch = False
            self._checkpoint_due_at = float("inf")
            self.store.flush()

    def sharing(self, phase: str, parts: tuple[bool, ...] = ()) -> AbstractContextManager[None]:
        """Enter a phase whose inputs are shared out among the ranks; ``parts``: those that are ranks' own rows already."""
        return nullcontext() if self.inputs is None else self.inputs.of(phase, parts)

    def _saved(self) -> dict[str, Any] | None:
        """What an earlier attempt left of this fit, read by the chief for all: they must go on from the same place."""
        if self.context.attempt == 0:
            return None
        mine = self.store.load(self.number) if self.is_chief else None
        saved: dict[str, Any] | None = self.context.collective.broadcast_object(mine)
        return saved

    def callbacks(self, given: Any) -> list[Any]:
        """Surround the callbacks of a fit with ours."""
        from hops_magic.frameworks.keras.hooks import make_first, make_last

        self.fit_callbacks = [make_first(self), *self._kept(given), make_last(self)]
        return list(self.fit_callbacks)

    def observers(self, given: Any, phase: str) -> list[Any]:
        """Add ours to the callbacks of evaluate or predict."""
        from hops_magic.frameworks.keras.hooks import make_observer

        return [*self._kept(given), make_observer(self, phase)]

    def _kept(self, given: Any) -> list[Any]:
        given = getattr(given, "callbacks", given)  # a CallbackList
        callbacks = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
        kept = [
            callback for callback in callbacks if (self.is_chief or not on_chief_only(callback)) and self._bears(callback)
        ]
        for callback in kept:
            set_aside(callback, self.context)
        return kept

    def _bears(self, callback: Any) -> bool:
        """Leave out what would bring back one rank alone: the run keeps checkpoints itself."""
        restores = any(base.__name__ == "BackupAndRestore" for base in type(callback).__mro__) and self.world_size > 1
        if restores and self.is_chief:
            self.context.emit(
                Warned(
                    message="BackupAndRestore is left out on several ranks: the run keeps checkpoints and goes on by itself"
                )
            )
        return not restores

    def verbose(self, asked: Any) -> int:
        """The live view shows progress; lines of Keras's own only on the chief and only when asked for."""
        return 2 if self.is_chief and asked not in ("auto", 0) else 0

    # -- going on from a checkpoint ----------------------------------------------------------------------------------

    def fast_forward(self, position: Position) -> None:
        """Draw the data of the epochs that are done, so that shuffles go on as if nothing had happened."""
        iterator = self.iterator
        for _ in range(position.epoch - self.initial_epoch):
            with iterator.catch_stop_iteration():
                for begin, end, batches in iterator:
                    for _ in range(end - begin + 1):
                        next(batches)
        if self.passing is not None:
            self.passing.forget()
        self.skip_steps = position.step
        self._counted_before = (self.resume or {}).get("metrics") if position.step else None
        self._begun = None

    def skip(self, iterator: Any, steps: int) -> dict[str, Any]:
        """Draw the data of a step that is done."""
        for _ in range(min(steps, self.skip_steps)):
            next(iterator)
            self.skip_steps -= 1
        self.has_skipped = True
        return {}

    def awaits_states(self, model: Any) -> bool:
        """Whether a restart in mid-epoch has counts for metrics that make their states in their first update."""
        counted = self._counted_before if self._begun is None else None
        return counted is not None and self.store.lacks_states(model, counted)

    def before_step(self, model: Any) -> None:
        """Give metrics back what they had counted in an epoch that a restart goes on with."""
        if self._counted_before is not None and self._begun is None:
            self._begun = self.store.begin_metrics(self, model, self._counted_before)

    def finish_check(self, model: Any, step: str) -> None:
        """Check a step, by its name, that was called but once; its call is over."""
        if self.first_step is not None:
            self.first_step.finish(model, step)

    def after_step(self, model: Any) -> None:
        """Look at what the first step has made: at the weights, and at metrics whose counts a restart brings back."""
        self.has_skipped = False
        if self.starts_unbuilt:
            self.starts_unbuilt = False
            if differing_variables(model.trainable_variables, self.context.collective):
                why = "a generator without a seed, or one rank alone,"
                if self.context.mentions_rank:
                    why = "code that runs on one rank only, such as `if hops.rank == 0`,"
                raise UnsupportedError(
                    f"the ranks made different initial weights: {why} drew random numbers before the model was built; "
                    "give the model an Input, or its layers seeds"
                )
        if self._counted_before is not None:
            counted, self._counted_before = self._counted_before, None
            self.store.add_metrics(self, model, counted, self._begun or set())

    # -- what ranks must share ---------------------------------------------------------------------------------------

    def global_logs(self, model: Any, logs: dict[str, Any]) -> dict[str, Any]:
        """The logs of a batch, over the rows of all ranks since the epoch began."""
        if self.metric_sync is None:
            return logs
        with self.metric_sync.merged(model):
            found = model._get_metrics_result_or_logs(logs)
        from keras.src.utils.python_utils import pythonify_logs

        return dict(pythonify_logs(found))  # not all are numbers: some metrics have a value for each class

    def warn_of_differences(self, model: Any) -> None:
        """Say which weights are not the same on all ranks, if any."""
        names = differing_variables(model.variables, self.context.collective)
        if names and self.is_chief:
            self.context.emit(
                Warned(
                    message=f"after fit, the ranks hold different values of {', '.join(names[:5])}: something in the model "
                    "or a callback changed them by what one rank alone sees; those of rank 0 come back"
                )
            )

    def warn_of_replaced_states(self, model: Any) -> None:
        """Say once which metrics keep states that cannot be added up over ranks."""
        for metric in single_metrics(model) if self.is_chief else ():
            names = [] if id(metric) in self._judged or self._is_replicated(metric) else replaced_states(metric)
            self._judged.add(id(metric))
            if names:
                self.context.emit(
                    Warned(
                        message=f"the metric {metric.name} replaces its state {', '.join(names)} instead of adding to it: "
                        "the ranks' states are added up, so its value is wrong unless it is trained with -n 1"
                    )
                )

    def _is_replicated(self, metric: Any) -> bool:
        replicated = self.metric_sync.replicated if self.metric_sync is not None else set()
        return any(id(variable) in replicated for variable in metric.variables)
