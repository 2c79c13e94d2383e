"""What the recorders of runs and of studies share: a thread that writes, so that whoever says events never waits."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from hops_magic.errors import RegistryError, UsageError, in_a_sentence
from hops_magic.registry import layout
from hops_magic.registry.store import Store
from hops_magic.runs.events import Event

logger = logging.getLogger(__name__)

BATCH = 1_000
FLUSH_EVERY_S = 1.0
RETRY_UP_TO_S = 30.0


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
        self._closing = False
        self._thread = threading.Thread(target=self._write_often, name="hops-recorder", daemon=True)

    def events(self, events: Sequence[Event]) -> None:
        """Take events in order; returns at once."""
        with self._changed:
            self._inbox.extend(events)
            if len(self._inbox) >= BATCH:
                self._changed.notify()

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
                closing = self._closing
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
            self._client.log_artifacts(self.record_id, str(model), layout.MODEL_FOLDER)
            shutil.rmtree(model)

    def _write_journal(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._client.log_artifact(self.record_id, str(self.folder / layout.JOURNAL))
