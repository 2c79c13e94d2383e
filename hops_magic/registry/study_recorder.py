"""Writes a study's record while it lives: the study, and each of its trials as a child. Used by its supervisor."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hops_magic.registry import layout
from hops_magic.registry.beginning import begin, find_run, params_of, start_tags
from hops_magic.registry.bulk import FinishedRun, can_write_many, write_many
from hops_magic.registry.infos import state_of
from hops_magic.registry.keeping import keep_text
from hops_magic.registry.laid_down import Beginning, lay_down, take_up
from hops_magic.registry.lineage import input_of, write_inputs
from hops_magic.registry.records import RunRecord, environment_facts
from hops_magic.registry.rows import Row
from hops_magic.registry.store import Store
from hops_magic.registry.study_rows import aim_tags, best_rows, study_tags, trial_record, trial_tags, trial_value_row
from hops_magic.registry.writing import EventWriter
from hops_magic.runs import events as ev
from hops_magic.runs.inputs import FeatureInput, merged
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study, Trial, advance_study_all, recalled
from hops_magic.settings import Settings

RECORD_RUNNING_AFTER_S = 5.0
METRICS_AT_ONCE = 1_000
TRIALS_AT_ONCE = 100
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
        lay_down(folder, Beginning(record=self.record, description=self.description))
        recorder = StudyRecorder(Store(self.settings), folder, self.record, self.beginning)
        recorder.start(self.description)
        take_up(folder)
        return recorder


def begin_study(
    store: Store,
    record: RunRecord,
    environment: Mapping[str, Any],
    study: Study,
    description: Mapping[str, Any],
    existing: str | None,
) -> str:
    """Write what is known of a study at its start; return MLflow's id of it.

    Raises
    ------
    RegistryError
        If not all of it could be written.
    """
    from mlflow.entities import RunTag

    record_id = begin(store, record, environment, existing)
    with store.failures(f"recording study {record.name}"):
        store.client.log_batch(record_id, tags=[RunTag(*tag) for tag in aim_tags(study).items()])
        keep_text(store.client, record_id, layout.as_json(dict(description)), layout.STUDY)
    return record_id


@dataclass
class _Child:
    """A trial that the record has: the parameters that are written, and ``ended_as`` once its end is."""

    record_id: str
    params: set[str] = field(default_factory=set)
    ended_as: RunState | None = None


@dataclass
class _Log:
    """What the record has of a trial's log, in bytes of it; None before anything is written."""

    record_id: str
    size: int | None = None


