"""Processes that write to a store at once, or until they are killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
from multiprocessing.connection import Connection

from hops_magic.errors import HopsError
from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings

BATCH = 50
context = multiprocessing.get_context("forkserver")
# what every writer needs is imported once; nothing of it has run, so that forks have no threads to lose
context.set_forkserver_preload(["hops_magic.features.store", "deltalake", "duckdb", "pyarrow.dataset", "sqlalchemy"])


class Writer:
    """A process that appends batches to a group; ``told`` is what it said is written."""

    def __init__(
        self, settings: FeatureSettings, group: str, first: int, count: int, *, file_bytes: int | None = None
    ) -> None:
        self.failure = ""
        self._messages, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_write, args=(settings, group, first, count, file_bytes, _aws(), theirs))
        self.process.start()
        theirs.close()

    def told(self) -> set[int]:
        """Numbers of the commits that it has said are written, until it ends."""
        numbers = set()
        while True:
            try:
                message = self._messages.recv()
            except EOFError:
                return numbers
            if isinstance(message, str):
                self.failure = message
            else:
                numbers.add(message)

    def wait_for_first(self) -> int:
        return self._messages.recv()


def batch(number: int) -> dict[str, list]:
    ids = list(range(number * BATCH, (number + 1) * BATCH))
    return {"id": ids, "commit": [number] * BATCH, "value": [float(each) for each in ids]}


def _aws() -> dict[str, str]:
    """The way to an object store: the server that forks has the environment of its own start."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def _write(
    settings: FeatureSettings,
    group: str,
    first: int,
    count: int,
    file_bytes: int | None,
    environment: dict[str, str],
    messages: Connection,
) -> None:
    os.environ.update(environment)
    store = FeatureStore(settings)
    if file_bytes is not None:
        # a file that cannot grow any more fails as one on a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    for number in range(first, first + count):
        try:
            store.save(batch(number), group, key="id", statistics=False)
        except HopsError as error:
            messages.send(f"{type(error).__name__}: {error}")
            return
        messages.send(number)
