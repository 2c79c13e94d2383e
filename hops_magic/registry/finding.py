"""Finds experiments and runs in the record."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from hops_magic.errors import NotFoundError, RegistryError, UsageError
from hops_magic.registry import layout
from hops_magic.registry.beginning import all_experiments
from hops_magic.registry.infos import ExperimentInfo, KnownEnd, RunInfo, run_info
from hops_magic.registry.queries import MAX_TEXT, any_of, in_parts, order_clauses, search_filter, without_quotes
from hops_magic.registry.store import Store
from hops_magic.runs.states import RunState
from hops_magic.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

Wanted = str | RunInfo
"""A run: its id, the beginning of its id, its name, or what a list returned."""

DEFAULT_EXPERIMENT = "0"
EVERYTHING = 10_000
NAME_POOL = 200


class Finder:
    """Experiments and runs by their names, ids and conditions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._experiment_names: dict[str, str] = {}
        self._known_ends: dict[str, KnownEnd] = {}

    @property
    def _client(self) -> MlflowClient:
        return self._store.client

    @property
    def store(self) -> Store:
        """The open store."""
        return self._store

    @property
    def settings(self) -> Settings:
        """Where this registry lives."""
        return self._store.settings

    def experiments(self) -> list[ExperimentInfo]:
        """Return the experiments, last changed first."""
        with self._store.failures("listing experiments"):
            found = self._client.search_experiments(max_results=EVERYTHING, order_by=["last_update_time DESC"])
        self._experiment_names.update((found_one.experiment_id, found_one.name) for found_one in found)
        return [
            ExperimentInfo(
                experiment_id=found_one.experiment_id,
                name=found_one.name,
                created_at=(found_one.creation_time or 0) / 1000,
                changed_at=(found_one.last_update_time or 0) / 1000,
            )
            for found_one in found
            if found_one.experiment_id != DEFAULT_EXPERIMENT or self._is_used(DEFAULT_EXPERIMENT)
        ]

    def runs(
        self,
        experiment: str | None = None,
        *,
        state: RunState | str | None = None,
        text: str | None = None,
        filter: str | None = None,
        sort: str = "-started",
        limit: int = 50,
        offset: int = 0,
        parent: str | None = None,
        trials: bool = False,
        is_deleted: bool = False,
    ) -> list[RunInfo]:
        """Return a page of runs.

        Parameters
        ----------
        experiment
            Only this experiment's.
        state
            Only those in this state.
        text
            Only those whose name, id, user, notebook or experiment contains this.
        filter
            Condition in MLflow's language, e.g. ``metrics.val_loss < 0.3 and params.workers = '2'``.
        sort
            ``started``, ``ended``, ``name``, ``state``, ``user`` or a metric's name; ``-`` before it for descending.
        limit, offset
            The page.
        parent
            Only those of this study.
        trials
            The trials of all studies too.
        is_deleted
            Those that were deleted and can be restored, instead of the others.
        """
        condition = search_filter(state=state, text=text, condition=filter, parent=parent, trials=trials)
        where = [self._experiment_id(experiment)] if experiment is not None else None
        try:
            found = self._search(condition, where, order_clauses(sort), limit, offset, is_deleted=is_deleted)
        except RegistryError as error:
            if filter and getattr(error.__cause__, "error_code", "") == "INVALID_PARAMETER_VALUE":
                said = str(error.__cause__).splitlines()[0]
                raise UsageError(f"the filter {filter[:MAX_TEXT]} cannot be read: {said[:MAX_TEXT]}") from error
            raise
        return [self._info(run) for run in found]

    def run(self, wanted: Wanted) -> RunInfo:
        """Return one run, deleted ones included, by its id, the beginning of its id, or its name (the newest of that name).

        Raises
        ------
        NotFoundError
            If there is none, with names that are like it; or if a beginning fits several.
        """
        if isinstance(wanted, RunInfo):
            return wanted
        wanted = wanted.strip()
        for find in (self._by_id, self._by_name, self._by_prefix):
            found = find(wanted)
            if found is not None:
                return self._info(found)
        raise NotFoundError(self._nothing_like(wanted))

    def children(self, wanted: Wanted) -> list[RunInfo]:
        """Return the trials of a study, in the order of their start."""
        return self.runs(parent=self.run(wanted).run_id, sort="started", limit=EVERYTHING)

    def state(self) -> tuple[object, ...]:
        """Return what is another after a run began, changed its state or ended."""
        file = self.settings.database_file
        if file is not None:
            # SQLite's own count of changes is per connection; the files tell those of all processes
            return tuple(_stamp(path) for path in (file, file.with_name(f"{file.name}-wal")))
        newest = self.runs(limit=20, trials=True)
        return tuple((run.run_id, run.state, run.ended_at, tuple(run.metrics.items())) for run in newest)

    def runs_that_read(self, full_names: Sequence[str], *, limit: int = EVERYTHING) -> list[RunInfo]:
        """Return the runs that read one of these versions of groups or datasets (``teams@1``), newest first."""
        found: dict[str, RunInfo] = {}
        for name in full_names:
            condition = f"dataset.name = '{without_quotes(name)}'"
            for run in self._search(condition, None, order_clauses("-started"), limit, 0, is_deleted=False):
                found.setdefault(run.info.run_id, self._info(run))
        return sorted(found.values(), key=lambda info: -info.created_at)[:limit]

    def runs_of_records(self, record_ids: Iterable[str]) -> dict[str, RunInfo]:
        """Return runs by MLflow's ids, deleted ones included; those that there are not are left out."""
        found: dict[str, RunInfo] = {}
        for some in in_parts(record_ids):
            for is_deleted in (False, True):
                runs = self._search(f"attributes.run_id {any_of(some)}", None, [], len(some), 0, is_deleted=is_deleted)
                found |= {run.info.run_id: self._info(run) for run in runs}
        return found

    def note_ends(self, ends: Mapping[str, KnownEnd]) -> None:
        """Remember how runs ended whose records cannot be completed just now: whoever reads them here is told."""
        self._known_ends.update(ends)

    # -- finding ---------------------------------------------------------------------------------------------------

    def _is_used(self, experiment_id: str) -> bool:
        """Whether an experiment has runs: MLflow makes one by itself, which nobody asked for."""
        return bool(self._search("", [experiment_id], [], 1, 0, is_deleted=False))

    def _by_id(self, wanted: str) -> MlflowRun | None:
        if not re.fullmatch(r"[\w-]{4,64}", wanted, re.ASCII):
            return None
        found = self._find(f"tags.`{layout.TAG_RUN_ID}` = '{wanted}'")
        if not found and re.fullmatch(r"[0-9a-f]{32}", wanted):
            with contextlib.suppress(NotFoundError), self._store.failures(f"looking for {wanted}"):
                return self._client.get_run(wanted)
        return found[0] if found else None

    def _by_name(self, wanted: str) -> MlflowRun | None:
        if not wanted:
            return None
        short = without_quotes(wanted[: layout.MAX_NAME])
        found = self._find(f"attributes.run_name LIKE '{short}%'", limit=NAME_POOL)
        exact = [run for run in found if (run.data.tags.get(layout.TAG_NAME) or run.info.run_name) == wanted]
        return exact[0] if exact else None

    def _by_prefix(self, wanted: str) -> MlflowRun | None:
        if not re.fullmatch(r"[0-9a-f]{2,32}", wanted):
            return None
        found = self._find(f"tags.`{layout.TAG_RUN_ID}` LIKE '{wanted}%'", limit=6)
        if len(found) > 1:
            ids = ", ".join(run.data.tags[layout.TAG_RUN_ID] for run in found[:5])
            raise NotFoundError(f"several runs begin with {wanted} ({ids} ...): write more of the id")
        return found[0] if found else None

    def _find(self, condition: str, limit: int = 1) -> list[MlflowRun]:
        newest = ["attributes.start_time DESC"]
        found = self._search(condition, None, newest, limit, 0, is_deleted=False)
        return found or self._search(condition, None, newest, limit, 0, is_deleted=True)

    def _nothing_like(self, wanted: str) -> str:
        known = [info.name for info in self.runs(limit=NAME_POOL)]
        close = get_close_matches(wanted[:200], known, n=3)
        hint = f"did you mean {' or '.join(dict.fromkeys(close))}?" if close else "%experiments lists them"
        return f"there is no run {wanted[:80]!r}: {hint}"

    def _experiment_id(self, name: str) -> str:
        with self._store.failures(f"looking for experiment {name[:80]}"):
            found = self._client.get_experiment_by_name(layout.shortened(name, layout.MAX_NAME, "its runs' tags"))
        if found is None:
            known = [info.name for info in self.experiments()]
            close = get_close_matches(name[:200], known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known[:10]) or 'none yet'}"
            raise NotFoundError(f"there is no experiment {name[:80]!r}: {hint}")
        self._experiment_names[found.experiment_id] = found.name
        return str(found.experiment_id)

    def _search(
        self, condition: str, where: list[str] | None, order: list[str], limit: int, offset: int, *, is_deleted: bool
    ) -> list[MlflowRun]:
        from mlflow.entities import ViewType
        from mlflow.utils.search_utils import SearchUtils

        if limit < 1 or offset < 0:
            raise UsageError(f"limit must be at least 1 and offset at least 0, got {limit} and {offset}")
        view = ViewType.DELETED_ONLY if is_deleted else ViewType.ACTIVE_ONLY
        found: list[MlflowRun] = []
        token = SearchUtils.create_page_token(offset) if offset else None
        self._store.freshen()
        with self._store.failures("searching runs"):
            where = all_experiments(self._client) if where is None else where
            while where and len(found) < limit:
                size = min(limit - len(found), 1_000)
                page = self._client.search_runs(where, condition, view, size, order, token)
                found += page
                token = page.token
                if not token:
                    break
        return found

    def _info(self, run: MlflowRun, *, as_recorded: bool = False) -> RunInfo:
        experiment_id = run.info.experiment_id
        if experiment_id not in self._experiment_names:
            self.experiments()
        info = run_info(run, self._experiment_names.get(experiment_id, experiment_id))
        known = None if as_recorded else self._known_ends.get(info.run_id)
        return info if known is None else info.with_end(known)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
