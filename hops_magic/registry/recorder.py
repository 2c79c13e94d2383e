"""Writes a run's record while it lives. Used by the run's supervisor, on the cluster."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hops_magic.engine.journal import read_journal
from hops_magic.errors import RegistryError
from hops_magic.registry import layout
from hops_magic.registry.beginning import begin, find_run, params_of
from hops_magic.registry.bulk import points_of
from hops_magic.registry.ending import end_tags, error_text
from hops_magic.registry.keeping import keep_folder, keep_text
from hops_magic.registry.laid_down import Beginning, lay_down, take_up
from hops_magic.registry.lineage import input_of, write_inputs
from hops_magic.registry.records import RunRecord, environment_facts
from hops_magic.registry.rows import MetricRows, Point, Row
from hops_magic.registry.store import Store
from hops_magic.registry.writing import BATCH, EventWriter, ending_lock
from hops_magic.runs import events as ev
from hops_magic.runs.inputs import FeatureInput, merged
from hops_magic.runs.run import Run, named_parameters
from hops_magic.runs.states import RunState
from hops_magic.settings import Settings

SUMMARY_EVERY_S = 5.0
DRAIN_WITHIN_S = 20.0
MAX_WAITING_ROWS = 500_000


@dataclass(frozen=True, kw_only=True)
class RecorderSpec:
    """A recorder that can travel: opened where the supervisor lives, so that no handle leaves the kernel."""

    settings: Settings
    record: RunRecord

    def __call__(self, folder: Path) -> Recorder:
        """Open the store and begin the record.

        Parameters
        ----------
        folder : Path
            The run's folder on the supervisor's machine, with its journal.

        Raises
        ------
        RegistryError
            If the registry cannot be written.
        """
        lay_down(folder, Beginning(record=self.record))
        recorder = Recorder(Store(self.settings), folder)
        recorder.start(self.record)
        take_up(folder)
        return recorder


class Recorder(EventWriter):
    """One run's way into the registry. What is still missing at the end, if the registry fails, is in the journal."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(store, folder)
        self.register_as: str | None = None
        """Name under which the model of a run that is done is registered."""
        self._rows: list[Row] = []
        self._lacks_output = False
        self._said = self._dropped = self._lost = 0
        self._state: tuple[RunState, str] | None = None
        self._errors: list[ev.RankError] = []
        self._read: list[FeatureInput] = []
        self._params: dict[str, str] = {}
        self._taken_params: set[str] = set()
        self._written_params: set[str] = set()
        self._summary_at = 0.0
        self._metrics = MetricRows(time.time())

    def start(self, record: RunRecord) -> None:
        """Make the run's record, or go on with the one that an earlier supervisor began.

        Raises
        ------
        RegistryError
            If it cannot be written.
        """
        self.begun(record.created_at, record.options.get("register"))
        with self._store.failures(f"recording run {record.name}"):
            existing = find_run(self._client, record.run_id)
        self.record_id = begin(self._store, record, environment_facts(), existing)
        self._taken_params = set(params_of(record))
        if existing:
            # MLflow refuses another value: what was written for an earlier supervisor stays as it is
            with self._store.failures(f"reading the parameters of run {record.name}"):
                self._written_params = set(self._client.get_run(existing).data.params) - self._taken_params
        self._begin_writing()

    def begun(self, created_at: float, register_as: str | None) -> None:
        """Take what was known when the run was submitted."""
        self._metrics.started_at, self.register_as = created_at, register_as

    def finish(self, run: Run) -> None:
        """Write all that is left, the end of the run and its files.

        Raises
        ------
        RegistryError
            If something could not be written; the sentence says where it is kept instead.
        """
        self._end_writing()
        with self._ending():
            self._drain()
            with self._store.failures(f"recording the end of run {run.name}"):
                if self._has_end(run.ended_at):
                    return
                self._write_end(run)
                self._store.analyze()
        if self.register_as and run.state is RunState.DONE:
            self._register(run.run_id, self.register_as)
        if self._lost:
            raise RegistryError(f"{self._lost:,} of {self._said:,} points of run {run.name} are lost: no log has them")

    # -- the writing thread ----------------------------------------------------------------------------------------

    def _recall(self, events: Sequence[ev.Event]) -> None:
        known: set[Point] = set()
        # where the registry is away just now, MLflow drops equal points itself, only more slowly
        with contextlib.suppress(RegistryError), self._store.failures("reading the points that were written"):
            known = points_of(self._store, self.record_id)
        rows = self._metrics.rows(events)
        self._rows += [row for row in rows if row.point not in known]
        self._said += len(rows)
        said: dict[int, list[str]] = {}
        for event in events:
            if isinstance(event, ev.Output):
                said.setdefault(event.rank, []).append(event.text)
            elif isinstance(event, ev.RankError):
                self._errors.append(event)
            elif isinstance(event, ev.FeaturesRead):
                self._read.append(input_of(event))
            elif isinstance(event, ev.Parameters):
                self._note_parameters(event)
            elif isinstance(event, ev.StateChanged):
                self._state = (event.state, event.reason)
        try:
            # two who append what is not there would both append it
            with contextlib.nullcontext() if self._is_locked else ending_lock(self.folder, 0.0):
                self._keep_output({rank: [self._unkept(rank, "".join(texts))] for rank, texts in said.items()})
        except RegistryError:
            self._lacks_output = True

    def _unkept(self, rank: int, text: str) -> str:
        """Return the part of what a rank has written that an earlier supervisor did not keep."""
        file, whole = self.folder / layout.output_file(rank), text.encode("utf-8", "surrogatepass")
        try:
            kept = file.read_bytes()
            if whole.startswith(kept):
                return whole[len(kept) :].decode("utf-8", "surrogatepass")
            file.unlink()
        except UnicodeDecodeError:
            file.unlink()  # a full disk has cut a character
        except OSError:
            pass  # what cannot be read cannot be appended to either, which is told there
        return text

    def _take(self, events: Sequence[ev.Event]) -> None:
        rows = self._metrics.rows(events)
        self._rows += rows
        self._said += len(rows)
        excess = len(self._rows) - MAX_WAITING_ROWS
        if excess > 0:
            # the journal has them
            del self._rows[:excess]
            self._dropped += excess
        outputs: dict[int, list[str]] = {}
        for event in events:
            if isinstance(event, ev.Output):
                outputs.setdefault(event.rank, []).append(event.text)
            elif isinstance(event, ev.StateChanged):
                self._state = (event.state, event.reason)
            elif isinstance(event, ev.Queued):
                self._state = (RunState.QUEUED, f"place {event.position} in the queue")
            elif isinstance(event, ev.RankError):
                self._errors.append(event)
            elif isinstance(event, ev.FeaturesRead):
                self._read.append(input_of(event))
            elif isinstance(event, ev.Parameters):
                self._note_parameters(event)
        self._keep_output(outputs)

    def _note_parameters(self, event: ev.Parameters) -> None:
        for name, value in named_parameters(event).items():
            key = layout.key_of(name)
            if key in self._taken_params:  # an option or hyperparameter of that name
                key = layout.key_of(f"fit.{name}")
            if key not in self._written_params:
                self._written_params.add(key)
                self._params[key] = layout.shortened(layout.param_text(value), layout.MAX_PARAM, layout.JOURNAL)

    def _keep_output(self, outputs: dict[int, list[str]]) -> None:
        if self._lacks_output:
            return  # what is there stays without a gap
        try:
            for rank, texts in outputs.items():
                file = self.folder / layout.output_file(rank)
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with file.open("a", encoding="utf-8", errors="surrogatepass") as out:
                    out.writelines(texts)
        except OSError as error:
            # the journal has it
            self._lacks_output = True
            self.problem = RegistryError(f"output of the run cannot be kept in {self.folder}: {error.strerror}")

    def _bring_back_output(self) -> None:
        """Write all output anew, from the journal, if a full disk did not take some."""
        if not self._lacks_output:
            return
        folder = self.folder / layout.OUTPUT_FOLDER
        with self._store.failures("keeping the output of the run"), contextlib.ExitStack() as files:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True)
            opened: dict[int, TextIO] = {}
            for event in read_journal(self.folder):
                if isinstance(event, ev.Output):
                    if event.rank not in opened:
                        path = self.folder / layout.output_file(event.rank)
                        opened[event.rank] = files.enter_context(path.open("w", encoding="utf-8", errors="surrogatepass"))
                    opened[event.rank].write(event.text)
        self._lacks_output = False

    def _write(self) -> None:
        from mlflow.entities import Metric, Param, RunTag

        while self._rows:
            batch = self._rows[:BATCH]
            with self._store.failures("recording metrics"):
                self._client.log_batch(
                    self.record_id, metrics=[Metric(row.key, row.value, row.at_ms, row.step) for row in batch]
                )
            del self._rows[: len(batch)]
        if self._params:
            with self._store.failures("recording parameters"):
                self._client.log_batch(self.record_id, params=[Param(*item) for item in self._params.items()])
            self._params = {}
        tags: dict[str, str] = {}
        state, self._state = self._state, None
        # the end is written with all the rest, or not at all: it says that the record is whole
        if state is not None and state[0].is_final:
            state = None
        if state is not None:
            tags[layout.TAG_STATE] = state[0].value
            tags[layout.TAG_REASON] = layout.shortened(state[1], layout.MAX_TAG, layout.JOURNAL)
        if time.monotonic() - self._summary_at > SUMMARY_EVERY_S:
            tags |= self._summary_tags()
        if tags:
            with self._store.failures("recording the run's state"):
                self._client.log_batch(self.record_id, tags=[RunTag(*item) for item in tags.items()])
                if state is not None:
                    self._client.update_run(self.record_id, status=layout.status_of(state[0]))
        self.problem = None

    def _summary_tags(self) -> dict[str, str]:
        self._summary_at = time.monotonic()
        tags = {}
        summary = self._metrics.summary()
        if summary is not None:
            tags[layout.TAG_CURVE] = summary.as_tag()
        if self._metrics.names:
            tags[layout.TAG_NAMES] = json.dumps(self._metrics.names)[: layout.MAX_TAG]
        return tags

    # -- the end ---------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Write the last rows, trying again for a while, since a registry may be away for a moment only."""
        deadline = time.monotonic() + DRAIN_WITHIN_S
        self._state, self._summary_at = None, 0.0
        delay_s = 0.2
        while True:
            try:
                self._bring_back_dropped()
                self._bring_back_output()
                self._write()
                return
            except RegistryError as error:
                self.problem = error
                if time.monotonic() + delay_s > deadline:
                    raise RegistryError(
                        f"{error}; {len(self._rows):,} values of metrics are only in {self.folder / layout.JOURNAL}"
                    ) from error
                time.sleep(delay_s)
                delay_s = min(2 * delay_s, 5.0)

    def _bring_back_dropped(self) -> None:
        """Take the points that did not wait in memory for a slow registry from the journal."""
        if not self._dropped:
            return
        with self._store.failures("reading the points that were written"):
            known = points_of(self._store, self.record_id) | {row.point for row in self._rows}
        said = MetricRows(self._metrics.started_at).rows(read_journal(self.folder))
        found = [row for row in said if row.point not in known]
        self._lost, self._dropped = max(0, self._dropped - len(found)), 0
        self._rows += found

    def _write_end(self, run: Run) -> None:
        from mlflow.entities import RunTag

        # the end last: a record that has one is not completed any more
        if (errors := self._errors or list(run.errors)) and run.errors:
            keep_text(self._client, self.record_id, error_text(errors), layout.ERROR)
        self._write_model()
        output = self.folder / layout.OUTPUT_FOLDER
        if output.is_dir():
            keep_folder(self._client, self.record_id, output, layout.OUTPUT_FOLDER)
        self._write_journal()
        write_inputs(self._client, self.record_id, merged(self._read), by_ranks=True)
        tags = end_tags(run)
        if self._lost:
            tags[layout.TAG_INCOMPLETE] = f"{self._said - self._lost:,} of {self._said:,} points"
        self._client.log_batch(self.record_id, tags=[RunTag(*item) for item in tags.items()])
        ended_ms = int((run.ended_at or time.time()) * 1000)
        self._client.set_terminated(self.record_id, status=layout.status_of(run.state), end_time=ended_ms)
