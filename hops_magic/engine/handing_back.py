"""How rank 0's values leave its process: as a file in the run's folder, or by another way where that disk is full."""

from __future__ import annotations

import base64
import errno
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from hops_magic.cells.results import Packed
from hops_magic.engine.job import RESULT_NAME, RankSpec
from hops_magic.errors import ClusterError
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire

PARCEL = "parcel"
"""Kind of the messages by which a parcel goes to the rank's host, which keeps it in memory; no event of the run's."""
IN_MEMORY = "memory:"
MOST_IN_MEMORY = 64 << 20
_PART = 1 << 20
_LOOK_EVERY_S = 1.0
_TRY_EVERY_S = 30.0


def kept_name(run_id: str) -> str:
    """Return the file's name of values that wait outside the run's folder, in that of the node."""
    return f"kept-{run_id}.parcel"


def drop_drafts(folder: Path) -> None:
    """Delete what ranks that were killed have left half-written in the folder of a run, or of a trial, that is over."""
    for pattern in (f"{RESULT_NAME}.*", "model/draft-*"):
        for draft in folder.glob(pattern):
            draft.unlink(missing_ok=True)


class Hander:
    """Rank 0's way to hand its values back.

    The places are the run's folder, the disk where the worker keeps data, and the worker's memory, if the values are
    small; if none of them has room, the rank waits for some.

    Parameters
    ----------
    spec
        Of the rank.
    pack
        Writes the values to a file, or into an open one.
    say
        Sends a message to the rank's host.
    emit
        Says an event of the run.
    is_stopping
        Whether the run is to end: then nothing is waited for.
    """

    def __init__(
        self,
        spec: RankSpec,
        pack: Callable[[Path | BinaryIO], Packed],
        say: Callable[[Wire], None],
        emit: Callable[[Event], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._spec, self._pack, self._say, self._emit, self._is_stopping = spec, pack, say, emit, is_stopping
        self._home = Path(spec.run_dir) / RESULT_NAME

    def hand_back(self) -> None:
        """Bring the values to a place where they wait for the notebook, and tell of it.

        Raises
        ------
        ClusterError
            If there is no room anywhere, and the run is being stopped.
        """
        has_warned = False
        while True:
            try:
                packed, place = self._brought()
                break
            except ClusterError as full:
                if self._is_stopping() or not isinstance(full.__cause__, OSError):
                    raise
                if not has_warned:
                    self._emit(ev.Warned(message=f"{full}; they wait until there is room, or the run is stopped"))
                    has_warned = True
                self._wait_for_room()
        told = ev.ResultReady(names=packed.names, size_bytes=packed.size_bytes, left_behind=packed.left_behind, place=place)
        self._emit(told)

    def _brought(self) -> tuple[Packed, str]:
        try:
            return self._pack(self._home), ""
        except ClusterError as full:
            if not isinstance(full.__cause__, OSError):
                raise
            first = full
        elsewhere = Path(self._spec.buffer_dir) / kept_name(self._spec.job.run_id)
        try:
            return self._pack(elsewhere), str(elsewhere)
        except ClusterError:
            pass  # the same disk, mostly
        memory = _Memory()
        try:
            packed = self._pack(memory)
        except ClusterError:
            raise first from first.__cause__
        self._send(memory.getvalue())
        return packed, f"{IN_MEMORY}{self._spec.job.run_id}"

    def _send(self, data: bytes) -> None:
        for offset in range(0, len(data), _PART):
            part = base64.b64encode(data[offset : offset + _PART]).decode()
            self._say({"kind": PARCEL, "offset": offset, "data": part})

    def _wait_for_room(self) -> None:
        """Return when the disk has more room than now, or it is time to try again in any case: quotas tell nothing."""
        free, until = _free(self._home), time.monotonic() + _TRY_EVERY_S
        while time.monotonic() < until and not self._is_stopping():
            time.sleep(_LOOK_EVERY_S)
            if _free(self._home) > free:
                return


class _Memory(io.BytesIO):
    """A file in memory that is full soon."""

    def write(self, data: Any) -> int:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if self.tell() + size > MOST_IN_MEMORY:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def _free(path: Path) -> int:
    return shutil.disk_usage(path.parent).free
