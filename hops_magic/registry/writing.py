"""What the recorders of runs and of studies share: a thread that writes, so that whoever says events never waits."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from hops_magic.errors import RegistryError, UsageError, in_a_sentence
from hops_magic.registry import layout
from hops_magic.registry.infos import json_tag, state_of
from hops_magic.registry.keeping import keep_file, keep_folder
from hops_magic.registry.store import Store
from hops_magic.runs.events import Event
from hops_magic.runs.states import RunState

logger = logging.getLogger(__name__)

BATCH = 1_000
FLUSH_EVERY_S = 1.0
RETRY_UP_TO_S = 30.0
END_WITHIN_S = 60.0


@contextlib.contextmanager
def ending_lock(folder: Path, within_s: float) -> Iterator[None]:
    """Hold the right to write the end of a record, which ends with the process that has it.

    Raises
    ------
    RegistryError
        If somebody else has it for longer than that, or the folder takes no lock.
    """
    lock = FileLock(folder / ".record.lock", mode=0o600)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=within_s)
    except Timeout as error:
        raise RegistryError(
            f"somebody else writes the end of the record of {folder.name}: it is done by now, or soon"
        ) from error
    except OSError as error:
        raise RegistryError(f"the end of a record cannot be written: {folder} takes no lock ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


class EventWriter(ABC):
    """Takes events and writes them in batches; when the registry fails, what is unwritten is kept and tried again.

    Parameters
    ----------
    store
        Where to.
    folder
        Of the run or study on this machine, with its journal and its model.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self.folder = folder
        self.problem: RegistryError | None = None
        """Why the last attempt to write failed; None while all is well."""
        self.record_id = ""
        self._store, self._client = store, store.client
        self._changed = threading.Condition()
        self._inbox: list[Event] = []
        self._told: Sequence[Event] = ()
        self._closing = False
        self._is_locked = False
        self._thread = threading.Thread(target=self._write_often, name="hops-recorder", daemon=True)

    def events(self, events: Sequence[Event]) -> None:
        """Take events in order; returns at once."""
        with self._changed:
            self._inbox.extend(events)
            if len(self._inbox) >= BATCH:
                self._changed.notify()

    def recall(self, events: Sequence[Event]) -> None:
        """Take, before any other events, what an earlier supervisor has said; what the record has of it is left alone."""
        with self._changed:
            self._told = events

    def go_on(self, record_id: str, events: Sequence[Event]) -> None:
        """Take up a record that somebody else began, with all that was said; the caller holds :func:`ending_lock`."""
        self.record_id, self._is_locked = record_id, True
        self.recall(events)
        self._begin_writing()

    def _ending(self) -> contextlib.AbstractContextManager[None]:
        """Be the only one that writes the record's end."""
        return contextlib.nullcontext() if self._is_locked else ending_lock(self.folder, END_WITHIN_S)

    def _has_end(self, ended_at: float | None) -> bool:
        """Whether the record has this end already: whoever comes upon one that has none may complete it."""
        run = self._client.get_run(self.record_id)
        tags = dict(run.data.tags)
        known = json_tag(tags, layout.TAG_END).get("ended_at")
        is_ended = layout.STATES.get(run.info.status, RunState.RUNNING).is_final and state_of(tags, "RUNNING").is_final
        return is_ended and known is not None and known == ended_at

    @abstractmethod
    def _recall(self, events: Sequence[Event]) -> None:
        """Turn what was said before into what the record lacks."""

    @abstractmethod
    def _take(self, events: Sequence[Event]) -> None:
        """Turn events into what is to be written."""

    @abstractmethod
    def _write(self) -> None:
        """Write what there is, or raise RegistryError and keep it."""

    def _begin_writing(self) -> None:
        self._thread.start()

    def _end_writing(self) -> None:
        """Take the last events, and end the thread: what it has not written is left to the caller."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _write_often(self) -> None:
        delay_s = FLUSH_EVERY_S
        while True:
            with self._changed:
                if not self._closing:
                    self._changed.wait(delay_s)
                events, self._inbox = self._inbox, []
                told, self._told = self._told, ()
                closing = self._closing
            if told:
                self._recall(told)
            self._take(events)
            if closing:
                return
            try:
                self._write()
                self.problem, delay_s = None, FLUSH_EVERY_S
            except Exception as error:  # noqa: BLE001 (whatever a store's library raises, the thread must go on writing)
                logger.warning("%s; trying again", error)
                self.problem = error if isinstance(error, RegistryError) else RegistryError(in_a_sentence(error))
                delay_s = min(2 * delay_s, RETRY_UP_TO_S)

    def _register(self, run_id: str, name: str) -> None:
        from hops_magic.registry.registry import Registry

        try:
            Registry(self._store).register(run_id, name)
        except UsageError as error:
            raise RegistryError(f"no model was registered as {name}: {error}") from error

    def _write_model(self) -> None:
        """Move the trained model, if there is one, into the record."""
        model = self.folder / layout.MODEL_FOLDER
        if model.is_dir():
            keep_folder(self._client, self.record_id, model, layout.MODEL_FOLDER, moved=True)
            shutil.rmtree(model)

    def _write_journal(self) -> None:
        journal = self.folder / layout.JOURNAL
        if journal.exists():
            keep_file(self._client, self.record_id, journal)
