"""What a study gives back: the best values, the table of trials, and why each ended as it did."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hops_magic.cells.results import Unpacked, unpack
from hops_magic.errors import ClusterError, NotFoundError, RunFailedError
from hops_magic.frameworks import update
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, Trial, table_of
from hops_magic.tuning.ablation import AblationStudy
from hops_magic.tuning.dimensions import Dimension, Kind

if TYPE_CHECKING:
    import pandas as pd

    from hops_magic.training import Holder
    from hops_magic.tuning.space import Space


class TunedStudy:
    """A study that came to its end.

    Attributes
    ----------
    summary : Study
        All that is known of it.
    left_behind : mapping
        Why a name of the best trial did not come back, by name.
    """

    def __init__(self, summary: Study, space: Space | None = None, left_behind: Mapping[str, str] | None = None) -> None:
        self.summary, self._space = summary, space
        self.left_behind = dict(left_behind or {})

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.summary.name

    @property
    def run_id(self) -> str:
        """Id on the cluster and in the registry."""
        return self.summary.run_id

    @property
    def state(self) -> RunState:
        """How it ended."""
        return self.summary.state

    @property
    def best_trial(self) -> Trial:
        """The trial with the best value.

        Raises
        ------
        NotFoundError
            If no trial came to a value.
        """
        best = self.summary.best
        if best is None:
            raise NotFoundError(f"no trial of study {self.name} came to a value of {self.summary.metric}")
        return best

    @property
    def best(self) -> dict[str, Any]:
        """Hyperparameters of the best trial, by variable; objects that are no plain values come as the cell saw them."""
        trial = self.best_trial
        return dict(self._space.values(trial.point)) if self._space is not None else dict(trial.values)

    @property
    def best_value(self) -> float:
        """The best value of the metric."""
        value = self.best_trial.value
        assert value is not None
        return value

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: state, value, each hyperparameter, last step, seconds, retries, and the reason of its end."""
        import pandas as pd

        if not self.summary.trials:
            return pd.DataFrame()
        return pd.DataFrame(table_of(self.summary if self._space is None else self._exact(self._space))).set_index("trial")

    def _exact(self, space: Space) -> Study:
        """Return the summary with the lists and tuples that trials had; on its way a tuple became a list."""
        trials = {}
        for number, trial in self.summary.trials.items():
            had = space.values(trial.point) if any(isinstance(v, list) for v in trial.values.values()) else {}
            exact = {name: had.get(name, told) if isinstance(told, list) else told for name, told in trial.values.items()}
            trials[number] = replace(trial, values=exact)
        return replace(self.summary, trials=trials)

    def curve(self, trial: int) -> dict[int, float]:
        """Return a trial's values of the metric by step."""
        curve = self._trial(trial).curve
        return dict(zip(curve.steps, curve.values, strict=True))

    def why(self, trial: int) -> str:
        """Say in a sentence how a trial ended.

        Raises
        ------
        NotFoundError
            If the study has no such trial.
        """
        return why(self._trial(trial), self.summary.metric)

    def importance(self) -> dict[str, float]:
        """Return how much of the metric's variance each hyperparameter explains; they sum to 1, the largest comes first.

        Empty with fewer than four trials that came to a value.
        """
        return importance_of(self.summary, self._space)

    def _trial(self, number: int) -> Trial:
        if number not in self.summary.trials:
            raise NotFoundError(f"study {self.name} has no trial {number}: it has {len(self.summary.trials)}, from 0")
        return self.summary.trials[number]

    def __repr__(self) -> str:
        counts = self.summary.counts
        best = self.summary.best
        told = (
            f"best {self.summary.metric} {best.value:.6g} in trial {best.number}" if best and best.value is not None else ""
        )
        parts = [f"{counts[state]} {state.value}" for state in TrialState if counts[state]]
        return f"<study {self.name}: {', '.join(parts) or 'no trials'}{'; ' + told if told else ''}>"


