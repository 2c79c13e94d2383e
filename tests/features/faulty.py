"""Every door of a store, tried in a process to which the machine refuses something."""

from __future__ import annotations

import ctypes
import enum
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from writers import context

from hops_magic.errors import HopsError
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.settings import FeatureSettings

ROWS = {"id": [1, 2, 3, 4], "town": ["Oslo", "Rome"] * 2, "value": [1.0, 2.0, 3.0, 4.0]}
_MORE = {"id": [5], "town": ["Oslo"], "value": [5.0]}

DOORS: dict[str, Callable[[FeatureStore], Any]] = {
    "get": lambda store: store.get("value"),
    "look up": lambda store: store.get("value", keys={"id": [1]}),
    "stream": lambda store: store.get("value", form="dask"),
    "save": lambda store: store.save({**_MORE, "id": [1]}, "teams", statistics=False),
    "append": lambda store: store.save(_MORE, "teams", mode="append", statistics=False),
    "create": lambda store: store.save(_MORE, "others", key="id", statistics=False),
    "edit": lambda store: store.edit("teams", description="of the league"),
    "delete": lambda store: store.delete_rows("teams", where="value > 2", statistics=False),
    "dataset": lambda store: store.create_dataset("more", request_of("value"), statistics=False),
    "read dataset": lambda store: store.read_dataset("wins"),
    "statistics": lambda store: store.statistics("teams"),
    "delete dataset": lambda store: store.delete_dataset("wins"),
    "drop": lambda store: store.drop("teams"),
    "open": lambda store: FeatureStore(store.settings),
}


class Fault(enum.Enum):
    """What the machine refuses."""

    FULL_DISK = "full disk"
    READ_ONLY = "read only"


def tried_under(fault: Fault, settings: FeatureSettings) -> dict[str, str]:
    """What each door says under a fault: "done", or the error and its sentence."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(fault, settings, theirs))
    process.start()
    theirs.close()
    told = ours.recv()
    process.join()
    return told


def _try(fault: Fault, settings: FeatureSettings, messages: Connection) -> None:
    store = FeatureStore(settings)
    store.groups()
    with _refused(fault, settings.home):
        messages.send({name: _said(door, store) for name, door in DOORS.items()})


def _said(door: Callable[[FeatureStore], Any], store: FeatureStore) -> str:
    try:
        door(store)
    except HopsError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 (what is no sentence of ours is what the test is after)
        return f"raw {type(error).__name__}: {error}"
    return "done"


class _refused:
    def __init__(self, fault: Fault, home: Path) -> None:
        self._fault, self._home = fault, home

    def __enter__(self) -> None:
        if self._fault is Fault.FULL_DISK:
            # files that cannot grow any more fail as those on a full disk do
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
            return
        self._set_modes(0o555, 0o444)
        # version 3, this process, no capability: the modes of files count for root too
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())

    def __exit__(self, *_: object) -> None:
        if self._fault is Fault.READ_ONLY:
            self._set_modes(0o755, 0o644)

    def _set_modes(self, folder: int, file: int) -> None:
        for place in [self._home, *self._home.rglob("*")]:
            place.chmod(folder if place.is_dir() else file)
