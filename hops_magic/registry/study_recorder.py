"""Writes a study's record while it lives: the study, and each of its trials as a child. Used by its supervisor."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hops_magic.errors import NotFoundError, RegistryError
from hops_magic.registry import layout
from hops_magic.registry.beginning import begin, find_run, params_of, start_tags
from hops_magic.registry.bulk import FinishedRun, can_write_many, write_many
from hops_magic.registry.ending import end_tags
from hops_magic.registry.records import RunKind, RunRecord, environment_facts
from hops_magic.registry.rows import MetricSummary, Row
from hops_magic.registry.store import Store
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study, Trial, advance_study_all
from hops_magic.settings import Settings

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
RECORD_RUNNING_AFTER_S = 5.0
METRICS_AT_ONCE = 1_000
TRIALS_AT_ONCE = 100
RETRY_UP_TO_S = 30.0
MAX_OUTPUT_CHARS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class StudyRecorderSpec:
    """A recorder of a study that can travel: opened where the supervisor lives.

    Attributes
    ----------
    record : RunRecord
        What is known of the study at its start.
    beginning : Study
        The study before its first event, as the supervisor begins with it.
    description : mapping
        What must not differ when the study is continued.
    """

    settings: Settings
    record: RunRecord
    beginning: Study
    description: Mapping[str, Any]

    def __call__(self, folder: Path) -> StudyRecorder:
        """Open the store and begin the record.

        Raises
        ------
        RegistryError
            If the registry cannot be written.
        """
        recorder = StudyRecorder(Store(self.settings), folder, self.record, self.beginning)
        recorder.start(self.description)
        return recorder


@dataclass
class _Child:
    """What of a trial has been written."""

    record_id: str
    metrics: int = 0


@dataclass
class _Said:
    """Metrics of a trial that are not written yet."""

    rows: list[Row] = field(default_factory=list)


class StudyRecorder:
    """A study's way into the registry. A thread of its own writes, so that whoever says events never waits.

    A short trial is written once, when it has ended; one that lasts is there while it runs.
    """

    def __init__(self, store: Store, folder: Path, record: RunRecord, beginning: Study) -> None:
        self.folder, self.record = folder, record
        self.record_id = ""
        self.problem: RegistryError | None = None
        """Why the last attempt to write failed; None while all is well."""
        self._store, self._client = store, store.client
        self._study = beginning
        self._changed = threading.Condition()
        self._inbox: list[ev.Event] = []
        self._closing = False
        self._said: dict[int, _Said] = {}
        self._children: dict[str, _Child] = {}
        self._unwritten: dict[int, None] = {}
        self._state = RunState.SUBMITTED
        self._thread = threading.Thread(target=self._write_often, name="hops-study-recorder", daemon=True)

    def start(self, description: Mapping[str, Any]) -> None:
        """Make the study's record, or go on with the one of an earlier supervisor.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        with self._store.failures(f"recording study {self.record.name}"):
            existing = find_run(self._client, self.record.run_id)
        self.record_id = existing or begin(self._store, self.record, environment_facts())
        with self._store.failures(f"recording study {self.record.name}"):
            self._client.log_text(self.record_id, layout.as_json(dict(description)), layout.STUDY)
            if existing:
                self._find_children()
                self._client.log_text(self.record_id, layout.as_json(dict(self.record.options)), layout.OPTIONS)
        self._thread.start()

    def events(self, events: Sequence[ev.Event]) -> None:
        """Take events in order; returns at once."""
        with self._changed:
            self._inbox.extend(events)

    def finish(self, study: Study) -> None:
        """Write all that is left, the end of the study and its files.

        Raises
        ------
        RegistryError
            If something could not be written.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._study = study
        # what an earlier supervisor left unwritten is known from the summary
        known = {child for child, written in self._children.items() if written.metrics >= 0}
        self._unwritten |= {t.number: None for t in study.ended() if self._id_of(t.number) not in known}
        with self._store.failures(f"recording the trials of study {study.name}"):
            self._write_trials(everything=True)
        with self._store.failures(f"recording the end of study {study.name}"):
            self._write_end(study)
            self._store.analyze()
        register_as = self.record.options.get("register")
        if register_as and study.state is RunState.DONE:
            self._register(study, str(register_as))

    # -- the writing thread --------------------------------------------------------------------------------------------

    def _write_often(self) -> None:
        delay_s = WRITE_EVERY_S
        while True:
            with self._changed:
                if not self._closing:
                    self._changed.wait(delay_s)
                events, self._inbox = self._inbox, []
                closing = self._closing
            self._take(events)
            if closing:
                return
            try:
                with self._store.failures("recording trials"):
                    self._write_state()
                    self._write_trials(everything=False)
                self.problem, delay_s = None, WRITE_EVERY_S
            except RegistryError as error:
                logger.warning("%s; trying again", error)
                self.problem = error
                delay_s = min(2 * delay_s, RETRY_UP_TO_S)

    def _take(self, events: Sequence[ev.Event]) -> None:
        self._study = advance_study_all(self._study, events)
        for event in events:
            if isinstance(event, ev.TrialReported):
                said = self._said.setdefault(event.trial, _Said())
                at_ms = int(event.at * 1000)
                said.rows += [
                    Row(layout.key_of(name), float(value), at_ms, int(event.step)) for name, value in event.values.items()
                ]
            if isinstance(event, ev.TrialStarted | ev.TrialReported | ev.TrialEnded):
                self._unwritten[event.trial] = None

    def _write_state(self) -> None:
        state = self._study.state
        if state is self._state or state.is_final:
            return
        self._client.set_tag(self.record_id, layout.TAG_STATE, state.value)
        self._client.update_run(self.record_id, status=layout.status_of(state))
        self._state = state

    def _write_trials(self, *, everything: bool) -> None:
        due = [self._study.trials[number] for number in self._unwritten]
        if can_write_many(self._store):
            fresh = [trial for trial in due if trial.state.is_final and self._id_of(trial.number) not in self._children]
            for first in range(0, len(fresh), TRIALS_AT_ONCE):
                self._write_finished(fresh[first : first + TRIALS_AT_ONCE])
            due = [trial for trial in due if trial.number in self._unwritten]
        for trial in due:
            lasts = time.time() - trial.started_at > RECORD_RUNNING_AFTER_S
            if trial.state.is_final or lasts or everything:
                self._write_trial(trial)
                self._unwritten.pop(trial.number, None)

    def _write_finished(self, trials: Sequence[Trial]) -> None:
        """Write trials that have begun and ended since the last time, all at once."""
        written = [self._finished(trial) for trial in trials]
        write_many(self._store, self._experiment_id(), written)
        for trial, run in zip(trials, written, strict=True):
            self._children[self._id_of(trial.number)] = _Child(run.record_id, metrics=1)
            self._unwritten.pop(trial.number, None)
            self._said.pop(trial.number, None)
            self._write_trial_files(run.record_id, trial)

    def _finished(self, trial: Trial) -> FinishedRun:
        record = self._trial_record(trial)
        return FinishedRun(
            name=layout.shortened(record.name, layout.MAX_NAME, f"tag {layout.TAG_NAME}"),
            status=layout.status_of(RunState(trial.state.value)),
            started_ms=int(trial.started_at * 1000),
            ended_ms=int((trial.ended_at or 0) * 1000),
            user=record.user,
            params=params_of(record),
            tags={**start_tags(record, self.record_id), **self._trial_tags(trial)},
            metrics=self._rows_of(trial),
        )

    def _rows_of(self, trial: Trial) -> list[Row]:
        return self._said.get(trial.number, _Said()).rows

    def _write_trial(self, trial: Trial) -> None:
        from mlflow.entities import Metric, Param, RunTag

        child = self._children.get(self._id_of(trial.number)) or self._begin_trial(trial)
        said = self._said.get(trial.number, _Said())
        rows, said.rows = said.rows, []
        params = []
        if child.metrics <= 0:
            params = [Param(*item) for item in params_of(self._trial_record(trial)).items()]
            child.metrics = 1
        tags = self._trial_tags(trial)
        metrics = [Metric(row.key, row.value, row.at_ms, row.step) for row in rows]
        while metrics or params or tags:
            batch, metrics = metrics[:METRICS_AT_ONCE], metrics[METRICS_AT_ONCE:]
            self._client.log_batch(
                child.record_id, metrics=batch, params=params, tags=[RunTag(*tag) for tag in tags.items()]
            )
            params, tags = [], {}
        if trial.state.is_final:
            self._write_trial_files(child.record_id, trial)
            self._said.pop(trial.number, None)
            status = layout.status_of(RunState(trial.state.value))
            self._client.set_terminated(child.record_id, status=status, end_time=int((trial.ended_at or 0) * 1000))

    def _begin_trial(self, trial: Trial) -> _Child:
        record = self._trial_record(trial)
        run = self._client.create_run(
            self._experiment_id(),
            start_time=int(trial.started_at * 1000),
            run_name=layout.shortened(record.name, layout.MAX_NAME, f"tag {layout.TAG_NAME}"),
            tags=start_tags(record, self.record_id),
        )
        child = self._children[record.run_id] = _Child(str(run.info.run_id))
        return child

    def _trial_record(self, trial: Trial) -> RunRecord:
        return RunRecord(
            run_id=self._id_of(trial.number),
            name=f"{self.record.name}-{trial.number}",
            experiment=self.record.experiment,
            source="",
            created_at=trial.started_at,
            kind=RunKind.TRIAL,
            parent=self.record.run_id,
            notebook=self.record.notebook,
            folder=self.record.folder,
            options={"workers": self._study.workers_per_trial},
            params=trial.values,
            user=self.record.user,
        )

    def _trial_tags(self, trial: Trial) -> dict[str, str]:
        state = RunState(trial.state.value)
        run = Run(
            run_id=self._id_of(trial.number),
            world_size=self._study.workers_per_trial,
            state=state,
            reason=trial.reason,
            started_at=trial.started_at,
            ended_at=trial.ended_at,
            attempt=trial.attempt,
            restarts=trial.retries,
        )
        tags = end_tags(run) if state.is_final else {layout.TAG_STATE: state.value}
        tags[layout.TAG_PLACE] = trial.place
        if trial.value is not None:
            tags[layout.TAG_VALUE] = json.dumps({"name": self._study.metric, "value": trial.value})
        summary = MetricSummary(name=self._study.metric)
        for value in trial.curve.values:
            summary.add(value)
        if not trial.curve.count and trial.value is not None:
            summary.add(trial.value)
        if summary.count:
            tags[layout.TAG_CURVE] = summary.as_tag()
        return {name: text for name, text in tags.items() if text}

    def _write_trial_files(self, record_id: str, trial: Trial) -> None:
        if trial.error:
            self._client.log_text(record_id, trial.error, layout.ERROR)
        for rank, text in _outputs(self.folder / "trials" / str(trial.number) / layout.JOURNAL).items():
            self._client.log_text(record_id, text, layout.output_file(rank))

    # -- the study itself ----------------------------------------------------------------------------------------------

    def _write_end(self, study: Study) -> None:
        from mlflow.entities import Metric, RunTag

        run = Run(
            run_id=study.run_id,
            world_size=study.workers_per_trial,
            state=study.state,
            reason=study.reason,
            started_at=study.started_at,
            ended_at=study.ended_at,
            restarts=study.restarts,
            warnings=study.warnings,
            result=study.result,
        )
        tags = end_tags(run)
        improved = study.best_so_far()
        summary = MetricSummary(name=study.metric)
        for _, value in improved:
            summary.add(value)
        if summary.count:
            tags[layout.TAG_CURVE] = summary.as_tag()
        best = study.best
        if best is not None:
            tags[layout.TAG_BEST] = layout.as_json({"trial": best.number, "value": best.value, "values": dict(best.values)})
        key = layout.key_of(f"best/{study.metric}")
        metrics = [Metric(key, value, int((trial.ended_at or 0) * 1000), trial.number) for trial, value in improved]
        kept = [RunTag(name, layout.shortened(text, layout.MAX_TAG, layout.JOURNAL)) for name, text in tags.items() if text]
        self._client.log_batch(self.record_id, metrics=metrics[-METRICS_AT_ONCE:], tags=kept)
        ended_ms = int((study.ended_at or time.time()) * 1000)
        self._client.set_terminated(self.record_id, status=layout.status_of(study.state), end_time=ended_ms)
        model = self.folder / layout.MODEL_FOLDER
        if model.is_dir():
            self._client.log_artifacts(self.record_id, str(model), layout.MODEL_FOLDER)
            shutil.rmtree(model)
        with contextlib.suppress(FileNotFoundError):
            self._client.log_artifact(self.record_id, str(self.folder / layout.JOURNAL))

    def _register(self, study: Study, name: str) -> None:
        from hops_magic.registry.registry import Registry

        try:
            Registry(self._store).register(study.run_id, name)
        except NotFoundError as error:
            raise RegistryError(f"no model was registered as {name}: {error}") from error

    def _find_children(self) -> None:
        experiment = self._experiment_id()
        token = None
        while True:
            page = self._client.search_runs(
                [experiment],
                filter_string=f"tags.`{layout.TAG_PARENT}` = '{self.record.run_id}'",
                max_results=1_000,
                page_token=token,
            )
            for run in page:
                self._children[run.data.tags.get(layout.TAG_RUN_ID, "")] = _Child(str(run.info.run_id), metrics=1)
            token = page.token
            if not token:
                return

    def _experiment_id(self) -> str:
        if not hasattr(self, "_experiment"):
            self._experiment = str(self._client.get_run(self.record_id).info.experiment_id)
        return self._experiment

    def _id_of(self, number: int) -> str:
        return f"{self.record.run_id}-{number}"


def _outputs(journal: Path) -> dict[int, str]:
    """Return what each rank wrote, the newest part of it."""
    texts: dict[int, list[str]] = {}
    with contextlib.suppress(FileNotFoundError):
        for wire in _output_events(journal):
            texts.setdefault(int(wire["rank"]), []).append(wire["text"])
    return {rank: "".join(parts)[-MAX_OUTPUT_CHARS:] for rank, parts in texts.items()}


def _output_events(journal: Path) -> Iterator[dict[str, Any]]:
    with journal.open(encoding="utf-8") as file:
        for line in file:
            if '"kind": "output"' in line:
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)