class StudyRecorder(EventWriter):
    """A study's way into the registry.

    A short trial is written once, when it has ended; one that lasts is there while it runs.
    """

    def __init__(self, store: Store, folder: Path, record: RunRecord, beginning: Study) -> None:
        super().__init__(store, folder)
        self.record = record
        self._study = beginning
        self._rows: dict[int, list[Row]] = {}
        """Metrics of trials that are not written yet."""
        self._children: dict[str, _Child] = {}
        self._unwritten: dict[int, None] = {}
        self._logs: dict[int, _Log] = {}
        self._state = RunState.SUBMITTED
        self._read: list[FeatureInput] = []

    def start(self, description: Mapping[str, Any]) -> None:
        """Make the study's record, or go on with the one of an earlier supervisor.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        with self._store.failures(f"recording study {self.record.name}"):
            existing = find_run(self._client, self.record.run_id)
        self.record_id = begin_study(self._store, self.record, environment_facts(), self._study, description, existing)
        with self._store.failures(f"recording study {self.record.name}"):
            if existing:
                self._find_children()
                keep_text(self._client, self.record_id, _options_of(self.record), layout.OPTIONS)
        self._begin_writing()

    def finish(self, study: Study) -> None:
        """Write all that is left, the end of the study and its files.

        Raises
        ------
        RegistryError
            If something could not be written.
        """
        self._end_writing()
        self._study = study
        doing = f"recording the end of study {study.name}"
        with self._ending(), self._store.failures(doing):
            if self._has_end(study.ended_at):
                return
            # what an earlier supervisor left unwritten is known from the summary: trials, and ends of those it had begun
            self._unwritten |= {trial.number: None for trial in study.ended() if not self._has_end_of(trial)}
            with self._store.failures(f"recording the trials of study {study.name}"):
                self._write_trials(everything=True)
                self._write_trial_files(everything=True)
            self._write_end(study)
            self._store.analyze()
        register_as = self.record.options.get("register")
        if register_as and study.state is RunState.DONE:
            self._register(study.run_id, str(register_as))

    # -- the writing thread --------------------------------------------------------------------------------------------

    def go_on(self, record_id: str, events: Sequence[ev.Event]) -> None:
        """Take up a record that somebody else began, with the trials that it has."""
        self.record_id = record_id
        self._find_children()
        super().go_on(record_id, events)

    def _recall(self, events: Sequence[ev.Event]) -> None:
        self._study = recalled(self._study, events)
        due = {trial.number for trial in self._study.trials.values() if not self._has_end_of(trial)}
        for event in events:
            if isinstance(event, ev.FeaturesRead):
                self._read.append(input_of(event))
            elif isinstance(event, ev.TrialReported) and event.trial in due:
                self._keep_rows(event)
            elif isinstance(event, ev.StateChanged) and not event.state.is_final:
                self._study = replace(self._study, state=event.state, reason=event.reason)
        self._unwritten |= dict.fromkeys(sorted(due))

    def _has_end_of(self, trial: Trial) -> bool:
        child = self._children.get(self._id_of(trial.number))
        return child is not None and child.ended_as is RunState(trial.state.value)

    def _keep_rows(self, event: ev.TrialReported) -> None:
        at_ms = int(event.at * 1000)
        self._rows.setdefault(event.trial, []).extend(
            Row(layout.key_of(name), float(value), at_ms, int(event.step)) for name, value in event.values.items()
        )

    def _take(self, events: Sequence[ev.Event]) -> None:
        self._study = advance_study_all(self._study, events)
        for event in events:
            if isinstance(event, ev.TrialReported):
                self._keep_rows(event)
            if isinstance(event, ev.TrialStarted | ev.TrialFitted | ev.TrialReported | ev.TrialEnded):
                self._unwritten[event.trial] = None
            if isinstance(event, ev.FeaturesRead):
                self._read.append(input_of(event))

    def _write(self) -> None:
        with self._store.failures("recording trials"):
            self._write_state()
            self._write_trials(everything=False)

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
        write_many(self._store, self._experiment_id, written)
        for trial, run in zip(trials, written, strict=True):
            self._children[self._id_of(trial.number)] = _Child(run.record_id, ended_as=RunState(trial.state.value))
            self._unwritten.pop(trial.number, None)
            self._rows.pop(trial.number, None)
            self._logs[trial.number] = _Log(run.record_id)
        self._write_trial_files()

    def _finished(self, trial: Trial) -> FinishedRun:
        record = trial_record(self.record, self._study, trial)
        return FinishedRun(
            name=layout.shortened(record.name, layout.MAX_NAME, f"tag {layout.TAG_NAME}"),
            status=layout.status_of(RunState(trial.state.value)),
            started_ms=int(trial.started_at * 1000),
            ended_ms=int((trial.ended_at or 0) * 1000),
            user=record.user,
            params=params_of(record),
            tags={**start_tags(record, self.record_id), **trial_tags(self._study, trial)},
            metrics=self._rows_of(trial),
        )

    def _rows_of(self, trial: Trial) -> list[Row]:
        returned = trial_value_row(self._study, trial)
        return [*self._rows.get(trial.number, ()), *([] if returned is None else [returned])]

    def _write_trial(self, trial: Trial) -> None:
        from mlflow.entities import Metric, Param, RunTag

        child = self._children.get(self._id_of(trial.number)) or self._begin_trial(trial)
        rows = self._rows_of(trial)
        # MLflow refuses another value of one that is written
        new = {
            name: value
            for name, value in params_of(trial_record(self.record, self._study, trial)).items()
            if name not in child.params
        }
        params = [Param(*item) for item in new.items()]
        tags = trial_tags(self._study, trial)
        metrics = [Metric(row.key, row.value, row.at_ms, row.step) for row in rows]
        while metrics or params or tags:
            batch, metrics = metrics[:METRICS_AT_ONCE], metrics[METRICS_AT_ONCE:]
            self._client.log_batch(
                child.record_id, metrics=batch, params=params, tags=[RunTag(*tag) for tag in tags.items()]
            )
            params, tags = [], {}
        # only now: what the registry did not take is tried again, and MLflow takes equal points once
        child.params |= set(new)
        self._rows.pop(trial.number, None)
        if trial.state.is_final:
            self._logs.setdefault(trial.number, _Log(child.record_id))
            self._write_trial_files()
            status = layout.status_of(RunState(trial.state.value))
            self._client.set_terminated(child.record_id, status=status, end_time=int((trial.ended_at or 0) * 1000))
        child.ended_as = RunState(trial.state.value) if trial.state.is_final else None

    def _begin_trial(self, trial: Trial) -> _Child:
        record = trial_record(self.record, self._study, trial)
        run = self._client.create_run(
            self._experiment_id,
            start_time=int(trial.started_at * 1000),
            run_name=layout.shortened(record.name, layout.MAX_NAME, f"tag {layout.TAG_NAME}"),
            tags=start_tags(record, self.record_id) | {layout.TAG_STATE: RunState.RUNNING.value},
        )
        child = self._children[record.run_id] = _Child(str(run.info.run_id))
        return child

    def _write_trial_files(self, *, everything: bool = False) -> None:
        """Write what trials have printed; with ``everything``, also of those whose logs have grown since."""
        for number, log in self._logs.items():
            if log.size is not None and not everything:
                continue
            journal = self.folder / "trials" / str(number) / layout.JOURNAL
            size = journal.stat().st_size if journal.exists() else 0
            if size == log.size:
                continue
            trial = self._study.trials.get(number)
            if trial is not None and trial.error:
                keep_text(self._client, log.record_id, trial.error, layout.ERROR)
            for rank, text in _outputs(journal).items():
                keep_text(self._client, log.record_id, text, layout.output_file(rank))
            log.size = size

    # -- the study itself ----------------------------------------------------------------------------------------------

    def _write_end(self, study: Study) -> None:
        from mlflow.entities import Metric, RunTag

        # the end last: a record that has one is not completed any more
        self._write_model()
        self._write_journal()
        metrics = [Metric(row.key, row.value, row.at_ms, row.step) for row in best_rows(study)]
        write_inputs(self._client, self.record_id, merged(self._read), by_ranks=True)
        tags = [RunTag(*tag) for tag in study_tags(study).items()]
        self._client.log_batch(self.record_id, metrics=metrics[-METRICS_AT_ONCE:], tags=tags)
        ended_ms = int((study.ended_at or time.time()) * 1000)
        self._client.set_terminated(self.record_id, status=layout.status_of(study.state), end_time=ended_ms)

    def _find_children(self) -> None:
        experiment = self._experiment_id
        token = None
        while True:
            page = self._client.search_runs(
                [experiment],
                filter_string=f"tags.`{layout.TAG_PARENT}` = '{self.record.run_id}'",
                max_results=1_000,
                page_token=token,
            )
            for run in page:
                state = state_of(run.data.tags, run.info.status)
                ended_as = state if state.is_final else None
                child = _Child(str(run.info.run_id), set(run.data.params), ended_as)
                trial_id = run.data.tags.get(layout.TAG_RUN_ID, "")
                self._children[trial_id] = child
                if ended_as is not None:
                    # who wrote the end may have had a log that waited for room
                    self._logs[int(trial_id.rpartition("-")[2])] = _Log(child.record_id)
            token = page.token
            if not token:
                return

    @functools.cached_property
    def _experiment_id(self) -> str:
        return str(self._client.get_run(self.record_id).info.experiment_id)

    def _id_of(self, number: int) -> str:
        return f"{self.record.run_id}-{number}"


def _options_of(record: RunRecord) -> str:
    return layout.as_json({"options": dict(record.options), "params": dict(record.params)})


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
