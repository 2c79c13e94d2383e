"""The registry as kernels, servers and scripts use it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence

from hops_magic.errors import UsageError
from hops_magic.registry import layout
from hops_magic.registry.bulk import can_write_many, delete_many, restore_many
from hops_magic.registry.comparing import compare
from hops_magic.registry.finding import EVERYTHING, Wanted
from hops_magic.registry.infos import Comparison, RunInfo, captured_rows
from hops_magic.registry.models import Models
from hops_magic.runs.states import RunState

LOST_REASON = "lost: the cluster that ran it is gone"


class Registry(Models):
    """The record of a settings' store: what is found and read by the classes below, and what compares and changes runs.

    Threads may share it.
    """

    def compare(self, *wanted: Wanted) -> Comparison:
        """Tell how runs differ.

        Raises
        ------
        UsageError
            If fewer than two are named.
        """
        if len(wanted) < 2:
            raise UsageError("comparing needs at least two runs")
        infos = [self.run(name) for name in wanted]
        return compare(
            infos,
            sources=[self.text(info, layout.SOURCE, default="") for info in infos],
            captured=[captured_rows(self.text(info, layout.CAPTURED, default="[]")) for info in infos],
            environments=[json.loads(self.text(info, layout.ENVIRONMENT, default="{}")) for info in infos],
        )

    def delete(self, wanted: Sequence[Wanted]) -> list[RunInfo]:
        """Delete runs, with their trials if they are studies; :meth:`restore` brings them back.

        Raises
        ------
        UsageError
            If one of them still runs; then none is deleted.
        """
        infos = [self.run(name) for name in wanted]
        infos += [child for info in infos for child in self.children(info)]
        live = [info.name for info in infos if not info.state.is_final]
        if live:
            raise UsageError(f"{', '.join(live)} still runs: stop it first, nothing was deleted")
        now = time.time()
        batch = f"{now:.6f}"
        chosen = {info.record_id: info for info in infos if not info.is_deleted}
        with self._store.failures("deleting runs"):
            if can_write_many(self._store):
                delete_many(self._store, list(chosen), tag=layout.TAG_DELETED, value=batch, at_ms=int(now * 1000))
                return list(chosen.values())
            for record_id in chosen:
                self._client.set_tag(record_id, layout.TAG_DELETED, batch)
                self._client.delete_run(record_id)
        return list(chosen.values())

    def restore(self, wanted: Sequence[Wanted] = ()) -> list[RunInfo]:
        """Bring deleted runs back; without names, those that were deleted last."""
        if wanted:
            infos = [info for info in map(self.run, wanted) if info.is_deleted]
            infos += [c for info in infos for c in self.runs(parent=info.run_id, limit=EVERYTHING, is_deleted=True)]
        else:
            deleted = self.runs(is_deleted=True, limit=EVERYTHING, trials=True)
            last = max((info.tags.get(layout.TAG_DELETED, "") for info in deleted), default="")
            infos = [info for info in deleted if last and info.tags.get(layout.TAG_DELETED) == last]
        with self._store.failures("restoring runs"):
            if can_write_many(self._store):
                restore_many(self._store, [info.record_id for info in infos])
                return infos
            for info in infos:
                self._client.restore_run(info.record_id)
        return infos

    def tag(self, wanted: Wanted, name: str, value: str) -> None:
        """Give a run a tag of the user's own, which lists can filter by: ``tags.NAME = 'VALUE'``."""
        if name.startswith(("hops.", "mlflow.")) or layout.key_of(name) != name:
            raise UsageError(f"a tag's name must be of letters, digits and . _ - / and not of hops or mlflow, got {name}")
        with self._store.failures(f"setting tag {name}"):
            self._client.set_tag(self.run(wanted).record_id, name, layout.shortened(value, layout.MAX_TAG, "nowhere"))

    def untag(self, wanted: Wanted, name: str) -> None:
        """Take a tag of the user's own from a run; one that it does not have is no error."""
        info = self.run(wanted)
        if name in info.own_tags:
            with self._store.failures(f"removing tag {name}"):
                self._client.delete_tag(info.record_id, name)

    def note(self, wanted: Wanted, text: str) -> None:
        """Keep a note with a run, in the place of an earlier one; MLflow's pages show it as the run's description."""
        if len(text) > layout.MAX_TAG:
            raise UsageError(f"a note holds at most {layout.MAX_TAG:,} characters, got {len(text):,}: shorten it")
        with self._store.failures("keeping the note"):
            self._client.set_tag(self.run(wanted).record_id, layout.TAG_MLFLOW_NOTE, text)

    def unfinished(self) -> list[RunInfo]:
        """Return the runs that, by their record, still run or wait."""
        open_states = " ".join(f"and tags.`{layout.TAG_STATE}` != '{state.value}'" for state in RunState if state.is_final)
        found = self._search(open_states.removeprefix("and "), None, [], EVERYTHING, 0, is_deleted=False)
        infos = [self._info(run, as_recorded=True) for run in found]
        return [info for info in infos if not info.state.is_final]

    def mark_incomplete(self, info: RunInfo, share: str) -> None:
        """Let the record itself say what it lacks, such as ``44,036 of 100,000 points``, where nothing has the rest."""
        with self._store.failures(f"marking the record of run {info.name}"):
            self._client.set_tag(info.record_id, layout.TAG_INCOMPLETE, share)

    def mark_lost(self, wanted: Iterable[Wanted], reason: str = LOST_REASON) -> list[RunInfo]:
        """Close the records of runs whose supervisor is gone for good; those that have ended stay as they are."""
        lost = [info for info in map(self.run, wanted) if not info.state.is_final]
        with self._store.failures("closing the records of lost runs"):
            for info in lost:
                self._client.set_tag(info.record_id, layout.TAG_STATE, RunState.FAILED.value)
                self._client.set_tag(info.record_id, layout.TAG_REASON, reason)
                self._client.set_terminated(info.record_id, layout.status_of(RunState.FAILED))
        return lost