def why(trial: Trial, metric: str) -> str:
    """Say in a sentence how a trial ended."""
    at = f" at step {trial.shown_step}" if trial.shown_step else ""
    value = f" with {metric} {trial.value:.6g}" if trial.value is not None else ""
    again = f"; it began again {len(trial.retries)} times: {'; '.join(trial.retries)}" if trial.retries else ""
    told = {
        TrialState.RUNNING: f"is still running{at}",
        TrialState.DONE: f"came to its end{at}{value}",
        TrialState.STOPPED: f"was stopped{at}{value}: {trial.reason}",
        TrialState.FAILED: f"failed{at}: {trial.reason}",
    }
    return f"trial {trial.number} {told[trial.state]}{again}"


def importance_of(study: Study, space: Space | None) -> dict[str, float]:
    """Return the importance of each hyperparameter by what the trials have shown so far."""
    if study.is_ablation:
        return {}
    from hops_magic.tuning.importance import importance

    known = [trial for trial in study.trials.values() if trial.has_value]
    losses = [study.direction.loss(trial.value or 0.0) for trial in known]
    if space is not None:
        return importance(space, list(zip((trial.point for trial in known), losses, strict=True)))
    dimensions, points = _from_values(study, known)
    return importance(dimensions, list(zip(points, losses, strict=True)))


def _from_values(study: Study, trials: list[Trial]) -> tuple[dict[str, Dimension], list[dict[str, Any]]]:
    """Return dimensions, and trials as points of them, by the values alone: all that a study in another kernel tells."""
    dimensions: dict[str, Dimension] = {}
    points: list[dict[str, Any]] = [{} for _ in trials]
    for name in study.names:
        values = [trial.values.get(name) for trial in trials]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None):
            is_log = name in study.log_names
            dimensions[name] = Dimension(kind=Kind.LOGUNIFORM if is_log else Kind.UNIFORM)
            raw = values
        else:
            options = {text: index for index, text in enumerate(sorted({str(value) for value in values}))}
            dimensions[name] = Dimension(kind=Kind.CATEGORICAL, weights=(1.0,) * len(options))
            raw = [options[str(value)] for value in values]
        for point, value in zip(points, raw, strict=True):
            if value is not None:
                point[name] = value
    return dimensions, points


def collect_study(
    handle: Holder,
    namespace: MutableMapping[str, Any],
    study: Study,
    space: Space | None,
    *,
    originals: Mapping[int, Any] | None = None,
) -> TunedStudy:
    """Bring a final study's ``best`` and ``study``, and the names of the best trial if they were kept, into a namespace.

    Raises
    ------
    RunFailedError
        If the study failed: with the error of its trials. ``best`` and ``study`` are its own then too.
    """
    _bind(namespace, TunedStudy(study, space))
    _check_failure(handle, study)
    unpacked = Unpacked()
    result = handle.result()
    if result is not None:
        with tempfile.TemporaryDirectory(prefix="hops-") as folder:
            try:
                path = handle.fetch(result, Path(folder))
            except ClusterError:
                path = None  # kept for the registry alone, or fetched before
            if path is not None:
                unpacked = unpack(path, namespace, updates=(update,), originals=originals)
                path.unlink(missing_ok=True)
    handle.forget()
    left_behind = {**(study.result.left_behind if study.result else {}), **unpacked.left_behind}
    tuned = TunedStudy(study, space, left_behind)
    _bind(namespace, tuned)
    return tuned


def _bind(namespace: MutableMapping[str, Any], tuned: TunedStudy) -> None:
    namespace["study"] = tuned
    if tuned.summary.best is not None:
        namespace["best"] = tuned.best
    else:
        namespace.pop("best", None)  # of another study


def collect_ablation(handle: Holder, namespace: MutableMapping[str, Any], study: Study) -> AblationStudy:
    """Bring a final ablation into a namespace as ``ablation``.

    Raises
    ------
    RunFailedError
        If it failed: with the error of its trials.
    """
    namespace.pop("ablation", None)  # of another study
    _check_failure(handle, study)
    handle.forget()
    found = AblationStudy(study)
    namespace["ablation"] = found
    return found


def _check_failure(handle: Holder, study: Study) -> None:
    if study.state is not RunState.FAILED:
        return
    handle.forget()
    failed = [trial for trial in study.trials.values() if trial.error]
    # the error that the reason tells, not that of another trial
    told = [trial for trial in failed if trial.reason and study.reason.endswith(trial.reason)]
    shown = next((trial.error for trial in told or failed), "")
    raise RunFailedError(study.run_id, f"study {study.name} failed: {study.reason}", shown)
